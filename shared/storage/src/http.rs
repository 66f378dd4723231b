//! Conversion of this crate's errors into error answers of the API.

use lambda_http::http::StatusCode;
use shared::http::{ApiError, upload_not_found};

use crate::Error;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::NotConfigured => Self::new(StatusCode::NOT_IMPLEMENTED, "Uploads not configured")
                .message("UPLOADS_BUCKET must be set in environment variables"),
            Error::Aws(error) => error.into(),
            Error::PocketBase(error) => error.into(),
            Error::Auth(error) => error.into(),
            Error::Request(cause) => Self::internal(cause),
            Error::NotFound { field } => upload_not_found(field),
            Error::Mismatch { field, reason } => Self::invalid_field(field, reason),
            Error::Conflict { field, reason } => {
                Self::conflict("Upload conflict", format!("{field} {reason}")).with("field", field)
            }
            Error::WrongType { field, media } => Self::wrong_file_type(field, media),
        }
    }
}
