//! POST /api/face-liveness/session: a new Amazon Rekognition Face Liveness session.
//!
//! A request that is sent again with the same `Idempotency-Key` gets the same session; nobody else's request ever does.
//! AWS calls: one. PocketBase calls: one to keep whose the session is and, with a flow token, one before it to see the profile.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use liveness::{CHALLENGE, Liveness};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::auth::{Caller, Scope};
use shared::backend::Backend;
use shared::config::{AttemptSettings, Env};
use shared::http::{ApiError, StartError, json_response, parse_json, read_json, request_id};
use shared::pocketbase::{Error, LivenessStatus, NewLivenessSession, ProfileOverview};
use shared::types::{RecordId, SessionId};

/// The most audit images that AWS gives.
const MAX_AUDIT_IMAGES: i32 = 4;

/// The longest `Idempotency-Key`, in bytes.
const MAX_KEY: usize = 255;

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    attempts: AttemptSettings,
    liveness: Liveness,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            attempts: AttemptSettings::from_env(env)?,
            liveness: Liveness::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// What may be asked for. The body may also be empty.
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
/// profile is gone; 409 for one whose profile is decided; 429 when AWS throttles, or a person has used up the sessions of a
/// day; 501 where AWS is not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.bearer(request.headers())?;
    caller.require(Scope::FaceLivenessWrite)?;
    let audit_images = audit_images(&request)?;
    // The settings are part of what makes a request the same: AWS may not give a session other ones than it has.
    let (settings, key) = (audit_images.to_string(), idempotency_key(&request)?);
    let request_token = authenticator.name_for(&caller, &["face-liveness-session", &settings, &key])?;
    let profile = match caller.flow_profile() {
        Some(profile) => Some(state.may_have_another(profile, &caller).await?),
        None => None,
    };
    let session_id = state.liveness.create_session(&request_token, audit_images).await?;
    let mut session = NewLivenessSession {
        session_id: session_id.clone(),
        team: caller.own_team().cloned(),
        profile: caller.flow_profile().cloned(),
        status: LivenessStatus::Created,
        flow_attempt: None,
    };
    match profile {
        Some(profile) => state.keep_numbered(&profile, &mut session).await?,
        None => pocketbase.create_liveness_session(&session).await?,
    }
    let message = "Face Liveness session created successfully";
    Ok(json_response(StatusCode::OK, &SessionView { success: true, session_id, message, challenge_type: CHALLENGE }))
}

impl State {
    /// The profile of a flow token, if it may have another session.
    async fn may_have_another(&self, profile: &RecordId, caller: &Caller) -> Result<ProfileOverview, ApiError> {
        let profile = self.backend.pocketbase.profile_overview(profile, caller.teams()).await?;
        let profile = profile.ok_or_else(ApiError::profile_not_found)?;
        if profile.is_decided() {
            return Err(ApiError::already_decided());
        }
        if profile.sessions_left(self.attempts.sessions_per_day).next().is_none() {
            return Err(too_many_sessions());
        }
        Ok(profile)
    }

    /// Keeps a session as one of those that a person has in a day.
    async fn keep_numbered(&self, profile: &ProfileOverview, session: &mut NewLivenessSession) -> Result<(), ApiError> {
        for attempt in profile.sessions_left(self.attempts.sessions_per_day) {
            session.flow_attempt = Some(attempt);
            match self.backend.pocketbase.create_liveness_session(session).await {
                Err(Error::NotUnique(field)) if field == "flow_attempt" => continue,
                outcome => return outcome.map_err(|error| ApiError::of_write(error, true)),
            }
        }
        Err(too_many_sessions())
    }
}

fn too_many_sessions() -> ApiError {
    let message = "This profile has used up its sessions for today; try again tomorrow (UTC)";
    ApiError::too_many_today("Too many Face Liveness sessions", message)
}

/// How many audit images are wanted.
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

/// What makes this request the same one when it is sent again: the caller's own word, else the gateway's id of it.
fn idempotency_key(request: &Request) -> Result<String, ApiError> {
    let Some(header) = request.headers().get("idempotency-key") else {
        return Ok(format!("request {}", request_id(request)));
    };
    match header.to_str() {
        Ok(key) if (1..=MAX_KEY).contains(&key.len()) => Ok(format!("key {key}")),
        _ => Err(ApiError::invalid_field("Idempotency-Key", format!("must be 1 to {MAX_KEY} visible characters"))),
    }
}
