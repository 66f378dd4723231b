//! GET /api/face-liveness/results/{sessionId}: what became of a Face Liveness session.
//!
//! AWS is asked until the session is over; what it then says is kept, and later requests are answered from there.
//! PocketBase calls: one to see whose the session is, and one to keep the outcome; later one and one per image. AWS calls:
//! one while the session is open.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, HeaderValue};
use lambda_http::{Body, Request, RequestExt, Response};
use liveness::Liveness;
use serde::Serialize;
use shared::auth::Scope;
use shared::backend::Backend;
use shared::config::Env;
use shared::http::{ApiError, StartError, success};
use shared::pocketbase::{BoundingBox, LivenessImage, LivenessOutcome, LivenessStatus};
use shared::types::SessionId;

/// What the images of an answer may weigh together, in bytes: a Lambda answer has 6 MB, and Base64 takes a third more.
const MAX_IMAGES: usize = 4_200_000;

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    liveness: Liveness,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { liveness: Liveness::from_env(env).await?, backend: Backend::from_env(env).await? })
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResultView<'a> {
    session_id: &'a SessionId,
    /// Of a session that has not succeeded, or not yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<LivenessStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence_score: Option<f64>,
    is_live: bool,
    #[serde(flatten)]
    images: Option<ImagesView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImagesView {
    reference_image: Option<ImageView>,
    audit_images: Vec<ImageView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageView {
    bytes: String,
    bounding_box: Option<BoundingBox>,
}

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope, or when AWS refuses; 404 for a session that is unknown, expired, another team's or, with a
/// flow token, another profile's; 429 when AWS throttles; 501 where AWS is not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.bearer(request.headers())?;
    caller.require(Scope::FaceLivenessRead)?;
    let session_id: SessionId = request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first("sessionId")?.parse().ok())
        .ok_or_else(ApiError::session_not_found)?;
    let session = pocketbase.liveness_session(&session_id, caller.teams(), caller.flow_profile()).await?;
    let session = session.ok_or_else(ApiError::session_not_found)?;
    let outcome = match session.status.is_over() {
        true => pocketbase.liveness_outcome(&session).await?,
        false => state.liveness.read(pocketbase, &session).await?.ok_or_else(ApiError::session_not_found)?,
    };
    if outcome.status == LivenessStatus::Expired {
        return Err(ApiError::session_not_found());
    }
    let view = view(&session_id, state.liveness.is_live(outcome.status, outcome.confidence), outcome);
    let mut response = success(StatusCode::OK, Some("Face Liveness results retrieved successfully"), view);
    // A face is in it.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Scores and images are shown of a session that succeeded: of any other they would mean nothing. Images that would make the
/// answer too large for Lambda are left out; AWS's are some 100 kB each.
fn view(session_id: &SessionId, is_live: bool, outcome: LivenessOutcome) -> ResultView<'_> {
    let succeeded = outcome.status == LivenessStatus::Succeeded;
    let mut weight = outcome.reference_image.as_ref().map_or(0, |image| image.bytes.len());
    let fits = |image: &LivenessImage| {
        weight += image.bytes.len();
        weight <= MAX_IMAGES
    };
    let show =
        |image: LivenessImage| ImageView { bytes: STANDARD.encode(image.bytes), bounding_box: image.bounding_box };
    ResultView {
        session_id,
        status: (!succeeded).then_some(outcome.status),
        confidence_score: outcome.confidence.filter(|_| succeeded),
        is_live,
        images: succeeded.then(|| ImagesView {
            reference_image: outcome.reference_image.filter(|image| image.bytes.len() <= MAX_IMAGES).map(show),
            audit_images: outcome.audit_images.into_iter().take_while(fits).map(show).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_answer_holds_as_many_audit_images_as_lambda_can_carry() {
        let image = |size| LivenessImage { bytes: vec![0; size].into(), bounding_box: None };
        let session_id: SessionId = "5bec1e50-0000-4000-8000-000000000001".parse().unwrap();
        for (size, shown) in [(100_000, 4), (1_000_000, 3), (5_000_000, 0)] {
            let outcome = LivenessOutcome {
                status: LivenessStatus::Succeeded,
                confidence: Some(99.0),
                reference_image: Some(image(1_000_000)),
                audit_images: vec![image(size); 4],
            };
            let answer = serde_json::to_value(view(&session_id, true, outcome)).unwrap();
            let images = answer.get("auditImages").and_then(|images| images.as_array()).unwrap();
            assert_eq!(images.len(), shown, "{size}");
            assert!(answer.to_string().len() < 6_000_000);
        }
    }
}
