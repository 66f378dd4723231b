//! Credential errors in the words of the verif API, whose contract differs from that of the other routes.

use lambda_http::http::StatusCode;

use super::ApiError;
use crate::auth;

/// Error answer of `/verif/…` for a credential error: 400 without a credential, 401 for an invalid API key.
pub fn credential_error(error: auth::Error) -> ApiError {
    match error {
        auth::Error::Missing => missing_key(),
        auth::Error::InvalidKey => {
            ApiError::new(StatusCode::UNAUTHORIZED, "Invalid API key").retry_after_secret_reload()
        }
        error => error.into(),
    }
}

/// 400 for a request without a credential.
pub fn missing_key() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "API key is required")
}
