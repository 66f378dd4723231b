//! Wiring.

use shared::http::StartError;
use shared::worker::run;
use sweep_webhooks::{State, handle};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(|env| Box::pin(State::from_env(env)), |state, event| Box::pin(handle(state, event))).await
}
