//! SQS event: delivers webhooks as soon as they are written or due again.
//!
//! A message holds only the id of a webhook; payload and endpoint are in the outbox. PocketBase calls: one to see whether the
//! webhook is due, and those of a delivery.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use shared::runtime::EventError;
use shared::types::RecordId;
pub use webhooks::Dispatcher as State;

/// Time after which no further webhook of a stream is started. The function's timeout is 60 s.
const TIME_BUDGET: Duration = Duration::from_secs(40);

/// SQS event.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    #[serde(rename = "Records")]
    records: Vec<Message>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    message_id: String,
    body: String,
}

/// Answer to SQS: the messages that the queue must deliver again.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unhandled {
    batch_item_failures: Vec<ItemFailure>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ItemFailure {
    item_identifier: String,
}

/// Handles messages, all at the same time.
///
/// # Errors
/// None: a message that fails because of PocketBase is listed in the answer. A failing endpoint is no failure of the message,
/// since the outbox schedules the next attempt.
pub async fn handle(state: &State, messages: Messages) -> Result<Unhandled, EventError> {
    let handled = messages.records.into_iter().map(async |message| match deliver(state, &message.body).await {
        Ok(()) => None,
        Err(failure) => {
            tracing::error!(message = message.message_id, cause = %failure, "a message is left to the queue");
            Some(ItemFailure { item_identifier: message.message_id })
        }
    });
    Ok(Unhandled { batch_item_failures: join_all(handled).await.into_iter().flatten().collect() })
}

async fn deliver(state: &State, message: &str) -> Result<(), EventError> {
    let Ok(id) = message.trim().parse::<RecordId>() else {
        tracing::warn!("a message contains no id of a webhook");
        return Ok(());
    };
    // A webhook that is not due or is delivered already is skipped.
    if let Some(delivery) = state.pocketbase.queued_delivery(&id).await? {
        state.sender.deliver(&state.pocketbase, delivery, Instant::now() + TIME_BUDGET).await?;
    }
    Ok(())
}
