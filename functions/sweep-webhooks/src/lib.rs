//! Schedule, every minute: delivers due webhooks, ends abandoned checks, and measures the outbox.
//!
//! All webhooks are delivered even if the queue loses every message. PocketBase calls when there is nothing to do: three, and a
//! session check after each empty list. For each partner with due webhooks one more, and those of its deliveries.

use std::future::ready;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chrono::Utc;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use shared::pocketbase::Error;
use shared::pocketbase::records::{AttemptUse, QueuedDelivery, WebhookStatistics};
use shared::runtime::{EventError, Tick};
use shared::types::RecordId;
use tokio::sync::Semaphore;
pub use webhooks::Dispatcher as State;

/// How many partners are served at the same time.
const PARTNERS_AT_ONCE: usize = 200;

/// How many webhooks are delivered at the same time, to all partners. Each needs a connection to its endpoint and one to PocketBase,
/// and Lambda allows 1,024 open files.
const DELIVERIES_AT_ONCE: usize = 200;

/// Duration of a delivery from which an endpoint is slow. A sweep starts no further deliveries to it, so that slow endpoints do not take
/// up all deliveries at once.
const SLOW: Duration = Duration::from_secs(2);

/// The most webhooks that a sweep delivers to one partner.
const MAX_PER_PARTNER: usize = 500;

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
    let until = started + TIME_BUDGET;
    let partners = pocketbase.partners_with_due_deliveries().await?;
    let permits = Semaphore::new(DELIVERIES_AT_ONCE);
    let mut delivered = stream::iter(partners)
        .map(|partner| deliver_all(state, &permits, partner, until))
        .buffer_unordered(PARTNERS_AT_ONCE);
    let mut webhooks = 0;
    while let Some((count, error)) = delivered.next().await {
        webhooks += count;
        failure = error.or(failure);
    }
    match pocketbase.webhook_statistics().await {
        Ok(statistics) => measure(state, &statistics),
        Err(error) => failure = Some(error),
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    let swept = Swept { webhooks, checks };
    tracing::info!(webhooks = swept.webhooks, checks = swept.checks, "swept");
    Ok(swept)
}

/// Records the state of the outbox and the lifetime of PocketBase's token in metrics.
fn measure(state: &State, statistics: &WebhookStatistics) {
    metrics::gauge!("PendingWebhooks").set(statistics.pending);
    metrics::gauge!("FailedWebhooks").set(statistics.failed);
    metrics::gauge!("DisabledEndpoints").set(statistics.disabled_endpoints);
    let waits = statistics.oldest_due.and_then(|due| (Utc::now() - due).to_std().ok()).unwrap_or_default();
    metrics::gauge!("OldestWebhook").set(waits.as_secs_f64());
    if let Some(expiry) = state.pocketbase.auth_token_expiry() {
        let left = expiry.duration_since(SystemTime::now()).unwrap_or_default();
        metrics::gauge!("PocketBaseTokenDays").set(left.as_secs_f64() / 86_400.0);
    }
}

/// Delivers the due webhooks of a partner, until its endpoint is slow. Returns the number of processed webhooks and the last failure.
async fn deliver_all(state: &State, permits: &Semaphore, partner: RecordId, until: Instant) -> (usize, Option<Error>) {
    let due = match state.pocketbase.due_deliveries(&partner, MAX_PER_PARTNER).await {
        Ok(due) => due,
        Err(error) => return (0, Some(error)),
    };
    let is_slow = AtomicBool::new(false);
    let deliver = async |delivery: QueuedDelivery| {
        // It fails only when the semaphore is closed, which it never is.
        let _permit = permits.acquire().await;
        let started = tokio::time::Instant::now();
        let outcome = state.sender.deliver(&state.pocketbase, delivery, until).await;
        is_slow.fetch_or(started.elapsed() >= SLOW, Ordering::Relaxed);
        outcome
    };
    let mut delivered = stream::iter(due)
        .take_while(|_| ready(!is_slow.load(Ordering::Relaxed) && Instant::now() < until))
        .map(deliver)
        .buffer_unordered(AT_ONCE);
    let (mut tried, mut failure) = (0, None);
    while let Some(outcome) = delivered.next().await {
        tried += 1;
        failure = outcome.err().or(failure);
    }
    (tried, failure)
}
