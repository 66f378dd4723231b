//! `$default`: answers requests that match no route. 404, or 405 with `Allow` for a path that exists with other methods.

use lambda_http::http::Method;
use lambda_http::{Body, Request, Response};
use matchit::Router;
use shared::env::{Env, StartError};
use shared::http::ApiError;

// Defines ROUTES, which build.rs derives from template.yaml.
include!(concat!(env!("OUT_DIR"), "/routes.rs"));

/// State built once per execution environment.
pub struct State {
    routes: Router<&'static [Method]>,
}

impl State {
    /// Builds the table of routes.
    ///
    /// # Errors
    /// When two routes conflict.
    pub async fn from_env(_: &Env) -> Result<Self, StartError> {
        let mut routes = Router::new();
        for (path, methods) in ROUTES {
            routes.insert(*path, *methods)?;
        }
        Ok(Self { routes })
    }
}

/// Answers a request.
///
/// # Errors
/// Always: 404 or 405.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    Err(match state.routes.at(request.uri().path()) {
        Ok(route) => ApiError::method_not_allowed(route.value),
        Err(_) => ApiError::no_such_route(),
    })
}
