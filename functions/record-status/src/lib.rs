//! POST /api/status_history/{id}: adds an entry to the status history of a profile. The profile's own status stays. Partners that have
//! asked for it are told by webhook.
//!
//! PocketBase calls: two, one to see the profile (through the verification, where one is named) and one to write; once a minute one more, to
//! see whom to tell. SQS calls: one for each webhook.

use std::time::Duration;

use chrono::Utc;
use futures_util::future::join_all;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::auth::{Caller, Scope};
use shared::backend::Backend;
use shared::config::Env;
use shared::http::{ApiError, StartError, parse_json, path_id, profile_id, read_json, success};
use shared::pocketbase::{NewDelivery, NewStatus, STATUS_CHANGED, StatusRecord};
use shared::types::{Confidence, Notes, RecordId, Team, Text};
use webhooks::{Announcer, Subscriptions, status_changed};

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    subscriptions: Subscriptions,
    announcer: Announcer,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            subscriptions: Subscriptions::default(),
            announcer: Announcer::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

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

/// What the route requires.
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
/// 400 for missing or invalid fields, or a verification that is not the profile's; 401; 403 for a missing scope, another
/// profile than a flow token's, or a flow token that records anything but `pending` or liveness values; 404; 409 for a flow token once the
/// profile is decided; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let id = path_id(&request);
    let caller = authenticator.bearer_or_key(request.headers(), pocketbase).await?;
    caller.require_for(Scope::StatusHistoryWrite, &id)?;
    let id = profile_id(&id)?;
    let given: RecordStatus = parse_json(read_json(&request)?)?;
    let verification = given.verification.filter(|verification| !verification.is_empty());
    let (previous_status, new_status, notes) = required(given.previous_status, given.new_status, given.notes)?;
    if caller.is_flow() && new_status.as_str() != "pending" {
        return Err(ApiError::insufficient_scope(Scope::StatusHistoryWrite)
            .message("A flow token can record new_status pending and no other"));
    }
    let liveness = [
        ("liveness_session_id", given.liveness_session_id.is_some()),
        ("liveness_confidence", given.liveness_confidence.is_some()),
        ("liveness_status", given.liveness_status.is_some()),
    ];
    // A browser's word on this counts for nothing: what AWS said stands in its verification.
    if let Some((field, _)) = liveness.into_iter().find(|(_, is_given)| caller.is_flow() && *is_given) {
        return Err(ApiError::insufficient_scope(Scope::StatusHistoryWrite)
            .with("field", field)
            .message(format!("A flow token cannot set {field}")));
    }
    let subject = look_up(state, &caller, &id, verification.as_deref()).await?;
    if caller.is_flow() && subject.is_decided {
        return Err(ApiError::already_decided());
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
    };
    let deliveries = deliveries(state, &subject, &status).await?;
    let record = pocketbase.create_status(&status, &deliveries).await;
    let record = record.map_err(|error| ApiError::of_write(error, caller.is_flow()))?;
    join_all(deliveries.iter().map(|delivery| state.announcer.announce(&delivery.id, Duration::ZERO))).await;
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

/// Whom an entry is of.
struct Subject {
    /// The verification, if one is named.
    verification: Option<RecordId>,
    team: Option<Team>,
    user_id: String,
    is_decided: bool,
}

/// The webhooks that tell of an entry.
async fn deliveries(state: &State, subject: &Subject, status: &NewStatus) -> Result<Vec<NewDelivery>, ApiError> {
    let subscribers = state.subscriptions.of(&state.backend.pocketbase, subject.team.as_ref()).await?;
    let wanting = subscribers.iter().filter(|subscriber| subscriber.wants(STATUS_CHANGED));
    let deliveries = wanting.map(|subscriber| {
        let profile = &status.profile;
        let (previous, new) = (status.previous_status.as_str(), status.new_status.as_str());
        let payload = status_changed(Utc::now(), profile, &subject.user_id, previous, new);
        NewDelivery::new(subscriber, profile.clone(), profile.to_string(), STATUS_CHANGED, payload)
    });
    Ok(deliveries.collect())
}

/// The profile, and the verification if one is named.
///
/// A verification of the profile tells of the profile as well, so that one call is enough. Any other is looked at no
/// further: whether it exists elsewhere makes no difference to the answer.
async fn look_up(
    state: &State,
    caller: &Caller,
    profile: &RecordId,
    verification: Option<&str>,
) -> Result<Subject, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    if let Some(id) = verification.and_then(|verification| verification.parse().ok())
        && let Some(owner) = pocketbase.verification_owner(&id, caller.teams()).await?
        && owner.profile == *profile
    {
        let is_decided = owner.is_decided();
        return Ok(Subject { verification: Some(id), team: owner.team, user_id: owner.user_id, is_decided });
    }
    let overview = pocketbase.profile_overview(profile, caller.teams()).await?;
    let overview = overview.ok_or_else(ApiError::profile_not_found)?;
    match verification {
        Some(_) => Err(ApiError::invalid_field("verification", "is not a verification record of this profile")),
        None => {
            let is_decided = overview.is_decided();
            Ok(Subject { verification: None, team: overview.team, user_id: overview.user_id, is_decided })
        }
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
