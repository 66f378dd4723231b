//! Error type of authentication and authorisation.

use super::Scope;
use crate::pocketbase;

/// Failure of authentication or authorisation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request has no credential.
    #[error("no credential")]
    Missing,
    /// The request has an API key, and the route accepts only bearer tokens.
    #[error("no bearer token")]
    BearerRequired,
    /// The token is malformed, or not for this API.
    #[error("the token is invalid")]
    InvalidToken,
    /// The token is signed with a secret that is not configured here.
    #[error("the token's signature is invalid")]
    ForgedToken,
    /// The token has expired.
    #[error("the token has expired")]
    Expired,
    /// The API key is unknown or revoked.
    #[error("the API key is invalid")]
    InvalidKey,
    /// The credential does not include this scope, or is a flow token of another profile.
    #[error("the scope {0} is missing")]
    InsufficientScope(Scope),
    /// A token or keyed name cannot be computed.
    #[error("signing failed: {0}")]
    Signing(String),
    /// A partner's key cannot be looked up.
    #[error(transparent)]
    PocketBase(#[from] pocketbase::Error),
}

impl From<jsonwebtoken::errors::Error> for Error {
    fn from(error: jsonwebtoken::errors::Error) -> Self {
        Self::Signing(error.to_string())
    }
}
