//! Webhooks, from the outbox to a partner's endpoint.
//!
//! What is to be told is written to PocketBase with what it tells of ([`shared::pocketbase::NewDelivery`]). A message on a queue
//! makes its delivery prompt ([`Announcer`]); what no message tells of, a sweep finds a minute later. Both deliver with [`Courier`].

mod announce;
mod courier;
mod guard;
mod schedule;
mod view;

pub use announce::Announcer;
pub use courier::{Courier, EVENT_TYPES};
pub use guard::{Forbidden, WebhookPolicy, check_url};
pub use view::DeliveryView;

use shared::types::RecordId;

/// The `webhook-id` of a webhook: the same for every attempt.
pub fn webhook_id(delivery: &RecordId) -> String {
    format!("msg_{delivery}")
}
