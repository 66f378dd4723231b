//! Failures of a check: what the caller is told, what the record keeps, and whether the attempt counts.

use lambda_http::http::StatusCode;
use shared::aws;
use shared::http::ApiError;
use shared::pocketbase::Error;
use shared::pocketbase::records::AttemptUse;
use shared::profiles;

use crate::compare::CompareError;
use crate::media::MediaError;
use crate::view::Completed;

/// Failure of a check.
pub struct Failure {
    /// What the caller is told.
    pub error: Box<ApiError>,
    /// Reason for the check's record. It contains no message of AWS, which may name roles and accounts.
    pub reason: String,
    /// Whether the attempt counts towards the daily limit.
    pub attempt: AttemptUse,
    /// The outcome, if it may have been written although the answer to the write was lost.
    pub maybe_written: Option<Box<Completed>>,
}

impl Failure {
    pub fn new(reason: String, error: ApiError, attempt: AttemptUse) -> Self {
        Self { error: Box::new(error), reason, attempt, maybe_written: None }
    }

    /// A failure that the sender can correct. The attempt counts.
    pub fn of_sender<E: std::fmt::Display + Into<ApiError>>(error: E) -> Self {
        Self::new(error.to_string(), error.into(), AttemptUse::Kept)
    }

    /// A failure of this service, of its operator or of an upstream service. The attempt does not count.
    pub fn of_service<E: std::fmt::Display + Into<ApiError>>(error: E) -> Self {
        Self::new(error.to_string(), error.into(), AttemptUse::GivenBack)
    }

    /// A failure to examine the media: 500 with the text of the API contract.
    pub fn of_processing(cause: impl std::fmt::Display, attempt: AttemptUse) -> Self {
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Verification processing failed")
            .message("Nothing is decided; send the same submission again")
            .with_cause(&cause);
        Self::new(cause.to_string(), error, attempt)
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        match &error {
            storage::Error::Aws(cause) => {
                let reason = format!("S3: {}", cause.kind());
                Self { reason, ..Self::of_service(error) }
            }
            _ if error.is_senders() => Self::of_sender(error),
            _ => Self::of_service(error),
        }
    }
}

impl From<profiles::Error> for Failure {
    fn from(error: profiles::Error) -> Self {
        match error {
            profiles::Error::PocketBase(error) => error.into(),
            error => Self::of_sender(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::UploadConflict => Self::of_sender(error),
            error => Self::of_service(error),
        }
    }
}

/// Failure of a media file.
pub fn of_media(field: &str, error: MediaError) -> Failure {
    match error {
        MediaError::Undecodable(_) => {
            let reason = format!("{field} {error}");
            let error = ApiError::invalid_field(field, "cannot be decoded; take it again").with_cause(&reason);
            Failure::new(reason, error, AttemptUse::Kept)
        }
        MediaError::Unsuitable(reason) => {
            Failure::new(format!("{field} {reason}"), ApiError::invalid_field(field, reason), AttemptUse::Kept)
        }
        MediaError::Unreadable(error) => Failure::of_service(error),
        MediaError::Failed(_) => Failure::of_processing(error, AttemptUse::GivenBack),
    }
}

/// Failure of a service that examines the media.
pub fn of_examination(error: CompareError) -> Failure {
    match &error {
        CompareError::NotConfigured(service) => {
            let answer = ApiError::new(StatusCode::NOT_IMPLEMENTED, &format!("{service} not configured"));
            Failure::new(error.to_string(), answer.with_cause(&error), AttemptUse::GivenBack)
        }
        // The model refuses the sender's media.
        CompareError::Model(openai::Error::Refused(_) | openai::Error::BadImage(_)) => {
            Failure::of_processing(error, AttemptUse::Kept)
        }
        // A changed secret may hold another key, for the next submission.
        CompareError::Model(openai::Error::KeyRefused) => {
            let failure = Failure::of_processing(error, AttemptUse::GivenBack);
            Failure { error: Box::new(failure.error.retry_after_secret_reload()), ..failure }
        }
        CompareError::Rekognition(cause) => {
            let reason = format!("Rekognition: {}", cause.kind());
            let is_refusal = matches!(cause, aws::Error::Refused(_));
            let failure = Failure::of_processing(error, AttemptUse::GivenBack);
            let error = if is_refusal { Box::new(failure.error.retry_after_secret_reload()) } else { failure.error };
            Failure { reason, error, ..failure }
        }
        _ => Failure::of_processing(error, AttemptUse::GivenBack),
    }
}
