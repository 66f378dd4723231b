//! Error type of uploads and of calls of S3.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use shared::file::Media;
use shared::{auth, aws, pocketbase};

/// Failure of an upload or of a call of S3.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `UPLOADS_BUCKET` is not set.
    #[error("UPLOADS_BUCKET is not set")]
    NotConfigured,
    /// S3 failed.
    #[error(transparent)]
    Aws(#[from] aws::Error),
    /// PocketBase failed.
    #[error(transparent)]
    PocketBase(#[from] pocketbase::Error),
    /// The owner's name of an upload cannot be computed.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// A request cannot be built.
    #[error("the request cannot be built: {0}")]
    Request(String),
    /// The field refers to an upload that does not exist or is not the caller's.
    #[error("{field} refers to no upload of the caller")]
    NotFound {
        /// The form field.
        field: &'static str,
    },
    /// The upload was announced for another field or profile.
    #[error("{field} {reason}")]
    Mismatch {
        /// The form field.
        field: &'static str,
        /// The difference, in words for the caller.
        reason: String,
    },
    /// The upload cannot be used in its state.
    #[error("{field} {reason}")]
    Conflict {
        /// The form field.
        field: &'static str,
        /// The state, in words for the caller.
        reason: &'static str,
    },
    /// The field does not accept the type of the file.
    #[error("{field} has an unaccepted file type")]
    WrongType {
        /// The form field.
        field: &'static str,
        /// The kind of files that it accepts.
        media: Media,
    },
}

impl Error {
    /// Whether the sender of the upload can correct the failure. All other failures are caused by the operator or an upstream
    /// service.
    pub fn is_senders(&self) -> bool {
        match self {
            Self::NotFound { .. } | Self::Mismatch { .. } | Self::Conflict { .. } | Self::WrongType { .. } => true,
            Self::PocketBase(error) => matches!(error, pocketbase::Error::UploadConflict),
            Self::NotConfigured | Self::Aws(_) | Self::Auth(_) | Self::Request(_) => false,
        }
    }
}

impl<E, R> From<SdkError<E, R>> for Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        Self::Aws(error.into())
    }
}
