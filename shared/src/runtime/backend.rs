//! Dependencies that most handlers share.

use crate::auth::Authenticator;
use crate::env::{Env, StartError};
use crate::pocketbase::{self, PocketBase};

/// Authenticator and PocketBase client. Built once per execution environment.
pub struct Backend {
    /// Authenticates callers.
    pub authenticator: Authenticator,
    /// Client of PocketBase.
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
            pocketbase: PocketBase::start(pocketbase::Settings::from_env(env)?).await?,
        })
    }
}
