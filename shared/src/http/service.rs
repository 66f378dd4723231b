//! The loop around every handler: its state, made once and again when the secret has changed; its time; its failures.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::http::header::{HeaderName, HeaderValue};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use tracing::Instrument;

use super::{ApiError, StartError};
use crate::config::Env;
use crate::renewed::{Make, Renewed};

/// The longest that a request may take, whatever the function's own timeout: API Gateway hangs up after 30 s.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(27);

/// What is kept of a function's time to say that the rest was not enough.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Answers a request.
pub type Handle<S> = for<'a> fn(&'a S, Request) -> BoxFuture<'a, Result<Response<Body>, ApiError>>;

/// A function: starts it, and answers events until the runtime goes away.
///
/// # Errors
/// When it cannot start: a setting is missing or malformed, or the secret cannot be read.
pub async fn run<S: Send + Sync>(make: Make<S>, handle: Handle<S>) -> Result<(), StartError> {
    if crate::settings_only() {
        return make(&Env::from_process()).await.map(|_| ());
    }
    crate::telemetry::init();
    let service = Service::start(Env::from_process(), make, handle).await?;
    let service = &service;
    let answer = service_fn(move |request| async move { Ok::<_, Infallible>(service.answer(request).await) });
    if let Err(error) = lambda_http::run(answer).await {
        // The runtime's interface goes away with the environment, and with Ctrl-C on the local stack: nothing is amiss.
        tracing::debug!(cause = %error, "the runtime is gone");
    }
    Ok(())
}

/// A handler with its state.
pub struct Service<S> {
    handle: Handle<S>,
    renewed: Renewed<S>,
}

impl<S: Send + Sync> Service<S> {
    /// Reads the secret, if one is named, and makes the state.
    ///
    /// # Errors
    /// When a setting is missing or malformed, or the secret cannot be read.
    pub async fn start(process: Env, make: Make<S>, handle: Handle<S>) -> Result<Self, StartError> {
        Ok(Self { handle, renewed: Renewed::start(process, make).await? })
    }

    /// Answers one request: every failure becomes a response, every response carries `x-request-id`, and one line is logged.
    pub async fn answer(&self, request: Request) -> Response<Body> {
        let started = Instant::now();
        let request_id = request_id(&request);
        let time_left = time_left(&request);
        // What is logged on the way is found by the same id.
        let span = tracing::info_span!("request", request_id);
        let handled = AssertUnwindSafe(self.handled(request)).catch_unwind().instrument(span);
        let outcome = match tokio::time::timeout(time_left, handled).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ApiError::internal("the handler panicked")),
            Err(_) => Err(ApiError::upstream_timeout("the request took longer than it may")),
        };
        let (status, cause) = match &outcome {
            Ok(response) => (response.status(), None),
            Err(error) => (error.status(), error.cause().map(str::to_owned)),
        };
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        if status.is_server_error() {
            tracing::error!(request_id, status = status.as_u16(), milliseconds, cause, "request failed");
        } else if cause.is_some() {
            // Not the caller's doing: a service refuses or throttles us.
            tracing::warn!(request_id, status = status.as_u16(), milliseconds, cause, "request refused");
        } else {
            tracing::info!(request_id, status = status.as_u16(), milliseconds, "request answered");
        }
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
        }
        response
    }

    /// Handles a request, and handles it again with the secret as it is now when that has changed and would explain the
    /// failure.
    async fn handled(&self, request: Request) -> Result<Response<Body>, ApiError> {
        let state = self.renewed.state().await;
        if !self.renewed.can_change() {
            return (self.handle)(&state, request).await;
        }
        let again = copy(&request);
        let error = match (self.handle)(&state, request).await {
            Err(error) if error.suspects_a_secret() => error,
            outcome => return outcome,
        };
        let renewed = self.renewed.doubted().await;
        if Arc::ptr_eq(&state, &renewed) { Err(error) } else { (self.handle)(&renewed, again).await }
    }
}

/// A request like another, which does not know how to be cloned only because of its body.
fn copy(request: &Request) -> Request {
    let body = match request.body() {
        Body::Text(text) => Body::Text(text.clone()),
        Body::Binary(bytes) => Body::Binary(bytes.clone()),
        _ => Body::Empty,
    };
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    copy
}

/// The gateway's id of a request; Lambda's own where there is none.
pub fn request_id(request: &Request) -> String {
    let gateway = match request.request_context_ref() {
        Some(RequestContext::ApiGatewayV2(context)) => context.request_id.clone(),
        _ => None,
    };
    let lambda = || request.lambda_context_ref().map(|context| context.request_id.clone());
    gateway.or_else(lambda).unwrap_or_default()
}

/// How long a request may take: until shortly before Lambda would end the process.
fn time_left(request: &Request) -> Duration {
    let deadline = request.lambda_context_ref().map(|context| Duration::from_millis(context.deadline));
    let left = deadline.and_then(|deadline| (UNIX_EPOCH + deadline).duration_since(SystemTime::now()).ok());
    left.map_or(MAX_REQUEST_TIME, |left| left.saturating_sub(ANSWER_TIME).min(MAX_REQUEST_TIME))
}
