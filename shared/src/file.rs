//! Files from callers: their type, and their content in memory or in storage.

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;

/// Kinds of files that a field accepts, recognised by their first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// A still image: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF.
    Image,
    /// An image that vision models read: JPEG, PNG or WebP.
    Scan,
    /// A video: MP4, QuickTime, 3GP, WebM, Matroska, MPEG, AVI, WMV or Ogg.
    Video,
}

/// Type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileType {
    /// The media type.
    pub media_type: &'static str,
    /// The file name extension, without a dot.
    pub extension: &'static str,
}

impl Media {
    /// The accepted media types: what phones, scanners and browsers produce.
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
                "video/3gpp",
                "video/x-ms-wmv",
                "video/ogg",
            ],
        }
    }

    /// The largest file that can be uploaded, in bytes.
    pub fn max_size(self) -> u64 {
        match self {
            Self::Image | Self::Scan => 15 * 1024 * 1024,
            Self::Video => 50 * 1024 * 1024,
        }
    }

    /// Description of the accepted types, for error messages.
    pub fn description(self) -> &'static str {
        match self {
            Self::Image => "an image: JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF",
            Self::Scan => "an image: JPEG, PNG or WebP",
            Self::Video => "a video: MP4, QuickTime, 3GP, WebM, Matroska, MPEG, AVI, WMV or Ogg",
        }
    }

    /// Type of a file by its first bytes; `None` when it is not accepted.
    pub fn detect(self, start: &[u8]) -> Option<FileType> {
        let file_type = match infer::get(start) {
            // The library takes every Ogg file for sound, and does not know 3GP.
            Some(kind) if kind.mime_type() == "audio/ogg" => FileType { media_type: "video/ogg", extension: "ogv" },
            None if matches!(start.get(4..11), Some(b"ftyp3gp" | b"ftyp3g2")) => {
                FileType { media_type: "video/3gpp", extension: "3gp" }
            }
            kind => kind.map(|kind| FileType { media_type: kind.mime_type(), extension: kind.extension() })?,
        };
        self.types().contains(&file_type.media_type).then_some(file_type)
    }
}

/// A file whose type has been detected.
#[derive(Debug, Clone)]
pub struct File {
    /// Its content.
    pub content: Content,
    /// Its type.
    pub file_type: FileType,
    /// The caller's name for it, without control characters. Shown to that caller only.
    pub name: String,
}

/// Where the bytes of a file are.
#[derive(Debug, Clone)]
pub enum Content {
    /// In memory: they came with the request.
    Inline(Bytes),
    /// In storage, and read when they are needed.
    Stored(Arc<dyn Stored>),
}

/// An immutable file that is too large to be held in memory.
pub trait Stored: Debug + Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;

    /// Its bytes as a stream.
    fn chunks(&self) -> BoxFuture<'_, Result<Chunks, Unreadable>>;
}

/// Stream of the bytes of a file.
pub type Chunks = BoxStream<'static, Result<Bytes, Unreadable>>;

/// Failure to read a stored file. The message is for the log.
#[derive(Debug, thiserror::Error)]
#[error("a stored file cannot be read: {0}")]
pub struct Unreadable(pub String);

impl File {
    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Inline(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Content::Stored(stored) => stored.size(),
        }
    }

    /// Reads all of its bytes into memory. Only for files of bounded size, such as photos.
    ///
    /// # Errors
    /// When the stored file cannot be read.
    pub async fn read(&self) -> Result<Bytes, Unreadable> {
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
