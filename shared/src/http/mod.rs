//! HTTP layer: parses requests, renders answers, and maps the errors of lower layers to error answers.

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
