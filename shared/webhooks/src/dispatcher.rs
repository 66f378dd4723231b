//! Dependencies of functions that deliver webhooks.

use shared::env::{Env, StartError};
use shared::pocketbase::{self, PocketBase};

use crate::WebhookSender;

/// Outbox and sender. Built once per execution environment.
pub struct Dispatcher {
    /// Client of PocketBase, which holds the outbox.
    pub pocketbase: PocketBase,
    /// Sends webhooks.
    pub sender: WebhookSender,
}

impl Dispatcher {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            sender: WebhookSender::from_env(env).await?,
            pocketbase: PocketBase::start(pocketbase::Settings::from_env(env)?).await?,
        })
    }
}
