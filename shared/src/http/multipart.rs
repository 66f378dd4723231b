//! `multipart/form-data` bodies: text fields and files, each known to its route by name.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream};
use lambda_http::http::StatusCode;
use lambda_http::http::header::CONTENT_TYPE;
use lambda_http::{Body, Request};
use multer::Multipart;

use super::ApiError;
use crate::types::RecordId;

/// What the files of one request may weigh together, in bytes. A Lambda request is at most 6 MiB of JSON with the body in
/// Base64, so that 4.7 MB is the most that could ever arrive (AWS Lambda quotas, synchronous payload).
pub const MAX_INLINE_FILES: usize = 4_400_000;

/// The largest body that is parsed, in bytes: Lambda's own limit, for gateways that have none.
const MAX_BODY: usize = 6 * 1024 * 1024;

/// The largest text field, in bytes.
const MAX_TEXT: usize = 64 * 1024;

/// The most parts in a form. No route has more than 20 fields.
const MAX_PARTS: usize = 32;

/// What a file must be, judged by its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// A still image: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF.
    Image,
    /// An image that models read: JPEG, PNG or WebP. Anything else is 415 and not 400, as the route's contract has it.
    Scan,
    /// A video: MP4, QuickTime, WebM, Matroska, MPEG or AVI.
    Video,
}

impl Media {
    /// What is accepted: what phones, scanners and browsers make.
    pub fn types(self) -> &'static [&'static str] {
        match self {
            Self::Image => &[
                "image/jpeg",
                "image/png",
                "image/webp",
                "image/heif",
                "image/avif",
                "image/gif",
                "image/bmp",
                "image/tiff",
            ],
            Self::Scan => &["image/jpeg", "image/png", "image/webp"],
            Self::Video => &[
                "video/mp4",
                "video/x-m4v",
                "video/quicktime",
                "video/webm",
                "video/x-matroska",
                "video/mpeg",
                "video/x-msvideo",
            ],
        }
    }

    /// The type of a file by its first bytes, as `(media type, extension without a dot)`.
    ///
    /// # Errors
    /// 400, or 415 for a [`Media::Scan`], naming the field, when it is none of these.
    pub fn of_bytes(self, field: &str, start: &[u8]) -> Result<(&'static str, &'static str), ApiError> {
        let kind = infer::get(start).filter(|kind| self.types().contains(&kind.mime_type()));
        kind.map(|kind| (kind.mime_type(), kind.extension())).ok_or_else(|| self.refusal(field))
    }

    fn refusal(self, field: &str) -> ApiError {
        match self {
            Self::Image => {
                ApiError::invalid_field(field, "must be an image: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF")
            }
            Self::Scan => ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type")
                .with("field", field)
                .message(format!("{field} must be an image: JPEG, PNG or WebP")),
            Self::Video => {
                ApiError::invalid_field(field, "must be a video: MP4, QuickTime, WebM, Matroska, MPEG or AVI")
            }
        }
    }
}

/// The fields that a form may have.
pub struct FormFields {
    /// Text fields. Others are ignored.
    pub texts: &'static [&'static str],
    /// File fields. Others are refused.
    pub files: &'static [(&'static str, Media)],
}

/// A file of a form, its type known by its bytes.
#[derive(Debug, Clone)]
pub struct File {
    /// Its content.
    pub content: Content,
    /// The file name extension of that type, without a dot.
    pub extension: &'static str,
    /// Its media type.
    pub media_type: &'static str,
    /// What the caller calls it, fit to be shown to that caller: it may say anything.
    pub name: String,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Content {
    /// Here: they came with the request.
    Inline(Bytes),
    /// Elsewhere, to be read as they are needed.
    Stored(Arc<dyn Stored>),
}

/// A file that does not change, and is too large to be held.
pub trait Stored: Debug + Send + Sync {
    /// How many bytes it has.
    fn size(&self) -> u64;

    /// Its bytes, as they arrive.
    fn chunks(&self) -> BoxFuture<'_, Result<Chunks, Unread>>;
}

/// The bytes of a file, as they arrive.
pub type Chunks = BoxStream<'static, Result<Bytes, Unread>>;

/// Why a stored file could not be read, for the log.
#[derive(Debug, thiserror::Error)]
#[error("a stored file cannot be read: {0}")]
pub struct Unread(pub String);

impl From<Unread> for ApiError {
    fn from(error: Unread) -> Self {
        Self::upstream_timeout(error)
    }
}

impl File {
    /// How many bytes it has.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Inline(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Content::Stored(stored) => stored.size(),
        }
    }

    /// All of its bytes; for files that may be held.
    ///
    /// # Errors
    /// When it is stored and cannot be read.
    pub async fn read(&self) -> Result<Bytes, Unread> {
        match &self.content {
            Content::Inline(bytes) => Ok(bytes.clone()),
            Content::Stored(stored) => {
                let mut chunks = stored.chunks().await?;
                let mut bytes = Vec::with_capacity(usize::try_from(stored.size()).unwrap_or_default());
                while let Some(chunk) = chunks.next().await {
                    bytes.extend_from_slice(&chunk?);
                }
                Ok(bytes.into())
            }
        }
    }
}

/// What stands for a file that was uploaded before: `upload:<upload_id>`.
#[derive(Debug, Clone)]
pub struct UploadReference {
    /// The upload.
    pub id: RecordId,
    /// What the field takes.
    pub media: Media,
}

/// What a text has to begin with to stand for a file.
pub const UPLOAD_PREFIX: &str = "upload:";

/// A form that has been read.
#[derive(Debug, Default)]
pub struct Form {
    texts: BTreeMap<&'static str, String>,
    /// Its files by field.
    pub files: BTreeMap<&'static str, File>,
    /// What stands for files that were uploaded before, by field.
    pub uploads: BTreeMap<&'static str, UploadReference>,
}

impl Form {
    /// A text field, parsed. An empty one counts as absent.
    ///
    /// # Errors
    /// 400 naming the field when it does not parse.
    pub fn get<T: FromStr<Err: Display>>(&self, field: &str) -> Result<Option<T>, ApiError> {
        let text = self.texts.get(field).filter(|text| !text.trim().is_empty());
        text.map(|text| text.parse().map_err(|reason| ApiError::invalid_field(field, reason))).transpose()
    }

    /// A text field that holds JSON.
    ///
    /// # Errors
    /// 400 naming the field when it does not.
    pub fn get_json(&self, field: &str) -> Result<Option<serde_json::Value>, ApiError> {
        let text = self.texts.get(field).filter(|text| !text.trim().is_empty());
        text.map(|text| serde_json::from_str(text).map_err(|_| ApiError::invalid_field(field, "must be JSON")))
            .transpose()
    }

    /// Whether a file has been sent or is referred to.
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
/// 415 for another content type; 413 when files or a text field are too large; 400 naming the field for an unknown file
/// field, a second value in one field, an empty file, or a file whose bytes are not what the field takes; 400 for a body that
/// is not the form it claims to be.
pub async fn read_form(request: Request, fields: &FormFields) -> Result<Form, ApiError> {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(|error| match error {
        multer::Error::NoBoundary => malformed("The Content-Type has no boundary"),
        _ => ApiError::wrong_type("multipart/form-data"),
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
        let (media_type, extension) = media.of_bytes(field, &bytes)?;
        if self.has_file(field) {
            return Err(ApiError::invalid_field(field, "is given twice"));
        }
        self.files.insert(field, File { content: Content::Inline(bytes), extension, media_type, name: file_name });
        Ok(())
    }

    /// What stands for a file in a file field.
    fn add_upload(&mut self, field: &'static str, media: Media, bytes: &[u8]) -> Result<(), ApiError> {
        let text = std::str::from_utf8(bytes).unwrap_or_default().trim();
        let id = text.strip_prefix(UPLOAD_PREFIX).ok_or_else(|| {
            ApiError::invalid_field(field, "must be a file, or upload:<upload_id> of POST /api/uploads")
        })?;
        let id = id.parse().map_err(|_| ApiError::upload_not_found(field))?;
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

/// A name of the caller's, short enough to be shown.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

fn malformed(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "Invalid form").message(message)
}

/// multer's own message would repeat what the body holds.
fn truncated(_: multer::Error) -> ApiError {
    malformed("The body is not complete multipart/form-data")
}

fn files_too_large() -> ApiError {
    ApiError::too_large(
        "The files of one request must be at most 4.4 MB together; upload larger ones with POST /api/uploads first",
    )
}
