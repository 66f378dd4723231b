//! Every minute: delivers the webhooks that are due, whoever has forgotten them, and ends the checks that were abandoned.
//!
//! With a queue that loses every message all webhooks still go out. PocketBase calls: two when there is nothing to do.

use std::collections::HashSet;
use std::future::ready;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::config::{Env, PocketBaseSettings};
use shared::http::StartError;
use shared::pocketbase::PocketBase;
use shared::worker::Failure;
use webhooks::Courier;

/// How many webhooks are delivered at once.
const AT_ONCE: usize = 16;

/// After how long no more is begun: the next sweep comes after a minute.
const ENOUGH: Duration = Duration::from_secs(40);

/// What is made once in a process's life.
pub struct State {
    pocketbase: PocketBase,
    courier: Courier,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            courier: Courier::from_env(env).await?,
            pocketbase: PocketBase::start(PocketBaseSettings::from_env(env)?).await?,
        })
    }
}

/// A tick of the schedule. What it says makes no difference.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Tick(#[allow(dead_code)] pub Value);

/// What was done.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Webhooks that were tried.
    pub webhooks: usize,
    /// Checks that were ended.
    pub checks: usize,
}

/// Sweeps.
///
/// # Errors
/// When PocketBase fails.
pub async fn handle(state: &State, _: Tick) -> Result<Swept, Failure> {
    let State { pocketbase, courier } = state;
    let started = Instant::now();
    let abandoned = pocketbase.abandoned_checks().await?;
    for check in &abandoned {
        pocketbase.fail_check(check, "The process that checked it ended").await?;
    }
    let mut tried = HashSet::new();
    let mut webhooks = 0;
    let mut failure = None;
    while started.elapsed() < ENOUGH {
        let mut due = pocketbase.due_deliveries().await?;
        // Each has one try in a sweep.
        due.retain(|delivery| tried.insert(delivery.id.clone()));
        if due.is_empty() {
            break;
        }
        let mut delivered = stream::iter(due)
            .take_while(|_| ready(started.elapsed() < ENOUGH))
            .map(|delivery| courier.deliver(pocketbase, delivery))
            .buffer_unordered(AT_ONCE);
        while let Some(outcome) = delivered.next().await {
            webhooks += 1;
            // The others have their turn first.
            failure = outcome.err().or(failure);
        }
        if let Some(error) = failure {
            return Err(error.into());
        }
    }
    let swept = Swept { webhooks, checks: abandoned.len() };
    tracing::info!(webhooks = swept.webhooks, checks = swept.checks, "swept");
    Ok(swept)
}
