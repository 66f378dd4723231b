//! GET /api/face-liveness/results/{sessionId}: result of a Face Liveness session.
//!
//! The result is read from AWS until the session has ended. It is then stored, and later requests are answered from PocketBase.
//! PocketBase calls: one to load the session and one to store the result; for a stored result one, one per image, and one for a
//! file token. AWS calls: one, until the result is stored.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, RequestExt, Response};
use liveness::Liveness;
use serde::Serialize;
use shared::auth::Scope;
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, no_store, success};
use shared::pocketbase::records::{BoundingBox, LivenessImage, LivenessOutcome, LivenessStatus};
use shared::runtime::Backend;
use shared::types::{Decimal, SessionId};

/// The most bytes of all images of an answer: a Lambda answer has 6 MB, and Base64 adds a third.
const MAX_IMAGES: usize = 4_200_000;

/// State built once per execution environment.
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
    /// The status, unless the session has succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<LivenessStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence_score: Option<Decimal>,
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
/// flow token, another profile's; 429 when AWS throttles; 501 when AWS is not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::FaceLivenessRead)?;
    let session_id: SessionId = request
        .path_parameters_ref()
        .and_then(|parameters| parameters.first("sessionId")?.parse().ok())
        .ok_or_else(session_not_found)?;
    let session = pocketbase.liveness_session(&session_id, caller.teams(), caller.flow_profile()).await?;
    let session = session.ok_or_else(session_not_found)?;
    let outcome = match session.status.is_over() {
        true => pocketbase.liveness_outcome(&session).await?,
        false => state.liveness.read(pocketbase, &session).await?.ok_or_else(session_not_found)?,
    };
    if outcome.status == LivenessStatus::Expired {
        return Err(session_not_found());
    }
    let view = view(&session_id, state.liveness.is_live(outcome.status, outcome.confidence), outcome);
    Ok(no_store(success(StatusCode::OK, Some("Face Liveness results retrieved successfully"), view)))
}

/// 404 for a session that does not exist, has expired, or is not the caller's.
fn session_not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Session not found").message("Face Liveness session ID is invalid or expired")
}

/// Answer for a result. Score and images are included only if the session succeeded, since they are meaningless otherwise. Images
/// that would make the answer too large for Lambda are left out; AWS's images have about 100 kB each.
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
        confidence_score: outcome.confidence.filter(|_| succeeded).map(Decimal),
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
    fn audit_images_that_exceed_lambdas_limit_are_left_out() {
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
