//! SQS, which is moto's.

use aws_sdk_sqs::Client;
use serde_json::Value;

use super::{Recorder, moto, unique};

/// A queue of a test's own.
pub struct Queue {
    client: Client,
    url: String,
    /// What the functions send passes here.
    recorder: Recorder,
}

impl Queue {
    pub async fn new() -> Self {
        let client = local::storage::queue_client(&moto().await.url);
        let made = client.create_queue().queue_name(unique("webhooks")).send().await.unwrap();
        Self { client, url: made.queue_url.unwrap(), recorder: Recorder::new().await }
    }

    /// The variables that lead to it.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [("AWS_ENDPOINT_URL_SQS", &self.recorder.url), ("WEBHOOK_QUEUE_URL", &self.url)]
    }

    /// The requests of the functions since the last time this was asked.
    pub fn sent(&self) -> Vec<Value> {
        self.recorder.bodies().iter().map(|body| serde_json::from_str(body).unwrap()).collect()
    }

    /// The bodies of all messages that are there now, which are gone then.
    pub async fn take(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let received =
                self.client.receive_message().queue_url(&self.url).max_number_of_messages(10).send().await.unwrap();
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                return bodies;
            }
            for message in messages {
                let handle = message.receipt_handle.unwrap();
                self.client.delete_message().queue_url(&self.url).receipt_handle(handle).send().await.unwrap();
                bodies.push(message.body.unwrap());
            }
        }
    }
}
