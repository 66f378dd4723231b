//! What a caller is told when something is wrong.

use std::fmt::Display;

use chrono::{NaiveTime, Utc};
use lambda_http::http::header::{ALLOW, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Response};
use serde_json::{Map, Value};

use super::json_response;
use crate::auth::Scope;
use crate::pocketbase;

/// How long a caller is asked to wait when PocketBase cannot be reached, in seconds.
pub const RETRY_SECONDS: u64 = 5;

/// An answer that is not a success: a status and `{"error", "message"?, …}` for the caller, and a cause for the log.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    body: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
    suspects_secret: bool,
    page: Option<Box<Response<Body>>>,
}

impl ApiError {
    /// An error with the status and the short text that callers may branch on.
    pub fn new(status: StatusCode, error: &str) -> Self {
        let body = Map::from_iter([("error".to_owned(), Value::from(error))]);
        Self { status, body, headers: Vec::new(), cause: None, suspects_secret: false, page: None }
    }

    /// Adds what to do about it.
    pub fn message(self, message: impl Into<String>) -> Self {
        self.with("message", message.into())
    }

    /// Adds a field to the body.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a header, unless its value cannot be one.
    pub fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.extend(HeaderValue::from_str(value).ok().map(|value| (name, value)));
        self
    }

    /// Adds what happened, for the log alone.
    pub fn because(mut self, cause: impl Display) -> Self {
        self.cause = Some(cause.to_string());
        self
    }

    /// Says that a secret which has been changed since it was read would explain it. The request has done nothing yet, and can
    /// be handled again with the new one.
    pub fn suspecting_secret(mut self) -> Self {
        self.suspects_secret = true;
        self
    }

    /// Answers with a page, for a person, in the place of JSON.
    pub fn shown_as(mut self, page: Response<Body>) -> Self {
        self.page = Some(Box::new(page));
        self
    }

    /// 400 naming one field and what it must be.
    pub fn invalid_field(field: &str, reason: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Invalid field").with("field", field).message(format!("{field} {reason}"))
    }

    /// 400 naming the fields that a route requires and those of them that are absent.
    pub fn missing_fields(required: &[&str], missing: &[&str]) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Missing required fields")
            .with("required", required)
            .with("missing", missing)
    }

    /// 401 for a request without credential.
    pub fn missing_bearer() -> Self {
        Self::unauthorized("Missing bearer token", "Bearer realm=\"identivia\"")
    }

    /// 401 for a token that is malformed, forged or not for this API.
    pub fn invalid_bearer() -> Self {
        Self::unauthorized("Invalid bearer token", "Bearer realm=\"identivia\", error=\"invalid_token\"")
    }

    /// 401 for a token that somebody else signed.
    pub fn forged_bearer() -> Self {
        Self::invalid_bearer().suspecting_secret()
    }

    /// 401 for a token that was good once.
    pub fn bearer_expired() -> Self {
        let challenge = "Bearer realm=\"identivia\", error=\"invalid_token\", error_description=\"The token expired\"";
        Self::unauthorized("Bearer token expired", challenge)
    }

    /// 401 for an API key that is none of ours.
    pub fn invalid_api_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid or missing API key").suspecting_secret()
    }

    /// 400 for a request to the hosted page without credential, in the words of its contract.
    pub fn missing_page_key() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "API key is required")
    }

    /// 401 for a key that is none of ours, in the words of the hosted page's contract.
    pub fn invalid_page_key() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Invalid API key").suspecting_secret()
    }

    /// 403 for a team that is not the caller's.
    pub fn team_not_allowed() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Team not allowed")
            .message("team must be your own, or absent")
            .header(WWW_AUTHENTICATE, "Bearer realm=\"identivia\", error=\"insufficient_scope\"")
    }

    fn unauthorized(error: &str, challenge: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error).header(WWW_AUTHENTICATE, challenge)
    }

    /// 403 naming the scope that would be needed.
    pub fn insufficient_scope(scope: Scope) -> Self {
        let challenge = format!("Bearer realm=\"identivia\", error=\"insufficient_scope\", scope=\"{scope}\"");
        Self::new(StatusCode::FORBIDDEN, "Insufficient scope")
            .with("required", [scope.as_str()].as_slice())
            .header(WWW_AUTHENTICATE, &challenge)
    }

    /// 404 for a profile that does not exist or is not the caller's.
    pub fn profile_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Identivia record not found").message("Invalid or expired ID")
    }

    /// 404 for an upload that does not exist (any more) or is not the caller's.
    pub fn upload_not_found(field: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Upload not found")
            .with("field", field)
            .message(format!("{field} names no upload of yours; make one with POST /api/uploads"))
    }

    /// 409 for an upload that cannot be used as it is.
    pub fn upload_conflict(field: &str, reason: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "Upload conflict").with("field", field).message(format!("{field} {reason}"))
    }

    /// 404 for a webhook that does not exist or is not the caller's.
    pub fn delivery_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Delivery not found")
    }

    /// 404 for a Face Liveness session that does not exist (any more) or is not the caller's.
    pub fn session_not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "Session not found").message("Face Liveness session ID is invalid or expired")
    }

    /// 409 for a Face Liveness session that cannot vouch for what is asked of it.
    pub fn session_conflict(message: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "Face Liveness session conflict").message(message)
    }

    /// 409 for a person who would change a profile that has been decided.
    pub fn already_decided() -> Self {
        Self::new(StatusCode::CONFLICT, "Profile already decided")
            .message("This verification is finished and can no longer be changed")
    }

    /// What became of a write: PocketBase's rules refuse one of a flow token's once the profile is decided, also when that
    /// happened after it was looked at.
    pub fn of_write(error: pocketbase::Error, is_flow: bool) -> Self {
        match error {
            pocketbase::Error::Refused if is_flow => Self::already_decided(),
            error => error.into(),
        }
    }

    /// 429 for a person who has used up what a day has.
    pub fn too_many_today(error: &str, message: &str) -> Self {
        let now = Utc::now().time();
        let until_midnight = 86_400 - now.signed_duration_since(NaiveTime::MIN).num_seconds();
        Self::new(StatusCode::TOO_MANY_REQUESTS, error)
            .message(message)
            .header(RETRY_AFTER, &until_midnight.to_string())
    }

    /// 413 with what fits.
    pub fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Request too large").message(message)
    }

    /// 415 naming the type that a route takes.
    pub fn wrong_type(expected: &str) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
            .message(format!("Send Content-Type: {expected}"))
    }

    /// 405 naming the methods that the path takes.
    pub fn method_not_allowed(allowed: &[Method]) -> Self {
        let allowed: Vec<_> = allowed.iter().map(Method::as_str).collect();
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").header(ALLOW, &allowed.join(", "))
    }

    /// 500 for what should not happen.
    pub fn internal(cause: impl Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error").because(cause)
    }

    /// 504 for an upstream that did not answer in time.
    pub fn upstream_timeout(cause: impl Display) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Upstream timeout")
            .message("A service that this request needs did not answer in time; try again")
            .because(cause)
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// A text of the body.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.body.get(name).and_then(Value::as_str)
    }

    /// What happened, for the log.
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// Whether a secret that has been changed would explain it.
    pub(super) fn suspects_a_secret(&self) -> bool {
        self.suspects_secret
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

impl From<pocketbase::Error> for ApiError {
    fn from(error: pocketbase::Error) -> Self {
        use pocketbase::Error;
        match &error {
            Error::Unreachable(_) | Error::Busy { .. } => {
                let seconds =
                    if let Error::Busy { retry_after: Some(seconds) } = error { seconds } else { RETRY_SECONDS };
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable")
                    .message("The system of record cannot be reached; try again shortly")
                    .header(RETRY_AFTER, &seconds.to_string())
                    .because(error)
            }
            Error::TimedOut | Error::FileUnread(_) => Self::upstream_timeout(error),
            Error::UploadTaken => Self::new(StatusCode::CONFLICT, "Upload conflict").message(
                "An upload has been stored before, or was replaced after it was looked at; upload the file again",
            ),
            Error::FileGone => Self::new(StatusCode::CONFLICT, "Profile changed")
                .message("A file of the profile was replaced while it was being copied; try again")
                .because(error),
            Error::NotUnique(_) | Error::Refused | Error::BadAnswer(_) | Error::SignInRefused(_) => {
                let is_sign_in = matches!(error, Error::SignInRefused(_));
                let told = Self::new(StatusCode::BAD_GATEWAY, "Bad gateway")
                    .message("The system of record answered unexpectedly; try again later")
                    .because(error);
                if is_sign_in { told.suspecting_secret() } else { told }
            }
        }
    }
}
