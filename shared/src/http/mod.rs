//! The HTTP edge: requests parsed, answers rendered, and every lower error mapped to what the caller is told.

mod error;
mod json;
mod mapping;
mod multipart;
mod request;
mod response;
pub mod verif;

pub use error::{ApiError, RETRY_SECONDS};
pub use json::{JsonError, parse_json, read_json};
pub use multipart::{Form, FormFields, MAX_INLINE_FILES, UPLOAD_PREFIX, UploadReference, read_form, upload_not_found};
pub use request::{credentials, path_parameter, request_id, source_ip};
pub use response::{json_response, no_store, success};
