//! Schedule, every minute: delivers due webhooks, and ends abandoned checks.
//!
//! All webhooks are delivered even if the queue loses every message. PocketBase calls when there is nothing to do: two, and a
//! session check after each, since both lists are empty.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use shared::pocketbase::Error;
use shared::pocketbase::records::{AttemptUse, QueuedDelivery};
use shared::runtime::{EventError, Tick};
use shared::types::RecordId;
pub use webhooks::Dispatcher as State;

/// How many partners are served at the same time.
const PARTNERS_AT_ONCE: usize = 16;

/// How many webhooks are delivered to one partner at the same time. The limit is per partner, so that a slow endpoint does not delay
/// the webhooks of other partners.
const AT_ONCE: usize = 4;

/// Time after which no further delivery is started. The next sweep starts a minute after this one.
const TIME_BUDGET: Duration = Duration::from_secs(40);

/// Result of a sweep.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Swept {
    /// Due webhooks that were processed, including those that another process had leased in the meantime.
    pub webhooks: usize,
    /// Abandoned checks that were ended.
    pub checks: usize,
}

/// Runs one sweep.
///
/// # Errors
/// When PocketBase fails.
pub async fn handle(state: &State, _: Tick) -> Result<Swept, EventError> {
    let pocketbase = &state.pocketbase;
    let started = Instant::now();
    // A failure is reported at the end, so that it does not block the rest of the sweep.
    let mut failure = None;
    let mut checks = 0;
    match pocketbase.abandoned_checks().await {
        Ok(abandoned) => {
            for check in &abandoned {
                match pocketbase.fail_check(check, "The process that checked it ended", AttemptUse::GivenBack).await {
                    Ok(_) => checks += 1,
                    Err(error) => failure = Some(error),
                }
            }
        }
        Err(error) => failure = Some(error),
    }
    let mut tried = HashSet::new();
    let mut webhooks = 0;
    while started.elapsed() < TIME_BUDGET {
        let mut due = pocketbase.due_deliveries().await?;
        // A sweep makes one attempt per webhook.
        due.retain(|delivery| tried.insert(delivery.id.clone()));
        if due.is_empty() {
            break;
        }
        let mut delivered = stream::iter(by_partner(due))
            .map(|due| deliver_all(state, due, started + TIME_BUDGET))
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

/// Groups due webhooks by partner.
fn by_partner(due: Vec<QueuedDelivery>) -> Vec<Vec<QueuedDelivery>> {
    let mut partners: HashMap<RecordId, Vec<QueuedDelivery>> = HashMap::new();
    for delivery in due {
        partners.entry(delivery.partner.clone()).or_default().push(delivery);
    }
    partners.into_values().collect()
}

/// Delivers the due webhooks of a partner. Returns the number of processed webhooks and the last failure.
async fn deliver_all(state: &State, due: Vec<QueuedDelivery>, until: Instant) -> (usize, Option<Error>) {
    let mut delivered = stream::iter(due)
        .take_while(|_| ready(Instant::now() < until))
        .map(|delivery| state.sender.deliver(&state.pocketbase, delivery, until))
        .buffer_unordered(AT_ONCE);
    let (mut tried, mut failure) = (0, None);
    while let Some(outcome) = delivered.next().await {
        tried += 1;
        failure = outcome.err().or(failure);
    }
    (tried, failure)
}
