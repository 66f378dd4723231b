//! Liveness is what AWS said of a session, not what the caller says.

use liveness::Liveness;
use shared::auth::Caller;
use shared::http::ApiError;
use shared::pocketbase::{LivenessSession, LivenessStatus, NewVerification, PocketBase};
use shared::types::{Confidence, RecordId, SessionId, Text};

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

/// What AWS said of a session, as a verification holds it.
pub struct Vouched {
    session: RecordId,
    confidence: Confidence,
    status: Text<64>,
}

impl Vouched {
    /// Takes the place of what was claimed.
    pub fn put_into(self, verification: &mut NewVerification) {
        verification.liveness_session = Some(self.session);
        verification.liveness_confidence = self.confidence;
        verification.liveness_status = self.status;
        verification.liveness_verified = true;
    }
}

/// Compares what a verification claims with what AWS said of its session; `None` for a claim that cannot be checked. At most one
/// call of AWS, and one to keep what it said.
///
/// # Errors
/// 409 for a session that is not over, for a claim that differs and, when the caller is a browser, for a session that expired;
/// AWS's and PocketBase's failures.
pub async fn compare(
    liveness: &Liveness,
    pocketbase: &PocketBase,
    session: Option<&LivenessSession>,
    is_flow: bool,
    claimed: &NewVerification,
) -> Result<Option<Vouched>, ApiError> {
    let Some(session) = session else { return Ok(None) };
    let ending = match session.status.is_over() {
        true => Some((session.status, session.confidence())),
        false => liveness.read(pocketbase, session).await?.map(|outcome| (outcome.status, outcome.confidence)),
    };
    let (status, confidence) = match ending {
        Some((status, confidence)) if status != LivenessStatus::Expired => (status, confidence),
        // A partner's word stays a claim; a browser's counts for nothing.
        _ if is_flow => {
            return Err(ApiError::session_conflict("This session has expired; create another, and complete it"));
        }
        _ => return Ok(None),
    };
    if !status.is_over() {
        return Err(ApiError::session_conflict("This session is not finished yet"));
    }
    let said = if liveness.is_live(status, confidence) { "live" } else { "not_live" };
    if !claimed.liveness_status.as_str().eq_ignore_ascii_case(said) {
        return Err(differs("liveness_status"));
    }
    // A session that failed has no score, and whatever was claimed for it is none.
    let confidence = confidence.filter(|_| status == LivenessStatus::Succeeded);
    if confidence.is_some_and(|score| (claimed.liveness_confidence.value() - score).abs() > TOLERANCE) {
        return Err(differs("liveness_confidence"));
    }
    Ok(Some(Vouched {
        session: session.id.clone(),
        confidence: confidence.unwrap_or_default().try_into().map_err(ApiError::internal)?,
        status: said.parse().map_err(ApiError::internal)?,
    }))
}

fn differs(field: &str) -> ApiError {
    ApiError::session_conflict(&format!("{field} is not what the session's results say")).with("field", field)
}
