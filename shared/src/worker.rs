//! The loop around the handlers of events that nobody waits for: messages of a queue, and schedules.

use futures_util::future::BoxFuture;
use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Env;
use crate::http::StartError;
use crate::renewed::{Make, Renewed};

/// Why an event has not been handled; Lambda or the queue will bring it again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

impl Failure {
    /// A failure with its cause, which is logged.
    pub fn because(cause: impl std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

impl From<crate::pocketbase::Error> for Failure {
    fn from(error: crate::pocketbase::Error) -> Self {
        Self::because(error)
    }
}

impl From<crate::http::ApiError> for Failure {
    fn from(error: crate::http::ApiError) -> Self {
        Self::because(error.cause().unwrap_or("refused"))
    }
}

/// Handles an event.
pub type Work<S, E, O> = for<'a> fn(&'a S, E) -> BoxFuture<'a, Result<O, Failure>>;

/// A function: starts it, and handles events until the runtime goes away.
///
/// # Errors
/// When it cannot start: a setting is missing or malformed, or the secret cannot be read.
pub async fn run<S, E, O>(make: Make<S>, work: Work<S, E, O>) -> Result<(), StartError>
where
    S: Send + Sync,
    E: DeserializeOwned + Send,
    O: Serialize,
{
    if crate::settings_only() {
        return make(&Env::from_process()).await.map(|_| ());
    }
    crate::telemetry::init();
    let renewed = Renewed::start(Env::from_process(), make).await?;
    let renewed = &renewed;
    let handle = service_fn(move |event: LambdaEvent<E>| async move {
        let outcome = work(&*renewed.state().await, event.payload).await;
        if let Err(failure) = &outcome {
            tracing::error!(cause = %failure, "event not handled");
            // A password that has been changed may explain it: the next attempt has the new one.
            renewed.doubted().await;
        }
        outcome.map_err(lambda_http::Error::from)
    });
    if let Err(error) = lambda_runtime::run(handle).await {
        // The runtime's interface goes away with the environment, and with Ctrl-C on the local stack: nothing is amiss.
        tracing::debug!(cause = %error, "the runtime is gone");
    }
    Ok(())
}
