//! The operator's command as a library: partners ([`partner`]) and PocketBase as its superuser ([`pocketbase`]).

pub mod partner;
pub mod pocketbase;

/// What went wrong, in words for an operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A request to a server failed.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// A setting is missing or malformed.
    #[error("{0}")]
    Config(#[from] shared::env::ConfigError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Other(message.into())
    }
}
