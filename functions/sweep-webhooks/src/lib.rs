//! Every minute: delivers the webhooks that are due, whoever has forgotten them, and ends the checks that were abandoned.
//!
//! With a queue that loses every message all webhooks still go out. PocketBase calls: two when there is nothing to do.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::pocketbase::{CheckAttempt, Error, QueuedDelivery};
use shared::types::RecordId;
use shared::worker::Failure;
pub use webhooks::Dispatch as State;

/// To how many partners webhooks are delivered at once.
const PARTNERS_AT_ONCE: usize = 16;

/// How many webhooks are delivered at once to one partner: an endpoint that is slow keeps its own waiting, and no other's.
const AT_ONCE: usize = 4;

/// After how long no more is begun: the next sweep comes after a minute.
const ENOUGH: Duration = Duration::from_secs(40);

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
    let pocketbase = &state.pocketbase;
    let started = Instant::now();
    // Whatever fails here, the rest has its turn first.
    let mut failure = None;
    let mut checks = 0;
    match pocketbase.abandoned_checks().await {
        Ok(abandoned) => {
            for check in &abandoned {
                match pocketbase.fail_check(check, "The process that checked it ended", CheckAttempt::GivenBack).await {
                    Ok(_) => checks += 1,
                    Err(error) => failure = Some(error),
                }
            }
        }
        Err(error) => failure = Some(error),
    }
    let mut tried = HashSet::new();
    let mut webhooks = 0;
    while started.elapsed() < ENOUGH {
        let mut due = pocketbase.due_deliveries().await?;
        // Each has one try in a sweep.
        due.retain(|delivery| tried.insert(delivery.id.clone()));
        if due.is_empty() {
            break;
        }
        let mut delivered = stream::iter(by_partner(due))
            .map(|due| deliver_all(state, due, started + ENOUGH))
            .buffer_unordered(PARTNERS_AT_ONCE);
        while let Some((count, error)) = delivered.next().await {
            webhooks += count;
            failure = error.or(failure);
        }
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    let swept = Swept { webhooks, checks };
    tracing::info!(webhooks = swept.webhooks, checks = swept.checks, "swept");
    Ok(swept)
}

/// What is due, for each partner.
fn by_partner(due: Vec<QueuedDelivery>) -> Vec<Vec<QueuedDelivery>> {
    let mut partners: HashMap<RecordId, Vec<QueuedDelivery>> = HashMap::new();
    for delivery in due {
        partners.entry(delivery.partner.clone()).or_default().push(delivery);
    }
    partners.into_values().collect()
}

/// Delivers what is due to a partner; how many were tried, and what failed.
async fn deliver_all(state: &State, due: Vec<QueuedDelivery>, until: Instant) -> (usize, Option<Error>) {
    let mut delivered = stream::iter(due)
        .take_while(|_| ready(Instant::now() < until))
        .map(|delivery| state.courier.deliver(&state.pocketbase, delivery, until))
        .buffer_unordered(AT_ONCE);
    let (mut tried, mut failure) = (0, None);
    while let Some(outcome) = delivered.next().await {
        tried += 1;
        failure = outcome.err().or(failure);
    }
    (tried, failure)
}
