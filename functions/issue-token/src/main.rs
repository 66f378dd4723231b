//! Wiring: settings and clients once, then one request after the other.

use issue_token::{State, handle};
use shared::config::Env;
use shared::http::StartError;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    shared::telemetry::init();
    let state = State::from_env(&Env::from_process())?;
    shared::http::run(|request| handle(&state, request)).await
}
