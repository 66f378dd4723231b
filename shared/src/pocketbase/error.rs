//! What can go wrong between us and PocketBase.

/// What can go wrong between us and PocketBase.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or one that broke.
    #[error("PocketBase is unreachable: {0}")]
    Unreachable(String),
    /// It asks for patience.
    #[error("PocketBase is busy")]
    Busy {
        /// After how many seconds to come back, where it said so.
        retry_after: Option<u64>,
    },
    /// No answer within the timeout.
    #[error("PocketBase did not answer in time")]
    TimedOut,
    /// A unique index already holds the value of this field.
    #[error("PocketBase already has this {0}")]
    NotUnique(String),
    /// Its rules refuse a write: of a flow token, because the profile has been decided.
    #[error("PocketBase's rules refuse it")]
    Refused,
    /// A file that a record named is there no more: it has been replaced.
    #[error("PocketBase no longer has the file")]
    FileGone,
    /// An upload has been stored before, or its bytes are not those that were looked at.
    #[error("PocketBase's rules refuse the use of an upload")]
    UploadTaken,
    /// A file that is stored elsewhere could not be read.
    #[error(transparent)]
    FileUnread(#[from] crate::http::Unread),
    /// It does not know the account, its password has changed, or it is not a service account.
    #[error("PocketBase refused to sign us in: {0}")]
    SignInRefused(String),
    /// Anything else that it should not have said.
    #[error("PocketBase answered badly: {0}")]
    BadAnswer(String),
}
