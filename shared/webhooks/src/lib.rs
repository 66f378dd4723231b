//! Webhooks, from the outbox to a partner's endpoint.
//!
//! What is to be told is written to PocketBase with what it tells of ([`shared::pocketbase::NewDelivery`]). A message on a queue
//! makes its delivery prompt ([`Announcer`]); what no message tells of, a sweep finds a minute later. Both deliver with [`Courier`].

mod announce;
mod courier;
mod dispatch;
mod guard;
mod schedule;
mod subscriptions;
mod view;

pub use announce::Announcer;
pub use courier::{Courier, EVENT_TYPES};
pub use dispatch::Dispatch;
pub use guard::{Forbidden, WebhookPolicy, check_url};
pub use subscriptions::Subscriptions;
pub use view::DeliveryView;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use shared::pocketbase::STATUS_CHANGED;
use shared::types::RecordId;

/// The `webhook-id` of a webhook: the same for every attempt.
pub fn webhook_id(delivery: &RecordId) -> String {
    format!("msg_{delivery}")
}

/// The body of [`STATUS_CHANGED`].
pub fn status_changed(
    at: DateTime<Utc>,
    profile: &RecordId,
    user_identifier: &str,
    previous_status: &str,
    new_status: &str,
) -> Value {
    json!({
        "type": STATUS_CHANGED,
        "timestamp": at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "data": {
            "profile_id": profile,
            "user_identifier": user_identifier,
            "previous_status": previous_status,
            "new_status": new_status,
        },
    })
}
