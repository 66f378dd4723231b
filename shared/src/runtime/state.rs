//! State of a function, rebuilt when the secret has changed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::secrets::Secrets;
use crate::env::{Env, StartError};

/// The shortest time between two reads of the secret, so that invalid credentials of callers cannot cause more reads.
const REREAD_PAUSE: Duration = Duration::from_secs(5);

/// Builds the state of a function from its settings.
pub type MakeState<S> = for<'a> fn(&'a Env) -> BoxFuture<'a, Result<S, StartError>>;

/// State of a function, with the means to rebuild it from a changed secret.
pub(super) struct ReloadableState<S> {
    make: MakeState<S>,
    process: Env,
    secrets: Option<Secrets>,
    current: Mutex<Current<S>>,
}

/// A state, and the versions of the secrets that it was built with.
struct Current<S> {
    state: Arc<S>,
    version: Vec<String>,
    /// When this version was last confirmed.
    read: Instant,
    /// When the last read was tried.
    tried: Instant,
}

impl<S: Send + Sync> ReloadableState<S> {
    /// Reads the secret, if one is configured, and builds the state.
    pub(super) async fn start(process: Env, make: MakeState<S>) -> Result<Self, StartError> {
        let secrets = Secrets::from_env(&process).await?;
        let secret = match &secrets {
            Some(secrets) => Some(secrets.read().await?),
            None => None,
        };
        let state = match &secret {
            Some(secret) => make(&secret.over(&process)).await?,
            None => make(&process).await?,
        };
        let version = secret.map(|secret| secret.version).unwrap_or_default();
        let now = Instant::now();
        let current = Mutex::new(Current { state: Arc::new(state), version, read: now, tried: now });
        Ok(Self { make, process, secrets, current })
    }

    /// Whether there is a secret that can change.
    pub(super) fn is_reloadable(&self) -> bool {
        self.secrets.is_some()
    }

    /// The state, rebuilt when the secret was read longer ago than its TTL and has changed.
    pub(super) async fn current(&self) -> Arc<S> {
        match &self.secrets {
            Some(secrets) => self.refresh(secrets, secrets.ttl).await,
            None => self.current.lock().await.state.clone(),
        }
    }

    /// The state after a failure that an outdated secret would explain. The secret is read again, unless it was read in the last
    /// five seconds.
    pub(super) async fn reload(&self) -> Arc<S> {
        match &self.secrets {
            Some(secrets) => self.refresh(secrets, REREAD_PAUSE).await,
            None => self.current.lock().await.state.clone(),
        }
    }

    /// Reads the secret if it was read longer than `age` ago, and rebuilds the state if it has changed. If the secret cannot be read
    /// or used, the state stays as it is.
    async fn refresh(&self, secrets: &Secrets, age: Duration) -> Arc<S> {
        let mut current = self.current.lock().await;
        if current.read.elapsed() >= age && current.tried.elapsed() >= REREAD_PAUSE {
            current.tried = Instant::now();
            match secrets.read().await {
                Ok(secret) if secret.version == current.version => current.read = current.tried,
                Ok(secret) => match (self.make)(&secret.over(&self.process)).await {
                    Ok(state) => {
                        (current.state, current.version) = (Arc::new(state), secret.version);
                        current.read = current.tried;
                    }
                    Err(error) => tracing::error!(cause = ?error, "the changed secret cannot be used"),
                },
                Err(error) => {
                    tracing::warn!(cause = %error, "the secret cannot be read; its last version stays in use")
                }
            }
        }
        current.state.clone()
    }
}
