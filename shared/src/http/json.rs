//! JSON bodies.

use lambda_http::Request;
use lambda_http::http::StatusCode;
use lambda_http::http::header::CONTENT_TYPE;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ApiError;

/// The largest JSON body that is read, in bytes. The largest legitimate one holds 5,000 characters of notes.
const MAX_JSON: usize = 64 * 1024;

/// The JSON object in a request's body.
///
/// # Errors
/// 413 above 64 kB, 415 for another content type, 400 for anything but a JSON object.
pub fn read_json(request: &Request) -> Result<Value, ApiError> {
    let body: &[u8] = request.body();
    if body.len() > MAX_JSON {
        return Err(ApiError::too_large("A JSON body must be at most 64 kB"));
    }
    let content_type = request.headers().get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
    if !content_type.is_none_or(is_json) {
        return Err(ApiError::wrong_type("application/json"));
    }
    match serde_json::from_slice(body) {
        Ok(object @ Value::Object(_)) => Ok(object),
        _ => Err(ApiError::new(StatusCode::BAD_REQUEST, "Invalid JSON").message("The body must be a JSON object")),
    }
}

/// Reads a typed value from a JSON object.
///
/// # Errors
/// 400 naming the field that is wrong.
pub fn parse_json<T: DeserializeOwned>(object: Value) -> Result<T, ApiError> {
    serde_path_to_error::deserialize(object).map_err(|error| {
        let field = error.path().to_string();
        ApiError::invalid_field(&field, said_of_type(&error.into_inner().to_string()))
    })
}

/// serde's messages quote the value, which may be personal: of a wrong type only the expected one is told.
fn said_of_type(message: &str) -> String {
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
