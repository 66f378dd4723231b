//! SQS queue that starts deliveries at once. A lost message delays a webhook until the next sweep, by at most a minute.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::Builder;
use futures_util::future::join_all;
use shared::aws;
use shared::env::{ConfigError, Env};
use shared::pocketbase::records::NewDelivery;
use shared::types::RecordId;

/// The longest delay of an SQS message.
const MAX_DELAY: Duration = Duration::from_secs(900);

/// Queue of webhooks that are due. Built once per execution environment.
pub struct DeliveryQueue {
    queue: Option<(Client, String)>,
}

impl DeliveryQueue {
    /// Reads `WEBHOOK_QUEUE_URL`. Without it, nothing is enqueued and the sweep delivers all webhooks.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let queue = match env.url("WEBHOOK_QUEUE_URL")? {
            Some(url) => {
                let config = aws::config(&aws::Settings::of_role(env)?, "SQS").await;
                let config = Builder::from(&config).interceptor(aws::CountCalls("SQS")).build();
                Some((Client::from_conf(config), url))
            }
            None => None,
        };
        Ok(Self { queue })
    }

    /// Enqueues webhooks that have just been written, at the same time.
    pub async fn enqueue_all(&self, deliveries: &[NewDelivery]) {
        join_all(deliveries.iter().map(|delivery| self.enqueue(&delivery.id, &delivery.partner, Duration::ZERO))).await;
    }

    /// Enqueues a webhook of a partner that is due after a delay. The partner is the message group: SQS delivers the messages of other
    /// groups first while one group has many messages in flight (fair queues). Does nothing for a delay of more than 15 minutes, SQS's
    /// limit. A failure is only logged, since the sweep finds the webhook. One call.
    pub async fn enqueue(&self, delivery: &RecordId, partner: &RecordId, delay: Duration) {
        let Some((client, url)) = self.queue.as_ref().filter(|_| delay <= MAX_DELAY) else { return };
        let seconds = i32::try_from(delay.as_secs()).unwrap_or_default();
        let message = client.send_message().queue_url(url).message_body(delivery.as_str());
        let message = message.message_group_id(partner.as_str()).delay_seconds(seconds);
        if let Err(error) = message.send().await {
            let cause = aws::Error::from(error);
            tracing::warn!(%delivery, %cause, "webhook not enqueued; the sweep will deliver it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_malformed_queue_url_is_refused() {
        assert!(DeliveryQueue::from_env(&Env::from([("WEBHOOK_QUEUE_URL", "queue")])).await.is_err());
    }
}
