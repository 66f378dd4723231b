//! Deliveries in answers of the API.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::Value;
use shared::pocketbase::records::{Attempt, DeliveryOverview, DeliveryState};
use shared::types::RecordId;

/// A delivery with its attempts and its endpoint, without media URLs.
#[derive(Debug, Serialize)]
pub struct DeliveryView {
    id: RecordId,
    /// The `webhook-id` of every attempt.
    webhook_id: String,
    event: String,
    state: DeliveryState,
    created_at: String,
    delivered_at: Option<String>,
    next_attempt_at: Option<String>,
    check_id: Option<String>,
    attempts: Vec<AttemptView>,
    endpoint: EndpointView,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
}

#[derive(Debug, Serialize)]
struct AttemptView {
    at: String,
    status: Option<u16>,
    error: Option<String>,
    milliseconds: u64,
    response: Option<String>,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    url: String,
    disabled_at: Option<String>,
    disabled_reason: Option<String>,
}

/// A URL without its query, which may hold a secret.
fn without_query(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

impl DeliveryView {
    /// A delivery without its payload, for lists.
    pub fn without_payload(delivery: DeliveryOverview) -> Self {
        Self { payload: None, ..Self::from(delivery) }
    }
}

impl From<DeliveryOverview> for DeliveryView {
    fn from(delivery: DeliveryOverview) -> Self {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            webhook_id: crate::webhook_id(&delivery.id),
            id: delivery.id,
            event: delivery.event,
            state: delivery.state,
            created_at: rfc3339(delivery.created),
            delivered_at: delivery.delivered.map(rfc3339),
            // A disabled endpoint gets no attempts.
            next_attempt_at: delivery.next_attempt.filter(|_| delivery.webhook_disabled.is_none()).map(rfc3339),
            check_id: given(delivery.check_id),
            attempts: delivery.attempts.into_iter().map(AttemptView::from).collect(),
            endpoint: EndpointView {
                url: without_query(&delivery.webhook_url),
                disabled_at: delivery.webhook_disabled.map(rfc3339),
                disabled_reason: given(delivery.webhook_disabled_reason),
            },
            payload: Some(delivery.payload),
        }
    }
}

impl From<Attempt> for AttemptView {
    fn from(attempt: Attempt) -> Self {
        Self {
            at: rfc3339(attempt.at),
            status: attempt.status,
            error: attempt.error,
            milliseconds: attempt.milliseconds,
            response: attempt.response,
        }
    }
}
