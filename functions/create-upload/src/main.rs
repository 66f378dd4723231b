//! Wiring.

use create_upload::{State, handle};
use shared::http::{StartError, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    run(|env| Box::pin(State::from_env(env)), |state, request| Box::pin(handle(state, request))).await
}
