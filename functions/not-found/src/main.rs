//! Wiring: settings and clients once, then one request after the other.

use not_found::{State, handle};
use shared::http::StartError;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), StartError> {
    shared::telemetry::init();
    let state = State::new()?;
    shared::http::run(|request| handle(&state, request)).await
}
