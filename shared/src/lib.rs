//! The common crate of the functions: who is calling ([`auth`]), the system of record ([`pocketbase`]), requests and
//! answers ([`http`]), typed settings ([`config`]), clients of AWS ([`aws`]) and the types that input is parsed into ([`types`]).

pub mod auth;
pub mod aws;
pub mod backend;
pub mod config;
pub mod http;
pub mod pocketbase;
mod renewed;
mod secrets;
pub mod telemetry;
pub mod types;
pub mod upstream;
pub mod worker;

/// Whether this process was started to check its settings.
pub(crate) fn settings_only() -> bool {
    std::env::args().any(|argument| argument == "--check-settings")
}
