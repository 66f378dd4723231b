//! Comparison of claimed liveness values with the result of the AWS session.

use liveness::Liveness;
use shared::auth::Caller;
use shared::http::ApiError;
use shared::pocketbase::PocketBase;
use shared::pocketbase::records::{LivenessSession, LivenessStatus, NewVerification};
use shared::types::{Confidence, RecordId, SessionId, Text};

/// Allowed difference between a claimed score and AWS's: rounding to two decimals.
const TOLERANCE: f64 = 0.01;

/// The session that a verification names, if it was created by this service and the caller sees it. One call.
///
/// # Errors
/// 409 for a session of another profile, and with a flow token for any session that was not created for its profile;
/// PocketBase's failures.
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
        return Err(session_conflict("This session was not made for this profile; create one, and complete it"));
    }
    let is_anothers = |session: &LivenessSession| session.profile.as_ref().is_some_and(|owner| owner != profile);
    match session {
        Some(session) if is_anothers(&session) => Err(session_conflict("This session was made for another profile")),
        session => Ok(session),
    }
}

/// Result of an AWS session, for a verification.
pub struct ConfirmedLiveness {
    session: RecordId,
    confidence: Confidence,
    status: Text<64>,
}

impl ConfirmedLiveness {
    /// Replaces the claims of a verification.
    pub fn apply_to(self, verification: &mut NewVerification) {
        verification.liveness_session = Some(self.session);
        verification.liveness_confidence = self.confidence;
        verification.liveness_status = self.status;
        verification.liveness_verified = true;
    }
}

/// Compares the claims of a verification with the result of its session; `None` when they cannot be checked. At most one call
/// of AWS, and one of PocketBase to store the result.
///
/// # Errors
/// 409 for a session that has not ended, for a claim that differs and, with a flow token, for an expired session; AWS's and
/// PocketBase's failures.
pub async fn compare(
    liveness: &Liveness,
    pocketbase: &PocketBase,
    session: Option<&LivenessSession>,
    is_flow: bool,
    claimed: &NewVerification,
) -> Result<Option<ConfirmedLiveness>, ApiError> {
    let Some(session) = session else { return Ok(None) };
    let ending = match session.status.is_over() {
        true => Some((session.status, session.confidence())),
        false => liveness.read(pocketbase, session).await?.map(|outcome| (outcome.status, outcome.confidence)),
    };
    let (status, confidence) = match ending {
        Some((status, confidence)) if status != LivenessStatus::Expired => (status, confidence),
        // The claim of a partner's backend is stored unconfirmed. The claim of a browser is refused.
        _ if is_flow => {
            return Err(session_conflict("This session has expired; create another, and complete it"));
        }
        _ => return Ok(None),
    };
    if !status.is_over() {
        return Err(session_conflict("This session is not finished yet"));
    }
    let expected = if liveness.is_live(status, confidence) { "live" } else { "not_live" };
    if !claimed.liveness_status.as_str().eq_ignore_ascii_case(expected) {
        return Err(differs("liveness_status"));
    }
    // A failed session has no score, so that a claimed score is ignored.
    let confidence = confidence.filter(|_| status == LivenessStatus::Succeeded);
    if confidence.is_some_and(|score| (claimed.liveness_confidence.value() - score).abs() > TOLERANCE) {
        return Err(differs("liveness_confidence"));
    }
    Ok(Some(ConfirmedLiveness {
        session: session.id.clone(),
        confidence: confidence.unwrap_or_default().try_into().map_err(ApiError::internal)?,
        status: expected.parse().map_err(ApiError::internal)?,
    }))
}

fn differs(field: &str) -> ApiError {
    session_conflict(&format!("{field} is not what the session's results say")).with("field", field)
}

/// 409 for a session that cannot confirm the verification.
pub fn session_conflict(message: &str) -> ApiError {
    ApiError::conflict("Face Liveness session conflict", message)
}
