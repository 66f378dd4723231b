//! Conversion of this crate's errors into error answers of the API.

use shared::http::ApiError;

use crate::Error;

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        match error {
            Error::Aws(error) => error.into(),
            Error::PocketBase(error) => error.into(),
        }
    }
}
