//! Error type for reading the result of a session.

use shared::{aws, pocketbase};

/// Failure of reading a session.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// AWS failed, or is not configured.
    #[error(transparent)]
    Aws(#[from] aws::Error),
    /// PocketBase failed to store the result.
    #[error(transparent)]
    PocketBase(#[from] pocketbase::Error),
}
