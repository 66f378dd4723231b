//! Error answers.

use std::fmt::Display;

use lambda_http::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Response};
use serde_json::{Map, Value};

use super::json_response;
use crate::file::Media;

/// `Retry-After` in seconds when an upstream service is unreachable or throttles and names no time.
pub const RETRY_SECONDS: u64 = 5;

/// An error answer: a status and `{"error", "message"?, …}` for the caller, and a cause for the log.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
    retry_after_secret_reload: bool,
    page: Option<Box<Response<Body>>>,
}

impl ApiError {
    /// An error with a status and the short text that callers may branch on.
    pub fn new(status: StatusCode, error: &str) -> Self {
        let body = Map::from_iter([("error".to_owned(), Value::from(error))]);
        Self { status, body, headers: Vec::new(), cause: None, retry_after_secret_reload: false, page: None }
    }

    /// Adds a message: details, or what the caller can do.
    pub fn message(self, message: impl Into<String>) -> Self {
        self.with("message", message.into())
    }

    /// Adds a field to the body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header, unless its value is invalid.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Adds `Retry-After` in seconds.
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(RETRY_AFTER, &seconds.to_string())
    }

    /// Adds the cause, for the log only.
    pub fn with_cause(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Marks an error that an outdated secret would explain. The runtime then reloads the secret and, if it has changed and
    /// the request has changed nothing yet, handles the request again.
    pub fn retry_after_secret_reload(mut self) -> Self {
        self.retry_after_secret_reload = true;
        self
    }

    /// Replaces the JSON answer by an HTML page.
    pub fn shown_as(mut self, page: Response<Body>) -> Self {
        self.page = Some(Box::new(page));
        self
    }

    /// 400 that names a field and what its value must be.
    pub fn invalid_field(field: &str, reason: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid field").with("field", field).message(format!("{field} {reason}"))
    }

    /// 400 that names the required fields of a route, and those that are missing.
    pub fn missing_fields(required: &[&str], missing: &[&str]) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Missing required fields")
            .with("required", required)
            .with("missing", missing)
    }

    /// Refusal of a file whose bytes are not what its field accepts: 400, or 415 for a [`Media::Scan`].
    pub fn wrong_file_type(field: &str, media: Media) -> Self {
        let reason = format!("must be {}", media.description());
        match media {
            Media::Image | Media::Video => Self::invalid_field(field, reason),
            Media::Scan => Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
                .with("field", field)
                .message(format!("{field} {reason}")),
        }
    }

    /// 404 for a path that no route has.
    pub fn no_such_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not found").message("There is no such route")
    }

    /// 405 with the methods that the path has.
    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").header(ALLOW, &allowed.join(", "))
    }

    /// 409 for something that is not in the state that the request needs.
    pub fn conflict(error: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, error).message(message)
    }

    /// 413 that says how much is accepted.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request too large").message(message)
    }

    /// 415 that names the content type of a route.
    pub fn wrong_content_type(expected: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
            .message(format!("Send Content-Type: {expected}"))
    }

    /// 429 for an upstream service that throttles requests. `retry_after` is in seconds, five if the service gave none.
    pub fn throttled(message: &str, retry_after: Option<u64>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
            .message(message)
            .retry_after(retry_after.unwrap_or(RETRY_SECONDS))
    }

    /// 500 for a defect, such as a broken invariant.
    pub fn internal(cause: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error").with_cause(cause)
    }

    /// 504 for an upstream service that did not answer in time.
    pub fn upstream_timeout(cause: impl Display) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Upstream timeout")
            .message("A service that this request needs did not answer in time; try again")
            .with_cause(cause)
    }

    /// The status, for the log.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }

    /// The cause, for the log.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Whether an outdated secret would explain it.
    pub(crate) fn may_be_outdated_secret(&self) -> bool {
        self.retry_after_secret_reload
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        if let Some(page) = self.page {
            return *page;
        }
        let mut response = json_response(self.status, &self.body);
        response.headers_mut().extend(self.headers);
        response
    }
}
