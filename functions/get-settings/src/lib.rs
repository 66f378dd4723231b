//! GET /api/settings: settings of the hosted flow as one object; flow tokens get only those marked public.
//!
//! PocketBase calls: one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::Scope;
use shared::http::{ApiError, credentials, success};
pub use shared::runtime::Backend as State;

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::SettingsRead)?;
    let settings = state.pocketbase.settings(caller.is_flow()).await?;
    Ok(success(StatusCode::OK, None, settings))
}
