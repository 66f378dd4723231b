//! Lambda runtime: start-up, the loops for HTTP requests and for events, reload of the secret, logs and metrics.

mod backend;
mod events;
mod http;
mod secrets;
mod state;
mod telemetry;

use crate::env::StartError;

pub use backend::Backend;
pub use events::{EventError, EventHandler, Tick, run_events};
pub use http::{HttpHandler, HttpService, run_http};
pub use state::MakeState;

/// Defines `main` of a function that answers HTTP requests. The crate has `State::from_env` and `handle`.
#[macro_export]
macro_rules! http_function {
    ($function:ident) => {
        fn main() -> Result<(), $crate::env::StartError> {
            $crate::runtime::run_http(
                env!("CARGO_PKG_NAME"),
                |env| Box::pin($function::State::from_env(env)),
                |state, request| Box::pin($function::handle(state, request)),
            )
        }
    };
}

/// Defines `main` of a function that handles events of a queue or a schedule. The crate has `State::from_env` and `handle`.
#[macro_export]
macro_rules! event_function {
    ($function:ident) => {
        fn main() -> Result<(), $crate::env::StartError> {
            $crate::runtime::run_events(
                env!("CARGO_PKG_NAME"),
                |env| Box::pin($function::State::from_env(env)),
                |state, event| Box::pin($function::handle(state, event)),
            )
        }
    };
}

/// Whether the process was started only to check its settings: `<function> --check-settings`.
fn only_checks_settings() -> bool {
    std::env::args().nth(1).as_deref() == Some("--check-settings")
}

/// Runs a function on one thread: an execution environment handles one request at a time.
fn block_on<T>(main: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(main)
}
