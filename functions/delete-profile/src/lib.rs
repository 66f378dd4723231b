//! DELETE /api/profiles/{id}: takes a person's data out of a profile and its histories.
//!
//! Files, names, numbers, addresses, device data and faces are gone; which status the profile had and when stays, and a row in
//! `audit`. From then on no route finds the profile, and the same person may be created anew. PocketBase calls: three, three to
//! find what belongs to the profile, and one for each of those.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
pub use shared::backend::Backend as State;
use shared::http::{ApiError, path_id, profile_id};

/// Answers a request: 204, also when it has been done before. One that was interrupted is finished by the next.
///
/// # Errors
/// 401; 403 for a missing scope; 404; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.bearer(request.headers())?;
    caller.require(Scope::ProfilesDelete)?;
    let id = profile_id(&path_id(&request))?;
    match state.pocketbase.redact_profile(&id, caller.teams(), caller.name()).await? {
        true => {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::NO_CONTENT;
            Ok(response)
        }
        false => Err(ApiError::profile_not_found()),
    }
}
