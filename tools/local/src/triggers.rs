//! Invocation of functions by queue and schedule, as template.yaml says.

use std::time::Duration;

use aws_sdk_sqs::Client;
use futures_util::future::join_all;
use reqwest::Client as Http;
use serde_json::{Value, json};
use template::{Source, Template};
use tokio::time::{Instant, interval, sleep};

use crate::storage::{make_queue, queue_client};
use crate::{Error, within_limit};

/// How long a message is hidden from other receivers while it is handled.
const VISIBILITY_SECONDS: i32 = 60;

/// How long a poll of the queue waits for messages.
const POLL_SECONDS: i32 = 5;

/// How long the first invocation by a schedule waits at most: the stack is still starting.
const FIRST_DELAY: Duration = Duration::from_secs(20);

/// Invokes functions until the process ends.
///
/// # Errors
/// When a schedule in template.yaml is not understood, or the queue cannot be created.
pub async fn run(api: &str, moto: &str) -> Result<(), Error> {
    let template = Template::read(&template::path()).map_err(|error| Error::new(error.to_string()))?;
    let (mut schedules, mut consumers) = (Vec::new(), Vec::new());
    for trigger in template.triggers {
        match trigger.source {
            Source::Schedule(expression) => schedules.push((trigger.binary, period(&expression)?)),
            Source::Queue(_) => consumers.push(trigger.binary),
        }
    }
    let (http, client) = (Http::new(), queue_client(moto));
    let queue = within_limit(created_queue(moto), &format!("moto at {moto}")).await?;
    let schedules = schedules.iter().map(|(function, every)| schedule(&http, api, function, *every));
    let consumers = consumers.iter().map(|function| event_source(&http, &client, api, &queue, function));
    tokio::join!(join_all(schedules), join_all(consumers));
    Ok(())
}

/// The period of a schedule expression: `rate(5 minutes)`.
fn period(expression: &str) -> Result<Duration, Error> {
    let rate = expression.strip_prefix("rate(").and_then(|rest| rest.strip_suffix(')'));
    let (number, unit) = rate.and_then(|rate| rate.split_once(' ')).unwrap_or_default();
    let seconds = match unit.trim_end_matches('s') {
        "minute" => Some(60),
        "hour" => Some(3_600),
        "day" => Some(24 * 3_600),
        _ => None,
    };
    let number = number.parse::<u64>().ok().filter(|number| (1..=1_000).contains(number));
    let period = number.zip(seconds).map(|(number, seconds)| Duration::from_secs(number * seconds));
    period.ok_or_else(|| Error::new(format!("template.yaml: the schedule {expression:?} is not understood")))
}

/// The URL of the queue, as soon as moto answers.
async fn created_queue(moto: &str) -> String {
    loop {
        match make_queue(moto).await {
            Ok(queue) => return queue,
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

async fn schedule(http: &Http, api: &str, function: &str, every: Duration) {
    let mut ticks = interval(every);
    ticks.reset_at(Instant::now() + FIRST_DELAY.min(every));
    loop {
        ticks.tick().await;
        let event =
            json!({ "version": "2.0", "source": "aws.scheduler", "detail-type": "Scheduled Event", "detail": {} });
        if let Err(error) = invoke(http, api, function, &event).await {
            eprintln!("{function}: {error}");
        }
    }
}

async fn event_source(http: &Http, client: &Client, api: &str, queue: &str, function: &str) {
    loop {
        if let Err(error) = poll(http, client, api, queue, function).await {
            eprintln!("{function}: {error}");
            sleep(Duration::from_secs(2)).await;
        }
    }
}

/// Waits for messages, invokes the function with them, and deletes those that it does not report as failed.
async fn poll(http: &Http, client: &Client, api: &str, queue: &str, function: &str) -> Result<(), Error> {
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
    let answer = invoke(http, api, function, &json!({ "Records": records })).await?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_schedule_expression_is_a_period() {
        let seconds = |expression| period(expression).map(|period| period.as_secs()).ok();
        assert_eq!(
            ["rate(1 minute)", "rate(5 minutes)", "rate(1 day)"].map(seconds),
            [Some(60), Some(300), Some(86_400)]
        );
        assert_eq!(["rate(0 minutes)", "rate(1 year)", "cron(0 8 * * ? *)", ""].map(seconds), [None; 4]);
    }
}
