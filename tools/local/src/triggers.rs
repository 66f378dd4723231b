//! What starts functions in AWS besides the gateway: the queue's event source and the schedules.

use std::time::Duration;

use aws_sdk_sqs::Client;
use reqwest::Client as Http;
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use crate::Error;
use crate::storage::{make_queue, queue_client};

/// The schedules, as in template.yaml.
const SCHEDULES: [(&str, Duration); 2] =
    [("sweep-webhooks", Duration::from_secs(60)), ("enforce-retention", Duration::from_secs(24 * 3_600))];

/// How long a message is hidden while it is being handled.
const VISIBILITY_SECONDS: i32 = 60;

/// How long a poll of the queue waits for messages.
const POLL_SECONDS: i32 = 5;

/// Starts functions by queue and schedule until the process ends.
///
/// # Errors
/// When the queue cannot be made.
pub async fn run(api: &str, moto: &str) -> Result<(), Error> {
    let (http, client) = (Http::new(), queue_client(moto));
    let queue = loop {
        match make_queue(moto).await {
            Ok(queue) => break queue,
            // It is still starting.
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    };
    let [sweep, retention] = SCHEDULES.map(|(function, every)| schedule(&http, api, function, every));
    tokio::join!(sweep, retention, event_source(&http, &client, api, &queue));
    Ok(())
}

async fn schedule(http: &Http, api: &str, function: &str, every: Duration) {
    let mut ticks = interval(every);
    // The first comes at once, and the API may not be there yet.
    ticks.reset_at(Instant::now() + Duration::from_secs(20).min(every));
    loop {
        ticks.tick().await;
        let event =
            json!({ "version": "2.0", "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": {} });
        if let Err(error) = invoke(http, api, function, &event).await {
            eprintln!("{function}: {error}");
        }
    }
}

async fn event_source(http: &Http, client: &Client, api: &str, queue: &str) {
    loop {
        if let Err(error) = bring(http, client, api, queue).await {
            eprintln!("deliver-webhook: {error}");
            sleep(Duration::from_secs(2)).await;
        }
    }
}

/// Waits for messages, brings them, and deletes those that are not said to have failed.
async fn bring(http: &Http, client: &Client, api: &str, queue: &str) -> Result<(), Error> {
    let request = client.receive_message().queue_url(queue).max_number_of_messages(10);
    let request = request.wait_time_seconds(POLL_SECONDS).visibility_timeout(VISIBILITY_SECONDS);
    let received = request.send().await.map_err(|error| Error::new(format!("SQS: {error}")))?;
    let messages = received.messages.unwrap_or_default();
    if messages.is_empty() {
        return Ok(());
    }
    let record = |message: &aws_sdk_sqs::types::Message| {
        json!({
            "messageId": message.message_id,
            "receiptHandle": message.receipt_handle,
            "body": message.body,
            "attributes": {},
            "messageAttributes": {},
            "eventSource": "aws:sqs",
        })
    };
    let records: Vec<_> = messages.iter().map(record).collect();
    let answer = invoke(http, api, "deliver-webhook", &json!({ "Records": records })).await?;
    let failures = answer.get("batchItemFailures").and_then(Value::as_array).cloned().unwrap_or_default();
    let failed: Vec<_> = failures.iter().filter_map(|failure| failure.get("itemIdentifier")?.as_str()).collect();
    for message in &messages {
        if !message.message_id.as_deref().is_some_and(|id| failed.contains(&id)) {
            let handle = message.receipt_handle.clone().unwrap_or_default();
            let deleted = client.delete_message().queue_url(queue).receipt_handle(handle).send().await;
            deleted.map_err(|error| Error::new(format!("SQS: {error}")))?;
        }
    }
    Ok(())
}

/// Invokes a function with an event, through the local gateway.
async fn invoke(http: &Http, api: &str, function: &str, event: &Value) -> Result<Value, Error> {
    let url = format!("{api}/2015-03-31/functions/{function}/invocations");
    let response = http.post(url).json(event).timeout(Duration::from_secs(120)).send().await?;
    let status = response.status();
    let answer: Value = response.json().await.unwrap_or_default();
    if !status.is_success() || answer.get("errorMessage").is_some() {
        return Err(Error::new(format!("{status} {answer}")));
    }
    Ok(answer)
}
