//! Wiring.

use enforce_retention::{State, handle};
use shared::http::StartError;
use shared::worker::run;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(|env| Box::pin(State::from_env(env)), |state, event| Box::pin(handle(state, event))).await
}
