//! `multipart/form-data` bodies: text fields, files, and references to uploads.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;
use futures_util::stream;
use lambda_http::http::StatusCode;
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request};
use multer::Multipart;

use super::ApiError;
use crate::file::{Content, File, Media};
use crate::types::RecordId;

/// The most bytes of all files of one request. A Lambda request has at most 6 MiB of JSON with the body in Base64, so a body of at
/// most 4.7 MB arrives (AWS Lambda quotas, synchronous payload).
pub const MAX_INLINE_FILES: usize = 4_400_000;

/// The largest body that is parsed, in bytes: Lambda's own limit, for local gateways that have none.
const MAX_BODY: usize = 6 * 1024 * 1024;

/// The largest text field, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The most parts in a form. No route has more than 20 fields.
const MAX_PARTS: usize = 32;

/// Fields of a form.
pub struct FormFields {
    /// Text fields. Others are ignored.
    pub texts: &'static [&'static str],
    /// File fields. Others are refused.
    pub files: &'static [(&'static str, Media)],
}

/// Reference to an upload in a file field: `upload:<upload_id>`.
#[derive(Debug, Clone)]
pub struct UploadReference {
    /// The upload.
    pub id: RecordId,
    /// What the field accepts.
    pub media: Media,
}

/// Prefix of a reference to an upload.
pub const UPLOAD_PREFIX: &str = "upload:";

/// A parsed form.
#[derive(Debug, Default)]
pub struct Form {
    texts: BTreeMap<&'static str, String>,
    /// Files by field.
    pub files: BTreeMap<&'static str, File>,
    /// References to uploads, by field.
    pub uploads: BTreeMap<&'static str, UploadReference>,
}

impl Form {
    /// A parsed text field. An empty one counts as absent.
    ///
    /// # Errors
    /// 400 that names the field when it does not parse.
    pub fn get<T: FromStr<Err: Display>>(&self, field: &str) -> Result<Option<T>, ApiError> {
        let text = self.texts.get(field).filter(|text| !text.trim().is_empty());
        text.map(|text| text.parse().map_err(|reason| ApiError::invalid_field(field, reason))).transpose()
    }

    /// A text field with JSON.
    ///
    /// # Errors
    /// 400 that names the field when it is no JSON.
    pub fn get_json(&self, field: &str) -> Result<Option<serde_json::Value>, ApiError> {
        let text = self.texts.get(field).filter(|text| !text.trim().is_empty());
        text.map(|text| serde_json::from_str(text).map_err(|_| ApiError::invalid_field(field, "must be JSON")))
            .transpose()
    }

    /// Whether a field has a file or a reference to an upload.
    pub fn has_file(&self, field: &str) -> bool {
        self.files.contains_key(field) || self.uploads.contains_key(field)
    }

    /// Whether a text field has a value.
    pub fn has(&self, field: &str) -> bool {
        self.texts.get(field).is_some_and(|text| !text.trim().is_empty())
    }
}

/// Reads a form.
///
/// # Errors
/// 415 for another content type; 413 when files or a text field are too large; 400 that names the field for an unknown file
/// field, a second value of a field, an empty file, or a file whose bytes are not what the field accepts; 400 for a malformed
/// body.
pub async fn read_form(request: Request, fields: &FormFields) -> Result<Form, ApiError> {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|error| match error {
        multer::Error::NoBoundary => malformed("The Content-Type has no boundary"),
        _ => ApiError::wrong_content_type("multipart/form-data"),
    })?;
    let body = match body {
        Body::Binary(bytes) => Bytes::from(bytes),
        Body::Text(text) => Bytes::from(text),
        _ => Bytes::new(),
    };
    if body.len() > MAX_BODY {
        return Err(files_too_large());
    }
    let mut multipart = Multipart::new(stream::iter([Ok::<_, Infallible>(body)]), boundary);
    let mut form = Form::default();
    let (mut parts, mut weight) = (0, 0);
    while let Some(part) = multipart.next_field().await.map_err(truncated)? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(malformed(&format!("A form has at most {MAX_PARTS} parts")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        let file_name = part.file_name().map(shown);
        let bytes = part.bytes().await.map_err(truncated)?;
        if let Some(file_name) = file_name {
            weight += bytes.len();
            if weight > MAX_INLINE_FILES {
                return Err(files_too_large());
            }
            form.add_file(fields, &name, file_name, bytes)?;
        } else {
            form.add_text(fields, &name, &bytes)?;
        }
    }
    Ok(form)
}

impl Form {
    fn add_file(&mut self, fields: &FormFields, name: &str, file_name: String, bytes: Bytes) -> Result<(), ApiError> {
        let known = fields.files.iter().find(|(field, _)| *field == name);
        let (field, media) =
            known.ok_or_else(|| ApiError::invalid_field(&shown(name), "is not a file field of this route"))?;
        if bytes.is_empty() {
            return Err(ApiError::invalid_field(field, "is an empty file"));
        }
        let file_type = media.detect(&bytes).ok_or_else(|| ApiError::wrong_file_type(field, *media))?;
        if self.has_file(field) {
            return Err(ApiError::invalid_field(field, "is given twice"));
        }
        self.files.insert(field, File { content: Content::Inline(bytes), file_type, name: file_name });
        Ok(())
    }

    /// Adds the reference in a file field that holds text.
    fn add_upload(&mut self, field: &'static str, media: Media, bytes: &[u8]) -> Result<(), ApiError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        let id = text.strip_prefix(UPLOAD_PREFIX).ok_or_else(|| {
            ApiError::invalid_field(field, "must be a file, or upload:<upload_id> of POST /api/uploads")
        })?;
        let id = id.parse().map_err(|_| upload_not_found(field))?;
        if self.has_file(field) {
            return Err(ApiError::invalid_field(field, "is given twice"));
        }
        self.uploads.insert(field, UploadReference { id, media });
        Ok(())
    }

    fn add_text(&mut self, fields: &FormFields, name: &str, bytes: &[u8]) -> Result<(), ApiError> {
        if bytes.len() > MAX_TEXT {
            return Err(ApiError::too_large(format!("A text field must be at most {MAX_TEXT} bytes"))
                .with("field", shown(name)));
        }
        if let Some((field, media)) = fields.files.iter().find(|(field, _)| *field == name) {
            return self.add_upload(field, *media, bytes);
        }
        let Some(field) = fields.texts.iter().find(|field| **field == name) else { return Ok(()) };
        let text = std::str::from_utf8(bytes).map_err(|_| ApiError::invalid_field(field, "must be UTF-8"))?;
        match self.texts.insert(field, text.to_owned()) {
            Some(_) => Err(ApiError::invalid_field(field, "is given twice")),
            None => Ok(()),
        }
    }
}

/// A name that the caller sent, shortened and without control characters.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// 404 for a reference that names no upload of the caller's.
pub fn upload_not_found(field: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "Upload not found")
        .with("field", field)
        .message(format!("{field} names no upload of yours; make one with POST /api/uploads"))
}

fn malformed(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "Invalid form").message(message)
}

/// 400 for an incomplete body. multer's own message could repeat parts of the body.
fn truncated(_: multer::Error) -> ApiError {
    malformed("The body is not complete multipart/form-data")
}

fn files_too_large() -> ApiError {
    ApiError::too_large(
        "The files of one request must be at most 4.4 MB together; upload larger ones with POST /api/uploads first",
    )
}
