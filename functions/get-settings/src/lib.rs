//! GET /api/settings: the settings of the hosted flow as one object; to flow tokens only those marked public.
//!
//! PocketBase calls: one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::auth::{Authenticator, Scope};
use shared::config::{Env, PocketBaseSettings};
use shared::http::{ApiError, StartError, success};
use shared::pocketbase::PocketBase;

/// What is made once in a process's life.
pub struct State {
    authenticator: Authenticator,
    pocketbase: PocketBase,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            authenticator: Authenticator::from_env(env)?,
            pocketbase: PocketBase::start(PocketBaseSettings::from_env(env)?).await?,
        })
    }
}

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.bearer(request.headers())?;
    caller.require(Scope::SettingsRead)?;
    let settings = state.pocketbase.settings(caller.is_flow()).await?;
    Ok(success(StatusCode::OK, None, settings))
}
