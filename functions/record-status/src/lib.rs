//! POST /api/status_history/{id}: adds an entry to the status history of a profile, and sends webhooks to subscribed partners. It
//! does not change the profile's own status.
//!
//! PocketBase calls: two, to load the profile (through the verification, where one is named) and to write; once a minute one
//! more for the subscriptions. SQS calls: one per webhook.

mod words;

use chrono::Utc;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::auth::{self, Caller, Scope};
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, parse_json, path_parameter, read_json, success};
use shared::pocketbase::Writer;
use shared::pocketbase::records::{NewDelivery, NewStatus, StatusRecord, WebhookEvent};
use shared::profiles::{self, DailyLimit, Quota};
use shared::runtime::Backend;
use shared::types::{Confidence, Notes, Origin, RecordId, Team, Text};
use webhooks::{DeliveryQueue, Subscriptions, status_changed};

use words::StatusWords;

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    words: StatusWords,
    daily_limit: DailyLimit,
    subscriptions: Subscriptions,
    queue: DeliveryQueue,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            words: StatusWords::from_env(env)?,
            daily_limit: DailyLimit::from_env(Quota::Statuses, env)?,
            subscriptions: Subscriptions::default(),
            queue: DeliveryQueue::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// Request body.
#[derive(Deserialize)]
struct RecordStatus {
    previous_status: Option<Text<64>>,
    new_status: Option<Text<64>>,
    notes: Option<Notes<5000>>,
    verification: Option<String>,
    liveness_session_id: Option<Text<128>>,
    liveness_confidence: Option<Confidence>,
    liveness_status: Option<Text<64>>,
}

/// Required fields.
const REQUIRED: [&str; 3] = ["previous_status", "new_status", "notes"];

#[derive(Serialize)]
struct StatusView<'a> {
    id: &'a RecordId,
    profile: &'a RecordId,
    updated_by: &'a str,
    previous_status: &'a str,
    new_status: &'a str,
    notes: &'a str,
    created: &'a str,
}

/// Answers a request.
///
/// # Errors
/// 400 for missing or invalid fields, an unknown status, or a verification that is not the profile's; 401; 403 for a missing scope, another
/// profile than a flow token's, or a flow token that sends liveness values or another status than `pending`; 404; 409 for a flow
/// token once the profile is decided; 413; 415; 429 when the daily limit of entries by flow token is reached; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let id = path_parameter(&request, "id");
    let caller = authenticator.authenticate(credentials(request.headers()), pocketbase).await?;
    caller.require_for(Scope::StatusHistoryWrite, &id)?;
    let id = profiles::parse_id(&id)?;
    let given: RecordStatus = parse_json(read_json(&request)?)?;
    let verification = given.verification.filter(|verification| !verification.is_empty());
    let (mut previous_status, new_status, notes) = required(given.previous_status, given.new_status, given.notes)?;
    if !state.words.accepts(new_status.as_str()) {
        let words = state.words.all().collect::<Vec<_>>().join(", ");
        return Err(ApiError::invalid_field("new_status", format!("must be one of {words}")));
    }
    if caller.is_flow() && new_status.as_str() != "pending" {
        return Err(ApiError::from(auth::Error::InsufficientScope(Scope::StatusHistoryWrite))
            .message("A flow token can record new_status pending and no other"));
    }
    let liveness = [
        ("liveness_session_id", given.liveness_session_id.is_some()),
        ("liveness_confidence", given.liveness_confidence.is_some()),
        ("liveness_status", given.liveness_status.is_some()),
    ];
    // Liveness values of a browser are refused: its verification contains AWS's result.
    if let Some((field, _)) = liveness.into_iter().find(|(_, is_given)| caller.is_flow() && *is_given) {
        return Err(ApiError::from(auth::Error::InsufficientScope(Scope::StatusHistoryWrite))
            .with("field", field)
            .message(format!("A flow token cannot set {field}")));
    }
    let subject = look_up(state, &caller, &id, verification.as_deref()).await?;
    profiles::ensure_open(subject.is_decided, &caller)?;
    // A browser's word for the status is not used.
    if caller.is_flow() {
        previous_status = subject.status.parse().map_err(ApiError::internal)?;
    }
    let status = NewStatus {
        profile: id,
        verification: subject.verification.clone(),
        updated_by: pocketbase.account().await?.id,
        by_flow: caller.is_flow(),
        previous_status,
        new_status,
        notes,
        liveness_session_id: given.liveness_session_id,
        liveness_confidence: given.liveness_confidence,
        liveness_status: given.liveness_status,
        flow_attempt: None,
    };
    let deliveries = deliveries(state, &subject, &status).await?;
    let record = match caller.is_flow() {
        true => {
            let (status, deliveries) = (&status, &deliveries);
            let store = |attempt| {
                let status = NewStatus { flow_attempt: Some(attempt), ..status.clone() };
                async move { pocketbase.create_status(Writer::Flow, &status, deliveries).await }
            };
            let attempts = state.daily_limit.attempts_after(subject.statuses_today, &subject.today)?;
            attempts.store(store).await?
        }
        false => pocketbase.create_status(Writer::Partner, &status, &deliveries).await?,
    };
    state.queue.enqueue_all(&deliveries).await;
    Ok(success(StatusCode::CREATED, Some("Status history record created"), StatusView::from(&record)))
}

type Required = (Text<64>, Text<64>, Notes<5000>);

fn required(
    previous: Option<Text<64>>,
    new: Option<Text<64>>,
    notes: Option<Notes<5000>>,
) -> Result<Required, ApiError> {
    let previous = previous.filter(|text| !text.is_empty());
    let new = new.filter(|text| !text.is_empty());
    let notes = notes.filter(|text| !text.is_empty());
    match (previous, new, notes) {
        (Some(previous), Some(new), Some(notes)) => Ok((previous, new, notes)),
        (previous, new, notes) => {
            let absent = [previous.is_none(), new.is_none(), notes.is_none()];
            let missing: Vec<_> =
                REQUIRED.into_iter().zip(absent).filter(|(_, absent)| *absent).map(|(name, _)| name).collect();
            Err(ApiError::missing_fields(&REQUIRED, &missing))
        }
    }
}

/// Profile that an entry is about.
struct Subject {
    /// The verification, if the request names one.
    verification: Option<RecordId>,
    team: Option<Team>,
    user_id: String,
    origin: Origin,
    is_decided: bool,
    /// The newest entry of the status history, else the profile's own status.
    status: String,
    /// Entries by flow token today, and today's date.
    statuses_today: u32,
    today: String,
}

/// Webhooks for an entry.
async fn deliveries(state: &State, subject: &Subject, status: &NewStatus) -> Result<Vec<NewDelivery>, ApiError> {
    let subscribers = state.subscriptions.of(&state.backend.pocketbase, subject.team.as_ref()).await?;
    let wanting = subscribers.iter().filter(|subscriber| subscriber.is_subscribed_to(WebhookEvent::StatusChanged));
    let deliveries = wanting.map(|subscriber| {
        let profile = &status.profile;
        let (previous, new) = (status.previous_status.as_str(), status.new_status.as_str());
        let payload = status_changed(Utc::now(), profile, &subject.user_id, subject.origin, previous, new);
        NewDelivery::new(subscriber, profile.clone(), profile.to_string(), WebhookEvent::StatusChanged, payload)
    });
    Ok(deliveries.collect())
}

/// The profile, and the verification if the request names one.
///
/// A verification of the profile is loaded together with the profile, in one call. A verification of another profile counts as
/// missing.
async fn look_up(
    state: &State,
    caller: &Caller,
    profile: &RecordId,
    verification: Option<&str>,
) -> Result<Subject, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let named: Option<RecordId> = verification.and_then(|verification| verification.parse().ok());
    if let Some(id) = named
        && let Some(owner) = pocketbase.verification_owner(&id, caller.teams()).await?
        && owner.profile == *profile
    {
        return Ok(Subject {
            verification: Some(id),
            origin: owner.origin(),
            is_decided: owner.is_decided(),
            status: owner.status().to_owned(),
            team: owner.team,
            user_id: owner.user_id,
            statuses_today: owner.flow_statuses_today,
            today: owner.today,
        });
    }
    let overview = profiles::load(pocketbase, profile, caller).await?;
    match verification {
        Some(_) => Err(ApiError::invalid_field("verification", "is not a verification record of this profile")),
        None => Ok(Subject {
            verification: None,
            origin: overview.origin(),
            is_decided: overview.is_decided(),
            status: overview.status().to_owned(),
            team: overview.team,
            user_id: overview.user_id,
            statuses_today: overview.flow_statuses_today,
            today: overview.today,
        }),
    }
}

impl<'a> From<&'a StatusRecord> for StatusView<'a> {
    fn from(record: &'a StatusRecord) -> Self {
        Self {
            id: &record.id,
            profile: &record.profile,
            updated_by: &record.updated_by,
            previous_status: &record.previous_status,
            new_status: &record.new_status,
            notes: &record.notes,
            created: &record.created,
        }
    }
}
