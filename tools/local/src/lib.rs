//! The development stack: its data ([`seed`]), what stands in for other services ([`standins`]) and for what AWS does
//! on its own ([`triggers`]), a partner's endpoint ([`receiver`]), a walk through the API
//! ([`demo`]), and passing servers for tests and measurements ([`server`]). Never shipped.

pub mod demo;
pub mod partner;
pub mod pocketbase;
pub mod receiver;
pub mod seed;
pub mod server;
pub mod standins;
pub mod storage;
pub mod triggers;

/// What went wrong, in words for a developer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A server could not be talked to.
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
