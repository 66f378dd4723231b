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

/// Scores and images are shown of a session that succeeded: of any other they would mean nothing.
fn view(session_id: &SessionId, is_live: bool, outcome: LivenessOutcome) -> ResultView<'_> {
    let succeeded = outcome.status == LivenessStatus::Succeeded;
    let show =
        |image: LivenessImage| ImageView { bytes: STANDARD.encode(image.bytes), bounding_box: image.bounding_box };
    ResultView {
        session_id,
        status: (!succeeded).then_some(outcome.status),
        confidence_score: outcome.confidence.filter(|_| succeeded),
        is_live,
        images: succeeded.then(|| ImagesView {
            reference_image: outcome.reference_image.map(show),
            audit_images: outcome.audit_images.into_iter().map(show).collect(),
        }),
    }
}
