//! JSON answers.

use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use lambda_http::{Body, Response};
use serde::Serialize;

/// A JSON answer.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response<Body> {
    // The types of answers always serialise. If one did not, the caller would get an empty object.
    let text = serde_json::to_string(body).unwrap_or_else(|_| "{}".to_owned());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Answer to a successful request: `{"success": true, "message"?, "data"}`.
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

/// Adds `Cache-Control: no-store`, for answers with secrets or personal data.
pub fn no_store(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
