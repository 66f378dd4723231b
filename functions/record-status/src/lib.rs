//! POST /api/status_history/{id}: adds an entry to the status history of a profile. The profile's own status stays.
//!
//! PocketBase calls: two, one to see the profile (through the verification, where one is named) and one to write.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use shared::auth::{Caller, Scope};
pub use shared::backend::Backend as State;
use shared::http::{ApiError, parse_json, path_id, profile_id, read_json, success};
use shared::pocketbase::{NewStatus, StatusRecord};
use shared::types::{Confidence, Notes, RecordId, Text};

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
    let id = path_id(&request);
    let caller = state.authenticator.bearer_or_key(request.headers(), &state.pocketbase).await?;
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
    let (verification, is_decided) = look_up(state, &caller, &id, verification.as_deref()).await?;
    if caller.is_flow() && is_decided {
        return Err(ApiError::already_decided());
    }
    let status = NewStatus {
        profile: id,
        verification,
        updated_by: state.pocketbase.account().await?.id,
        by_flow: caller.is_flow(),
        previous_status,
        new_status,
        notes,
        liveness_session_id: given.liveness_session_id,
        liveness_confidence: given.liveness_confidence,
        liveness_status: given.liveness_status,
    };
    let record = state.pocketbase.create_status(&status).await;
    let record = record.map_err(|error| ApiError::of_write(error, caller.is_flow()))?;
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

/// The verification, if one is named, and whether the profile is decided.
///
/// A verification of the profile tells of the profile as well, so that one call is enough. Any other is looked at no
/// further: whether it exists elsewhere makes no difference to the answer.
async fn look_up(
    state: &State,
    caller: &Caller,
    profile: &RecordId,
    verification: Option<&str>,
) -> Result<(Option<RecordId>, bool), ApiError> {
    if let Some(id) = verification.and_then(|verification| verification.parse().ok())
        && let Some(owner) = state.pocketbase.verification_owner(&id, caller.teams()).await?
        && owner.profile == *profile
    {
        let is_decided = owner.is_decided();
        return Ok((Some(id), is_decided));
    }
    let overview = state.pocketbase.profile_overview(profile, caller.teams()).await?;
    let overview = overview.ok_or_else(ApiError::profile_not_found)?;
    match verification {
        Some(_) => Err(ApiError::invalid_field("verification", "is not a verification record of this profile")),
        None => Ok((None, overview.is_decided())),
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
