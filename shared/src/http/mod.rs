//! Requests in, answers out: the loop around every handler, JSON and multipart bodies, limits and errors.

mod error;
mod json;
mod multipart;

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response, service_fn};
use serde::Serialize;

pub use error::{ApiError, RETRY_SECONDS};
pub use json::{parse_json, read_json};
pub use multipart::{File, Form, FormFields, MAX_INLINE_FILES, Media, read_form};

use crate::types::RecordId;

/// The longest that a request may take, whatever the function's own timeout: API Gateway hangs up after 30 s.
const MAX_REQUEST_TIME: Duration = Duration::from_secs(27);

/// What is kept of a function's time to say that the rest was not enough.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// Answers events until the runtime goes away.
///
/// # Errors
/// None; the type is `main`'s.
pub async fn run<'a, H, F>(handler: H) -> Result<(), StartError>
where
    H: Fn(Request) -> F + Send + Sync + 'a,
    F: Future<Output = Result<Response<Body>, ApiError>> + Send + 'a,
{
    let handler = &handler;
    let service = service_fn(move |request| async move { Ok::<_, Infallible>(answer(handler, request).await) });
    if let Err(error) = lambda_http::run(service).await {
        // The runtime's interface goes away with the environment, and with Ctrl-C on the local stack: nothing is amiss.
        tracing::debug!(cause = %error, "the runtime is gone");
    }
    Ok(())
}

/// Answers one request: every failure becomes a response, every response carries `x-request-id`, and one line is logged.
pub async fn answer<H, F>(handler: &H, request: Request) -> Response<Body>
where
    H: Fn(Request) -> F,
    F: Future<Output = Result<Response<Body>, ApiError>>,
{
    let started = Instant::now();
    let request_id = request_id(&request);
    let time_left = time_left(&request);
    let handled = AssertUnwindSafe(async { handler(request).await }).catch_unwind();
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
    } else {
        tracing::info!(request_id, status = status.as_u16(), milliseconds, cause, "request answered");
    }
    let mut response = outcome.unwrap_or_else(ApiError::into_response);
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), value);
    }
    response
}

/// The gateway's id of a request; Lambda's own where there is none.
fn request_id(request: &Request) -> String {
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

/// A JSON answer.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // Our own types always serialise; should one not, the caller gets an empty object rather than no answer.
    let text = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The answer of a request that did what it was asked: `{"success": true, "message"?, "data"}`.
pub fn success(status: StatusCode, message: Option<&'static str>, data: impl Serialize) -> Response<Body> {
    #[derive(Serialize)]
    struct Success<T> {
        success: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        message: Option<&'static str>,
        data: T,
    }
    json_response(status, &Success { success: true, message, data })
}

/// The `{id}` of the path as it came; empty where there is none.
pub fn path_id(request: &Request) -> String {
    request.path_parameters_ref().and_then(|parameters| parameters.first("id")).unwrap_or_default().to_owned()
}

/// The profile that a path names.
///
/// # Errors
/// 404, without asking anybody, for what cannot be the id of a record.
pub fn profile_id(path_id: &str) -> Result<RecordId, ApiError> {
    path_id.parse().map_err(|_| ApiError::profile_not_found())
}

/// The caller's address as the gateway saw it; no header that a caller can write has a say.
pub fn source_ip(request: &Request) -> Option<String> {
    match request.request_context_ref()? {
        RequestContext::ApiGatewayV2(context) => context.http.source_ip.clone(),
        _ => None,
    }
}

/// Why a process cannot answer requests. Its `Debug` is its message, since that is what `main` prints.
pub struct StartError(String);

impl<E: std::error::Error> From<E> for StartError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl std::fmt::Debug for StartError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}
