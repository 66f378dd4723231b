//! What most functions stand on.

use crate::auth::Authenticator;
use crate::config::{Env, PocketBaseSettings};
use crate::http::StartError;
use crate::pocketbase::PocketBase;

/// Who is calling, and the system of record. Made once in a process's life.
pub struct Backend {
    /// Judges credentials.
    pub authenticator: Authenticator,
    /// The client of PocketBase.
    pub pocketbase: PocketBase,
}

impl Backend {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            authenticator: Authenticator::from_env(env)?,
            pocketbase: PocketBase::start(PocketBaseSettings::from_env(env)?).await?,
        })
    }
}
