//! GET /api/settings: settings of the hosted flow as one object; flow tokens get only those marked public.
//!
//! PocketBase calls: one; with a flow token at the same time another, for the profile.

use futures_util::future::try_join;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::http::{ApiError, credentials, success};
use shared::profiles;
pub use shared::runtime::Backend as State;

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope; 404 for a flow token whose profile does not exist any more; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::SettingsRead)?;
    let exists = async { profiles::ensure_exists(&state.pocketbase, &caller).await.map_err(ApiError::from) };
    let settings = async { state.pocketbase.settings(caller.is_flow()).await.map_err(ApiError::from) };
    let ((), settings) = try_join(exists, settings).await?;
    Ok(success(StatusCode::OK, None, settings))
}
