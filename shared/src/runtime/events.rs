//! Runtime for SQS and scheduled events.

use futures_util::future::BoxFuture;
use lambda_http::lambda_runtime::{self, LambdaEvent, service_fn};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::Instrument;

use super::state::{MakeState, ReloadableState};
use super::{block_on, only_checks_settings, telemetry};
use crate::env::{Env, StartError};

/// Failure to handle an event. Lambda or the queue delivers the event again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct EventError(String);

impl EventError {
    /// A failure with its cause, for the log.
    pub fn with_cause(cause: impl std::fmt::Display) -> Self {
        Self(cause.to_string())
    }
}

impl From<crate::pocketbase::Error> for EventError {
    fn from(error: crate::pocketbase::Error) -> Self {
        Self::with_cause(error)
    }
}

/// Event of a schedule. Its content is not used.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Tick(#[allow(dead_code)] pub Value);

/// Handles an event.
pub type EventHandler<S, E, O> = for<'a> fn(&'a S, E) -> BoxFuture<'a, Result<O, EventError>>;

/// Starts the function of a name, and handles events until Lambda stops it.
///
/// # Errors
/// When it cannot start: a setting is missing or malformed, or the secret cannot be read.
pub fn run_events<S, E, O>(
    function: &'static str,
    make: MakeState<S>,
    handle: EventHandler<S, E, O>,
) -> Result<(), StartError>
where
    S: Send + Sync,
    E: DeserializeOwned + Send,
    O: Serialize,
{
    telemetry::init();
    block_on(async {
        let state = ReloadableState::start(Env::from_process(), make).await?;
        if only_checks_settings() {
            return Ok(());
        }
        let state = &state;
        let handler = service_fn(move |event: LambdaEvent<E>| async move {
            let span = telemetry::invocation(function, &event.context.request_id, Some(&event.context));
            let outcome = async {
                let outcome = handle(&*state.current().await, event.payload).await;
                if let Err(failure) = &outcome {
                    tracing::error!(cause = %failure, "event not handled");
                    // An outdated password may be the cause. The next attempt uses the new one.
                    state.reload().await;
                }
                outcome
            };
            let outcome = outcome.instrument(span).await;
            telemetry::flush_metrics();
            outcome.map_err(lambda_http::Error::from)
        });
        if let Err(error) = lambda_runtime::run(handler).await {
            // The runtime API goes away with the execution environment, and with Ctrl-C on the local stack.
            tracing::debug!(cause = %error, "the runtime API is gone");
        }
        Ok(())
    })
}
