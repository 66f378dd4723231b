//! Requests in, answers out: the loop around every handler, JSON and multipart bodies, limits and errors.

mod error;
mod json;
mod multipart;
mod service;

use lambda_http::http::StatusCode;
use lambda_http::http::header::{CONTENT_TYPE, HeaderValue};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt, Response};
use serde::Serialize;

pub use error::{ApiError, RETRY_SECONDS};
pub use json::{parse_json, read_json};
pub use multipart::{
    Chunks, Content, File, Form, FormFields, MAX_INLINE_FILES, Media, Stored, UPLOAD_PREFIX, Unread, UploadReference,
    read_form,
};
pub use service::{Handle, Service, request_id, run};

use crate::types::RecordId;

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
