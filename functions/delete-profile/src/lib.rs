//! DELETE /api/profiles/{id}: takes a person's data out of a profile and its histories.
//!
//! Files, names, numbers, addresses, device data, faces, uploads, the media of checks and what webhooks said are gone; which status the
//! profile had and when stays, and a row in `audit`. From then on no route finds the profile, and the same person may be created anew.
//! PocketBase calls: three, six to find what belongs to the profile, and one for each of those. S3 calls: two for each 1,000 objects.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::backend::Backend;
use shared::config::Env;
use shared::http::{ApiError, StartError, path_id, profile_id};
use storage::Bucket;

/// What is made once in a process's life.
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

/// Answers a request: 204, also when it has been done before. One that was interrupted is finished by the next.
///
/// # Errors
/// 401; 403 for a missing scope; 404; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.bearer(request.headers())?;
    caller.require(Scope::ProfilesDelete)?;
    let id = profile_id(&path_id(&request))?;
    match pocketbase.redact_profile(&id, caller.teams(), caller.name()).await? {
        true => {
            if state.bucket.is_configured() {
                state.bucket.delete_person(id.as_str()).await?;
            }
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        false => Err(ApiError::profile_not_found()),
    }
}
