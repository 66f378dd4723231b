//! The local stack of a developer's machine. Never shipped.
//!
//! | module | what it is |
//! |---|---|
//! | [`stack`] | the processes of the Procfile |
//! | [`gateway`], [`functions`], [`runtime_api`] | API Gateway and Lambda |
//! | [`triggers`], [`storage`] | schedules, the event source of the queue; bucket and queue |
//! | [`standins`], [`receiver`] | Rekognition, OpenAI and Fingerprint; a partner's webhook endpoint |
//! | [`seed`], [`preflight`], [`ready`], [`demo`] | development data; checks before and after the start; a walk through the API |
//! | [`rehearsal`] | a restore of PocketBase from a backup |
//! | [`server`], [`process`] | temporary servers for tests and benchmarks; child processes |
//! | [`generate`] | the generated part of tests/Cargo.toml |

pub mod demo;
pub mod functions;
pub mod gateway;
pub mod generate;
pub mod preflight;
pub mod process;
pub mod ready;
pub mod receiver;
pub mod rehearsal;
pub mod runtime_api;
pub mod seed;
pub mod server;
pub mod settings;
pub mod stack;
pub mod standins;
pub mod storage;
pub mod triggers;

use std::time::Duration;

pub use admin::{Error, pocketbase};

/// How long anything is waited for: enough on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// Waits for a future, at most 120 s.
///
/// # Errors
/// When it takes longer; the message names what was waited for.
pub async fn within_limit<F: IntoFuture>(future: F, what: &str) -> Result<F::Output, Error> {
    let timed_out = |_| Error::new(format!("waited {LIMIT:?} for {what}"));
    tokio::time::timeout(LIMIT, future).await.map_err(timed_out)
}
