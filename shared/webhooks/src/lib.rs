//! Webhooks: outbox, queue, signing, delivery and retries.
//!
//! A webhook is written to PocketBase in the transaction that it reports ([`shared::pocketbase::records::NewDelivery`]). A
//! message on a queue starts its delivery at once ([`DeliveryQueue`]). The sweep, every minute, finds due webhooks without a
//! message. Both deliver with [`WebhookSender`].

mod address;
mod dispatcher;
mod http;
mod queue;
mod schedule;
mod sender;
mod subscriptions;
mod view;

pub use address::{Forbidden, WebhookPolicy, check_url};
pub use dispatcher::Dispatcher;
pub use http::delivery_not_found;
pub use queue::DeliveryQueue;
pub use sender::WebhookSender;
pub use subscriptions::Subscriptions;
pub use view::DeliveryView;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared::pocketbase::records::WebhookEvent;
use shared::types::{Origin, RecordId};

/// The `webhook-id` of a webhook: the same for every attempt.
pub fn webhook_id(delivery: &RecordId) -> String {
    format!("msg_{delivery}")
}

/// Body of [`WebhookEvent::StatusChanged`]. The origin is that of the check, else that of the profile.
pub fn status_changed(
    at: DateTime<Utc>,
    profile: &RecordId,
    user_identifier: &str,
    origin: Origin,
    previous_status: &str,
    new_status: &str,
) -> Value {
    json!({
        "type": WebhookEvent::StatusChanged,
        "timestamp": at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "data": {
            "profile_id": profile,
            "user_identifier": user_identifier,
            "origin": origin,
            "previous_status": previous_status,
            "new_status": new_status,
        },
    })
}
