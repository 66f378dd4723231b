//! Failures of reading a session.

use shared::{aws, pocketbase};

/// Failure of reading a session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// AWS failed, or is not configured.
    #[error(transparent)]
    Aws(#[from] aws::Error),
    /// The result cannot be stored.
    #[error(transparent)]
    PocketBase(#[from] pocketbase::Error),
}
