//! DELETE /api/profiles/{id}: redacts a profile.
//!
//! Files, names, numbers, addresses, device data, faces, uploads, media of checks and webhook payloads are deleted. The statuses with their
//! times stay, and `audit` gets a row. Afterwards no route finds the profile, and the same person can get a new one. Uploads that name no
//! profile are deleted as well, if the query names them (`upload_id`, repeatable). The bucket keeps an object `redactions/<profile>`, with
//! which the redaction is repeated after a restore of PocketBase. PocketBase calls: three, eight to find the records of the profile, and
//! one per record; two per named upload. S3 calls: one, and two per 1,000 objects.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, RequestExt, Response};
use shared::auth::{Caller, Scope};
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, path_parameter};
use shared::profiles;
use shared::runtime::Backend;
use shared::types::RecordId;
use storage::{Bucket, Uploads};

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

/// The most uploads that a request can name.
const MAX_UPLOADS: usize = 20;

/// Uploads in the query parameter `upload_id`, which may be repeated.
fn named_uploads(request: &Request) -> Result<Vec<RecordId>, ApiError> {
    let parameters = request.query_string_parameters();
    let named = parameters.all("upload_id").unwrap_or_default();
    if named.len() > MAX_UPLOADS {
        return Err(ApiError::invalid_field("upload_id", format!("can be given at most {MAX_UPLOADS} times")));
    }
    let parse = |id: &str| id.parse().map_err(|reason| ApiError::invalid_field("upload_id", reason));
    named.into_iter().map(parse).collect()
}

/// Deletes uploads of the caller that name no profile, such as those of documents that were analysed before the profile was created.
/// Uploads of others, and uploads that are gone already, are ignored.
async fn delete_uploads(state: &State, caller: &Caller, uploads: Vec<RecordId>) -> Result<(), ApiError> {
    if uploads.is_empty() {
        return Ok(());
    }
    let Backend { authenticator, pocketbase } = &state.backend;
    let owner = Uploads::owner(authenticator, caller)?;
    for id in uploads {
        if let Some(upload) =
            pocketbase.upload(&id, caller.teams(), &owner).await?.filter(|upload| upload.profile.is_none())
        {
            if state.bucket.is_configured() {
                state.bucket.delete([Uploads::key(&upload)]).await?;
            }
            pocketbase.delete_upload(&upload.id).await?;
        }
    }
    Ok(())
}

/// Answers 204, also for a profile that is redacted already. A repeated request completes an interrupted one.
///
/// # Errors
/// 400 for a malformed `upload_id`; 401; 403 for a missing scope; 404; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::ProfilesDelete)?;
    let id = profiles::parse_id(&path_parameter(&request, "id"))?;
    let uploads = named_uploads(&request)?;
    if !pocketbase.redact_profile(&id, caller.teams(), caller.name()).await? {
        return Err(profiles::Error::NotFound.into());
    }
    if state.bucket.is_configured() {
        state.bucket.note_redaction(id.as_str()).await?;
        state.bucket.delete_person(id.as_str()).await?;
    }
    delete_uploads(state, &caller, uploads).await?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}
