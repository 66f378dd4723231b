//! Error type of calls of PocketBase.

use crate::file::Unreadable;
use crate::types::Budget;

/// Failure of a call of PocketBase. The messages are for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no connection, or it broke.
    #[error("PocketBase is unreachable: {0}")]
    Unreachable(String),
    /// PocketBase is overloaded.
    #[error("PocketBase is busy")]
    Busy {
        /// `Retry-After` in seconds.
        retry_after: Option<u64>,
    },
    /// PocketBase did not answer within the timeout.
    #[error("PocketBase did not answer in time")]
    TimedOut,
    /// A unique index already holds the value of this field; `id` for a record that exists.
    #[error("PocketBase already has this {0}")]
    NotUnique(String),
    /// PocketBase's rules refuse the write; for a write by flow token, because the profile is decided or redacted.
    #[error("PocketBase's rules refuse the write")]
    Refused,
    /// A budget of the caller's partner is used up for today.
    #[error("the daily budget of {} is used up", .0.as_str())]
    BudgetUsedUp(Budget),
    /// A file that a record named was replaced.
    #[error("PocketBase no longer has the file")]
    FileGone,
    /// An upload is stored already, or its bytes are not those that were inspected.
    #[error("PocketBase's rules refuse the use of an upload")]
    UploadConflict,
    /// A file that is stored elsewhere cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// PocketBase refused the sign-in: the account is unknown, its password has changed, or it is no service account.
    #[error("PocketBase refused to sign us in: {0}")]
    SignInRefused(String),
    /// An unexpected or unusable answer.
    #[error("PocketBase answered badly: {0}")]
    BadAnswer(String),
}
