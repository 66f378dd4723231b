//! The queue of SQS that makes deliveries prompt. Losing a message loses no webhook.

use std::time::Duration;

use aws_sdk_sqs::Client;
use shared::aws;
use shared::config::{AwsSettings, ConfigError, Env, WebhookSettings};
use shared::types::RecordId;

/// The longest that SQS holds a message back.
const MAX_DELAY: Duration = Duration::from_secs(900);

/// Announces webhooks that are due. Made once in a process's life.
pub struct Announcer {
    queue: Option<(Client, String)>,
}

impl Announcer {
    /// An announcer, which says nothing where no queue is named.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let queue = match WebhookSettings::from_env(env)?.queue_url {
            Some(url) => Some((Client::new(&aws::config(&AwsSettings::of_role(env)?, "SQS").await), url)),
            None => None,
        };
        Ok(Self { queue })
    }

    /// Says that a webhook is due after a time. A failure is logged and no more: the sweep finds it. Nothing is said of what is due in
    /// more than 15 minutes.
    pub async fn announce(&self, delivery: &RecordId, delay: Duration) {
        let Some((client, url)) = self.queue.as_ref().filter(|_| delay <= MAX_DELAY) else { return };
        let seconds = i32::try_from(delay.as_secs()).unwrap_or_default();
        let message = client.send_message().queue_url(url).message_body(delivery.as_str()).delay_seconds(seconds);
        if let Err(error) = message.send().await {
            let cause = aws::failure(&error);
            tracing::warn!(%delivery, cause = cause.cause(), "a webhook is not announced; the sweep will find it");
        }
    }
}
