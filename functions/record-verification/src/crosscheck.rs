//! Liveness is what AWS said of a session, not what the caller says.

use liveness::Liveness;
use shared::auth::Caller;
use shared::http::ApiError;
use shared::pocketbase::{LivenessSession, LivenessStatus, NewVerification, PocketBase};
use shared::types::{RecordId, SessionId, Text};

/// How far a claimed score may be from AWS's: what rounding to two decimals does.
const TOLERANCE: f64 = 0.01;

/// The session that a verification names, if it is one of ours that the caller sees. One call.
///
/// # Errors
/// 409 with a flow token for a session that was not made for its profile; PocketBase's failures.
pub async fn session(
    pocketbase: &PocketBase,
    caller: &Caller,
    profile: &RecordId,
    claimed: &Text<128>,
) -> Result<Option<LivenessSession>, ApiError> {
    let session = match claimed.as_str().parse::<SessionId>() {
        Ok(id) => pocketbase.liveness_session(&id, caller.teams(), caller.flow_profile()).await?,
        Err(_) => None,
    };
    if caller.is_flow() && session.is_none() {
        return Err(ApiError::session_conflict(
            "This session was not made for this profile; create one, and complete it",
        ));
    }
    let is_anothers = |session: &LivenessSession| session.profile.as_ref().is_some_and(|owner| owner != profile);
    match session {
        Some(session) if is_anothers(&session) => {
            Err(ApiError::session_conflict("This session was made for another profile"))
        }
        session => Ok(session),
    }
}

/// How a session ended, and AWS's score.
pub type Ending = (LivenessStatus, Option<f64>);

/// How a session ended; `None` when AWS has forgotten it before anyone asked. At most one call of AWS, and one to keep what it
/// said.
///
/// # Errors
/// AWS's and PocketBase's failures.
pub async fn ending(
    liveness: &Liveness,
    pocketbase: &PocketBase,
    session: &LivenessSession,
) -> Result<Option<Ending>, ApiError> {
    if session.status.is_over() {
        return Ok(Some((session.status, session.confidence())));
    }
    let outcome = liveness.read(pocketbase, session).await?;
    Ok(outcome.map(|outcome| (outcome.status, outcome.confidence)))
}

/// Compares what a verification claims with what AWS said, and puts the latter in its place.
///
/// # Errors
/// 409 for a session that is not over, for a claim that differs and, when the caller is a browser, for a session that expired.
pub fn verify(
    liveness: &Liveness,
    session: &LivenessSession,
    ending: Option<Ending>,
    is_flow: bool,
    verification: &mut NewVerification,
) -> Result<(), ApiError> {
    let (status, confidence) = match ending {
        Some((status, confidence)) if status != LivenessStatus::Expired => (status, confidence),
        // A partner's word stays a claim; a browser's counts for nothing.
        _ if is_flow => {
            return Err(ApiError::session_conflict("This session has expired; create another, and complete it"));
        }
        _ => return Ok(()),
    };
    if !status.is_over() {
        return Err(ApiError::session_conflict("This session is not finished yet"));
    }
    let said = if liveness.is_live(status, confidence) { "live" } else { "not_live" };
    if !verification.liveness_status.as_str().eq_ignore_ascii_case(said) {
        return Err(differs("liveness_status"));
    }
    // A session that failed has no score, and whatever was claimed for it is none.
    let confidence = confidence.filter(|_| status == LivenessStatus::Succeeded);
    if confidence.is_some_and(|score| (verification.liveness_confidence.value() - score).abs() > TOLERANCE) {
        return Err(differs("liveness_confidence"));
    }
    verification.liveness_confidence = confidence.unwrap_or_default().try_into().map_err(ApiError::internal)?;
    verification.liveness_status = said.parse().map_err(ApiError::internal)?;
    verification.liveness_verified = true;
    verification.liveness_session = Some(session.id.clone());
    Ok(())
}

fn differs(field: &str) -> ApiError {
    ApiError::session_conflict(&format!("{field} is not what the session's results say")).with("field", field)
}
