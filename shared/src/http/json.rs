//! JSON bodies.

use lambda_http::Request;
use lambda_http::http::StatusCode;
use lambda_http::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiError;

/// The largest JSON body that is read, in bytes. The largest legitimate one has 5,000 characters of notes.
const MAX_JSON: usize = 64 * 1024;

/// Reason why a body is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonError {
    /// It is larger than 64 kB.
    TooLarge,
    /// It has another content type.
    WrongContentType,
    /// It is no JSON, or no object.
    NotAnObject,
}

impl From<JsonError> for ApiError {
    /// 413, 415 or 400.
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::TooLarge => Self::too_large("A JSON body must be at most 64 kB"),
            JsonError::WrongContentType => Self::wrong_content_type("application/json"),
            JsonError::NotAnObject => {
                Self::new(StatusCode::BAD_REQUEST, "Invalid JSON").message("The body must be a JSON object")
            }
        }
    }
}

/// The JSON object in a request's body.
///
/// # Errors
/// When the body is too large, has another content type, or is no JSON object.
pub fn read_json(request: &Request) -> Result<Value, JsonError> {
    let body: &[u8] = request.body();
    if body.len() > MAX_JSON {
        return Err(JsonError::TooLarge);
    }
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !content_type.is_none_or(is_json) {
        return Err(JsonError::WrongContentType);
    }
    match serde_json::from_slice(body) {
        Ok(object @ Value::Object(_)) => Ok(object),
        _ => Err(JsonError::NotAnObject),
    }
}

/// Parses a JSON object into a type.
///
/// # Errors
/// 400 that names the field that is wrong.
pub fn parse_json<T: DeserializeOwned>(object: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let field = error.path().to_string();
        ApiError::invalid_field(&field, without_value(&error.into_inner().to_string()))
    })
}

/// A message of serde without the value that it quotes, which may be personal.
fn without_value(message: &str) -> String {
    match message.split_once(", expected ") {
        Some((_, expected)) => {
            format!("must be {}", expected.replace("f64", "a number"))
        }
        None => message.to_owned(),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_types_are_recognised_by_their_essence() {
        for yes in ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"] {
            assert!(is_json(yes), "{yes}");
        }
        for no in ["", "text/plain", "text/json-ish", "multipart/form-data", "application/x-www-form-urlencoded"] {
            assert!(!is_json(no), "{no}");
        }
    }
}
