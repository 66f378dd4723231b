//! What a function works with, made once and again when the secret has changed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::config::Env;
use crate::http::StartError;
use crate::secrets::Secrets;

/// How long the secret is not read again after it has been: strangers with bad tokens cannot make us ask more often.
const REREAD_PAUSE: Duration = Duration::from_secs(5);

/// Makes what a handler needs, from the settings.
pub type Make<S> = for<'a> fn(&'a Env) -> BoxFuture<'a, Result<S, StartError>>;

/// A state that follows the secret.
pub(crate) struct Renewed<S> {
    make: Make<S>,
    process: Env,
    secrets: Option<Secrets>,
    current: Mutex<Current<S>>,
}

/// A state, and the version of the secret that it was made with.
struct Current<S> {
    state: Arc<S>,
    version: String,
    /// When the secret was last known to be this one.
    read: Instant,
    /// When reading it was last tried.
    tried: Instant,
}

impl<S: Send + Sync> Renewed<S> {
    /// Reads the secret, if one is named, and makes the state.
    pub(crate) async fn start(process: Env, make: Make<S>) -> Result<Self, StartError> {
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

    /// Whether there is a secret that could change.
    pub(crate) fn can_change(&self) -> bool {
        self.secrets.is_some()
    }

    /// The state, made anew when the secret was read too long ago and has changed.
    pub(crate) async fn state(&self) -> Arc<S> {
        match &self.secrets {
            Some(secrets) => self.refreshed(secrets, secrets.ttl).await,
            None => self.current.lock().await.state.clone(),
        }
    }

    /// The state, made anew when the secret has changed, read again unless that was done just now.
    pub(crate) async fn doubted(&self) -> Arc<S> {
        match &self.secrets {
            Some(secrets) => self.refreshed(secrets, REREAD_PAUSE).await,
            None => self.current.lock().await.state.clone(),
        }
    }

    /// A secret that cannot be read, or is unusable, leaves the state as it was: it was good so far.
    async fn refreshed(&self, secrets: &Secrets, age: Duration) -> Arc<S> {
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
                    Err(error) => tracing::error!(cause = ?error, "the secret has changed and cannot be used"),
                },
                Err(error) => tracing::warn!(cause = %error, "going on with the secret as it was read before"),
            }
        }
        current.state.clone()
    }
}
