//! Delivers webhooks that a queue tells of, as soon as they are written or due again.
//!
//! The message says no more than which one: what is sent, and where, is in the outbox. PocketBase calls: one to see whether it is its
//! turn, and those of a delivery.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use shared::types::RecordId;
use shared::worker::Failure;
pub use webhooks::Dispatch as State;

/// For how long one webhook after the other is delivered, of the 60 s that the function has.
const ENOUGH: Duration = Duration::from_secs(40);

/// Messages of SQS, as Lambda brings them.
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

/// Which messages the queue shall bring again.
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

/// Handles messages, all at once.
///
/// # Errors
/// Never: a message that cannot be handled because PocketBase fails is named in the answer. An endpoint that fails is no failure of the
/// message's: the outbox knows when it is tried again.
pub async fn handle(state: &State, messages: Messages) -> Result<Unhandled, Failure> {
    let handled = messages.records.into_iter().map(async |message| match deliver(state, &message.body).await {
        Ok(()) => None,
        Err(failure) => {
            tracing::error!(message = message.message_id, cause = %failure, "a message is left to the queue");
            Some(ItemFailure { item_identifier: message.message_id })
        }
    });
    Ok(Unhandled { batch_item_failures: join_all(handled).await.into_iter().flatten().collect() })
}

async fn deliver(state: &State, message: &str) -> Result<(), Failure> {
    let Ok(id) = message.trim().parse::<RecordId>() else {
        tracing::warn!("a message names no webhook");
        return Ok(());
    };
    // One whose turn it is not, or which is delivered already, needs nothing.
    if let Some(delivery) = state.pocketbase.queued_delivery(&id).await? {
        state.courier.deliver(&state.pocketbase, delivery, Instant::now() + ENOUGH).await?;
    }
    Ok(())
}
