//! DELETE /api/profiles/{id}: redacts a profile.
//!
//! Files, names, numbers, addresses, device data, faces, uploads, media of checks and webhook payloads are deleted. The statuses
//! with their times stay, and `audit` gets a row. Afterwards no route finds the profile, and the same person can get a new one.
//! The bucket keeps an object `redactions/<profile>`, with which the redaction is repeated after a restore of PocketBase.
//! PocketBase calls: three, six to find the records of the profile, and one per record. S3 calls: one, and two per 1,000 objects.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, path_parameter};
use shared::profiles;
use shared::runtime::Backend;
use storage::Bucket;

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    bucket: Bucket,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { bucket: Bucket::from_env(env).await?, backend: Backend::from_env(env).await? })
    }
}

/// Answers 204, also for a profile that is redacted already. A repeated request completes an interrupted one.
///
/// # Errors
/// 401; 403 for a missing scope; 404; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::ProfilesDelete)?;
    let id = profiles::parse_id(&path_parameter(&request, "id"))?;
    if !pocketbase.redact_profile(&id, caller.teams(), caller.name()).await? {
        return Err(profiles::Error::NotFound.into());
    }
    if state.bucket.is_configured() {
        state.bucket.note_redaction(id.as_str()).await?;
        state.bucket.delete_person(id.as_str()).await?;
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
