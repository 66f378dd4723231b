//! What a function that delivers works with.

use shared::config::{Env, PocketBaseSettings};
use shared::http::StartError;
use shared::pocketbase::PocketBase;

use crate::Courier;

/// The outbox, and who delivers what is in it. Made once in a process's life.
pub struct Dispatch {
    /// Where the outbox is.
    pub pocketbase: PocketBase,
    /// Who delivers.
    pub courier: Courier,
}

impl Dispatch {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            courier: Courier::from_env(env).await?,
            pocketbase: PocketBase::start(PocketBaseSettings::from_env(env)?).await?,
        })
    }
}
