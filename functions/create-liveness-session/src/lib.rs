//! POST /api/face-liveness/session: creates an Amazon Rekognition Face Liveness session.
//!
//! A repeated request with the same `Idempotency-Key` gets the same session; the key of another caller is independent of it. AWS
//! calls: one. PocketBase calls: one to store the session and, with a flow token, one before it to load the profile.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use liveness::{CHALLENGE, Liveness};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::auth::Scope;
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, json_response, parse_json, read_json, request_id};
use shared::pocketbase::records::{LivenessStatus, NewLivenessSession};
use shared::profiles::{self, DailyLimit, Quota};
use shared::runtime::Backend;
use shared::types::SessionId;

/// The most audit images of a session.
const MAX_AUDIT_IMAGES: i32 = 4;

/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    daily_limit: DailyLimit,
    liveness: Liveness,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            daily_limit: DailyLimit::from_env(Quota::LivenessSessions, env)?,
            liveness: Liveness::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// Request body, which may be empty.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Wanted {
    audit_images_limit: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionView {
    success: bool,
    session_id: SessionId,
    message: &'static str,
    challenge_type: &'static str,
}

/// Answers a request.
///
/// # Errors
/// 400 for a bad body or `Idempotency-Key`; 401; 403 for a missing scope, or when AWS refuses; 404 for a flow token whose
/// profile does not exist any more; 409 for a flow token whose profile is decided; 413; 415; 429 when AWS throttles, or the daily
/// limit of sessions is reached; 501 when AWS is not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::FaceLivenessWrite)?;
    let audit_images = audit_images(&request)?;
    // The settings are part of the token, since AWS refuses the same token with other settings.
    let (settings, key) = (audit_images.to_string(), idempotency_key(&request)?);
    let request_token = authenticator.keyed_name(&caller, &["face-liveness-session", &settings, &key])?;
    let attempts = match caller.flow_profile() {
        Some(profile) => {
            let profile = profiles::load_open(pocketbase, profile, &caller).await?;
            Some(state.daily_limit.attempts(&profile)?)
        }
        None => None,
    };
    let session_id = state.liveness.create_session(&request_token, audit_images).await?;
    let session = NewLivenessSession {
        session_id: session_id.clone(),
        team: caller.own_team().cloned(),
        profile: caller.flow_profile().cloned(),
        status: LivenessStatus::Created,
        flow_attempt: None,
    };
    let writer = caller.writer();
    match attempts {
        Some(attempts) => {
            let store = |attempt| {
                let session = NewLivenessSession { flow_attempt: Some(attempt), ..session.clone() };
                async move { pocketbase.create_liveness_session(writer, &session).await }
            };
            attempts.store(store).await?;
        }
        None => pocketbase.create_liveness_session(writer, &session).await?,
    }
    let message = "Face Liveness session created successfully";
    Ok(json_response(StatusCode::OK, &SessionView { success: true, session_id, message, challenge_type: CHALLENGE }))
}

/// Number of audit images.
fn audit_images(request: &Request) -> Result<i32, ApiError> {
    let wanted = match request.body().is_empty() {
        true => Wanted::default(),
        false => parse_json(read_json(request)?)?,
    };
    let Some(limit) = wanted.audit_images_limit else { return Ok(0) };
    let number = limit
        .as_i64()
        .and_then(|number| number.try_into().ok())
        .filter(|number| (0..=MAX_AUDIT_IMAGES).contains(number));
    number.ok_or_else(|| {
        ApiError::invalid_field("auditImagesLimit", format!("must be a whole number from 0 to {MAX_AUDIT_IMAGES}"))
    })
}

/// Identity of the request: the caller's `Idempotency-Key`, else the gateway's request id.
fn idempotency_key(request: &Request) -> Result<String, ApiError> {
    let Some(header) = request.headers().get("idempotency-key") else {
        return Ok(format!("request {}", request_id(request)));
    };
    match header.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(format!("key {key}")),
        _ => Err(ApiError::invalid_field("Idempotency-Key", format!("must be 1 to {MAX_KEY} visible characters"))),
    }
}
