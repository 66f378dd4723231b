//! The S3 bucket: uploads that are sent to it directly, copies of claimed uploads, and the media of checks.
//!
//! All objects of a person are below `people/<profile>/`, so that they are found when the person is redacted:
//! `uploads/<upload id>`, written by presigned POST; `taken/<upload id>/…`, copies that only the functions write;
//! `checks/<check id>/…`, the media of checks.

mod bucket;
mod error;
mod http;
mod post;
mod uploads;

use shared::env::{ConfigError, Env};

pub use bucket::{Bucket, Object, check_key};
pub use error::Error;
pub use post::{POST_TTL, PresignedPost};
pub use uploads::{CopyPurpose, UploadClaim, Uploads};

/// Retention of personal data.
#[derive(Clone, Copy)]
pub struct RetentionSettings {
    /// `RETENTION_DAYS`: age in days at which media and images of faces are deleted, 1 to 365, 7 by default. The bucket's lifecycle
    /// rule deletes what the job missed, and must not be shorter.
    pub days: u16,
}

impl RetentionSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the number is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { days: env.number("RETENTION_DAYS", 7, 1..=365)? })
    }
}
