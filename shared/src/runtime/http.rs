//! Runtime for HTTP requests of API Gateway: time limit, errors, logs, and the retry after a secret reload.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lambda_http::http::header::{HeaderName, HeaderValue};
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use tracing::Instrument;

use super::state::{MakeState, ReloadableState};
use super::{block_on, only_checks_settings, telemetry};
use crate::env::{Env, StartError};
use crate::http::{ApiError, request_id};
use crate::upstream::watch_changes;

/// The longest that a request may take, whatever the function's own timeout: API Gateway gives up after 30 s.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(27);

/// Part of the function's timeout that is reserved for the answer that time is up.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Handles a request.
pub type HttpHandler<S> = for<'a> fn(&'a S, Request) -> BoxFuture<'a, Result<Response<Body>, ApiError>>;

/// Starts the function of a name, and answers requests until Lambda stops it.
///
/// # Errors
/// When it cannot start: a setting is missing or malformed, or the secret cannot be read.
pub fn run_http<S: Send + Sync>(
    function: &'static str,
    make: MakeState<S>,
    handle: HttpHandler<S>,
) -> Result<(), StartError> {
    telemetry::init();
    block_on(async {
        let service = HttpService::start(function, Env::from_process(), make, handle).await?;
        if only_checks_settings() {
            return Ok(());
        }
        let service = &service;
        let answer = service_fn(move |request| async move { Ok::<_, Infallible>(service.answer(request).await) });
        if let Err(error) = lambda_http::run(answer).await {
            // The runtime API goes away with the execution environment, and with Ctrl-C on the local stack.
            tracing::debug!(cause = %error, "the runtime API is gone");
        }
        Ok(())
    })
}

/// A handler with its state.
pub struct HttpService<S> {
    function: &'static str,
    handle: HttpHandler<S>,
    state: ReloadableState<S>,
}

impl<S: Send + Sync> HttpService<S> {
    /// Reads the secret, if one is configured, and builds the state.
    ///
    /// # Errors
    /// When a setting is missing or malformed, or the secret cannot be read.
    pub async fn start(
        function: &'static str,
        process: Env,
        make: MakeState<S>,
        handle: HttpHandler<S>,
    ) -> Result<Self, StartError> {
        Ok(Self { function, handle, state: ReloadableState::start(process, make).await? })
    }

    /// Answers a request. Every failure becomes an answer, every answer has `x-request-id`, one line is logged, and the metrics
    /// `Requests` and `Latency` are recorded.
    pub async fn answer(&self, request: Request) -> Response<Body> {
        let started = Instant::now();
        let request_id = request_id(&request);
        let time_left = time_left(&request);
        let span = telemetry::invocation(self.function, &request_id, request.lambda_context_ref());
        let handled = AssertUnwindSafe(self.handle_with_retry(request)).catch_unwind().instrument(span.clone());
        let outcome = match tokio::time::timeout(time_left, handled).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ApiError::internal("the handler panicked")),
            Err(_) => Err(ApiError::upstream_timeout("the request exceeded its time limit")),
        };
        let (status, cause) = match &outcome {
            Ok(response) => (response.status(), None),
            Err(error) => (error.status(), error.cause().map(str::to_owned)),
        };
        let elapsed = started.elapsed();
        let milliseconds = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        span.in_scope(|| {
            if status.is_server_error() {
                tracing::error!(request_id, status = status.as_u16(), milliseconds, cause, "request failed");
            } else if cause.is_some() {
                // Not the caller's fault: an upstream service refuses or throttles us.
                tracing::warn!(request_id, status = status.as_u16(), milliseconds, cause, "request refused");
            } else {
                tracing::info!(request_id, status = status.as_u16(), milliseconds, "request answered");
            }
        });
        metrics::counter!("Requests", "Function" => self.function, "Status" => status.as_u16().to_string())
            .increment(1);
        metrics::histogram!("Latency", "Function" => self.function).record(elapsed.as_secs_f64() * 1_000.0);
        telemetry::flush_metrics();
        let mut response = outcome.unwrap_or_else(ApiError::into_response);
        if let Ok(value) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
        }
        response
    }

    /// Handles a request. After a failure that an outdated secret would explain, the secret is reloaded. If it has changed, and
    /// the request has changed nothing at an upstream service yet, the request is handled again.
    async fn handle_with_retry(&self, request: Request) -> Result<Response<Body>, ApiError> {
        let state = self.state.current().await;
        if !self.state.is_reloadable() {
            return (self.handle)(&state, request).await;
        }
        let again = copy(&request);
        let (outcome, has_written) = watch_changes((self.handle)(&state, request)).await;
        match outcome {
            Err(error) if error.may_be_outdated_secret() => {
                let reloaded = self.state.reload().await;
                let is_same = Arc::ptr_eq(&state, &reloaded);
                if has_written || is_same { Err(error) } else { (self.handle)(&reloaded, again).await }
            }
            outcome => outcome,
        }
    }
}

/// A copy of a request, which cannot be cloned because of its body.
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

/// Time limit of a request: until shortly before Lambda would end the process.
fn time_left(request: &Request) -> Duration {
    let deadline = request.lambda_context_ref().map(|context| Duration::from_millis(context.deadline));
    let left = deadline.and_then(|deadline| (UNIX_EPOCH + deadline).duration_since(SystemTime::now()).ok());
    left.map_or(MAX_REQUEST_TIME, |left| left.saturating_sub(ANSWER_TIME).min(MAX_REQUEST_TIME))
}
