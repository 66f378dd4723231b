//! Delivery of webhooks: lease, signed request, result, and the state of the endpoint.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;
use shared::env::{Env, StartError};
use shared::pocketbase::records::{
    Attempt, AttemptResult, LeasedDelivery, QueuedDelivery, SigningSecret, WebhookEvent,
};
use shared::pocketbase::{Error, PocketBase};
use shared::upstream;
use standardwebhooks::Webhook;
use storage::Bucket;

use crate::address::{Forbidden, PublicResolver, WebhookPolicy, check_url};
use crate::queue::DeliveryQueue;
use crate::schedule;

/// How long an endpoint may take to answer, as documented for partners.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Duration of a lease: longer than an attempt with the calls of PocketBase before and after it.
const LEASE: TimeDelta = TimeDelta::seconds(40);

/// How much of an answer is stored, in bytes.
const MAX_RESPONSE: usize = 1_024;

/// The most secrets that sign at the same time.
const MAX_SECRETS: usize = 5;

/// The most attempts that are stored: two rounds of the schedule, and some resends.
const MAX_ATTEMPTS: usize = 30;

/// How long an idle connection to an endpoint is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the body of an answer may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);

/// Time after which an endpoint that fails without a success is disabled.
const MAX_FAILING: TimeDelta = TimeDelta::days(5);

/// Pause between two failures after which counting starts anew. Longer than the longest delay of the schedule.
const FAILURE_GAP: TimeDelta = TimeDelta::hours(24);

/// Sends webhooks. Built once per execution environment.
pub struct WebhookSender {
    http: Client,
    policy: WebhookPolicy,
    bucket: Bucket,
    queue: DeliveryQueue,
}

/// Answer of an endpoint.
struct Answer {
    attempt: Attempt,
    retry_after: Option<Duration>,
}

impl Answer {
    fn is_success(&self) -> bool {
        self.attempt.status.is_some_and(|status| (200..300).contains(&status))
    }

    fn is_gone(&self) -> bool {
        self.attempt.status == Some(410)
    }
}

impl WebhookSender {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a setting is malformed, or TLS cannot be set up.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        let policy = WebhookPolicy::from_env(env)?;
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            // Endpoints are many, and open files few.
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            // A proxy would resolve names itself, without the check of addresses.
            .no_proxy()
            .user_agent("IdentityVerification/1.0");
        let client = if policy.allow_private { client } else { client.dns_resolver(Arc::new(PublicResolver)) };
        Ok(Self {
            http: client.build()?,
            policy,
            bucket: Bucket::from_env(env).await?,
            queue: DeliveryQueue::from_env(env).await?,
        })
    }

    /// Delivers a due webhook and then, until a time, the webhooks of the same stream that waited for it. PocketBase calls: three
    /// per webhook, to lease it, to store the result and to find the next one; a session check when none follows; and one when the
    /// endpoint failed, works again, or is disabled.
    ///
    /// # Errors
    /// When PocketBase fails. A webhook that was sent and whose result could not be stored is sent again, with the same
    /// `webhook-id`.
    pub async fn deliver(
        &self,
        pocketbase: &PocketBase,
        mut delivery: QueuedDelivery,
        until: Instant,
    ) -> Result<(), Error> {
        // The sweep delivers the rest.
        while self.deliver_one(pocketbase, &delivery).await? && Instant::now() < until {
            match pocketbase.next_in_stream(&delivery).await? {
                Some(next) => delivery = next,
                None => break,
            }
        }
        Ok(())
    }

    /// Makes one attempt, and returns whether the next webhook of the stream may follow.
    async fn deliver_one(&self, pocketbase: &PocketBase, delivery: &QueuedDelivery) -> Result<bool, Error> {
        let lease = format!("{:032x}", rand::random::<u128>());
        let Some(leased) = pocketbase.lease_delivery(&delivery.id, &lease, Utc::now() + LEASE).await? else {
            return Ok(false);
        };
        let answer = self.send(delivery, &leased).await;
        let has_ended = self.store_result(pocketbase, delivery, leased, &lease, &answer).await?;
        self.update_endpoint(pocketbase, delivery, &answer).await?;
        Ok(has_ended)
    }

    /// Stores the result of an attempt, and returns whether the webhook is delivered or given up.
    async fn store_result(
        &self,
        pocketbase: &PocketBase,
        delivery: &QueuedDelivery,
        leased: LeasedDelivery,
        lease: &str,
        answer: &Answer,
    ) -> Result<bool, Error> {
        let tries = leased.tries.saturating_add(1);
        let mut attempts = leased.attempts;
        attempts.push(answer.attempt.clone());
        attempts.drain(..attempts.len().saturating_sub(MAX_ATTEMPTS));
        let delay = schedule::delay(tries, answer.retry_after, rand::random());
        let result = match delay {
            _ if answer.is_success() => AttemptResult::Delivered,
            Some(delay) => AttemptResult::Retry(Utc::now() + delay),
            None => AttemptResult::GivenUp,
        };
        match pocketbase.store_attempt(&delivery.id, lease, tries, &attempts, &result).await {
            // The lease has expired. The process that has the new lease stores its own result.
            Ok(()) | Err(Error::Refused) => {}
            Err(error) => return Err(error),
        }
        let (id, status) = (&delivery.id, answer.attempt.status);
        match &result {
            AttemptResult::Delivered => tracing::info!(delivery = %id, tries, "webhook delivered"),
            AttemptResult::Retry(_) => tracing::warn!(delivery = %id, tries, status, "webhook not delivered yet"),
            AttemptResult::GivenUp => tracing::error!(delivery = %id, tries, status, "webhook given up"),
        }
        if let (AttemptResult::Retry(_), Some(delay)) = (&result, delay) {
            // A message that arrives too early would not find the webhook due.
            self.queue.enqueue(&delivery.id, &delivery.partner, delay + Duration::from_secs(1)).await;
        }
        Ok(!matches!(result, AttemptResult::Retry(_)))
    }

    /// Stores the time since which an endpoint fails. Disables it when it answers 410 or has failed for five days.
    async fn update_endpoint(
        &self,
        pocketbase: &PocketBase,
        delivery: &QueuedDelivery,
        answer: &Answer,
    ) -> Result<(), Error> {
        let (partner, now) = (&delivery.partner, Utc::now());
        // After a day without a failure, such as a day without webhooks, counting starts anew.
        let lasts = delivery.webhook_last_failure.is_some_and(|last| now - last < FAILURE_GAP);
        let since = delivery.webhook_failing_since.filter(|_| lasts);
        let reason = match since {
            _ if answer.is_gone() => "the endpoint answered 410 Gone",
            _ if answer.is_success() && delivery.webhook_failing_since.is_some() => {
                return pocketbase.set_endpoint_failing(partner, None).await;
            }
            _ if answer.is_success() => return Ok(()),
            Some(since) if now - since >= MAX_FAILING => "no webhook could be delivered for 5 days",
            since => return pocketbase.set_endpoint_failing(partner, Some(since.unwrap_or(now))).await,
        };
        tracing::error!(%partner, reason, "a partner's endpoint is disabled; its webhooks wait");
        pocketbase.disable_endpoint(partner, reason).await
    }

    /// Sends a webhook. A failure is part of the answer.
    async fn send(&self, delivery: &QueuedDelivery, leased: &LeasedDelivery) -> Answer {
        let (at, started) = (Utc::now(), tokio::time::Instant::now());
        let sent = self.post(delivery, leased, at).await;
        let (status, error, response, retry_after) = match sent {
            Ok((response, retry_after)) => {
                let status = response.status().as_u16();
                (Some(status), None, Some(first_kilobyte(response).await), retry_after)
            }
            Err(reason) => (None, Some(reason), None, None),
        };
        let milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let response = response.filter(|text| !text.is_empty());
        Answer { attempt: Attempt { at, status, error, milliseconds, response }, retry_after }
    }

    /// Sends the signed request. An error is the reason why there was no answer, in words for the partner.
    async fn post(
        &self,
        delivery: &QueuedDelivery,
        leased: &LeasedDelivery,
        now: DateTime<Utc>,
    ) -> Result<(Response, Option<Duration>), String> {
        let url = check_url(&delivery.webhook_url, self.policy).map_err(|forbidden| forbidden.to_string())?;
        let body = self.body(delivery, &leased.payload).await?.to_string();
        let id = crate::webhook_id(&delivery.id);
        let signature = sign(&delivery.webhook_secrets, &id, now, &body)?;
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", now.timestamp())
            .header("webhook-signature", signature)
            .body(body);
        let response = upstream::send("WebhookEndpoints", request).await.map_err(|error| reason(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
        Ok((response, retry_after))
    }

    /// The body: the stored payload, with media URLs that are signed for each attempt.
    async fn body(&self, delivery: &QueuedDelivery, payload: &Value) -> Result<Value, String> {
        let mut body = payload.clone();
        if delivery.event != WebhookEvent::CheckCompleted {
            return Ok(body);
        }
        for (name, key) in [
            ("selfie_video_url", &delivery.selfie_video),
            ("id_photo_url", &delivery.id_photo),
            ("id_photo_back_url", &delivery.id_photo_back),
        ] {
            let link = match key.as_str() {
                // The file has been deleted.
                "" => None,
                key => Some(
                    self.bucket.link(key).await.map_err(|_| "the links to the media cannot be signed".to_owned())?,
                ),
            };
            if let Some(fields) = body.as_object_mut() {
                fields.insert(name.to_owned(), link.into());
            }
        }
        Ok(body)
    }
}

/// Value of `webhook-signature` (Standard Webhooks): one signature per valid secret.
fn sign(secrets: &[SigningSecret], id: &str, now: DateTime<Utc>, body: &str) -> Result<String, String> {
    let current = secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
    // A malformed secret is skipped.
    let signatures: Vec<_> = current
        .take(MAX_SECRETS)
        .filter_map(|secret| Webhook::new(&secret.secret).ok()?.sign(id, now.timestamp(), body.as_bytes()).ok())
        .collect();
    if signatures.is_empty() { Err("no signing secret is set".to_owned()) } else { Ok(signatures.join(" ")) }
}

/// Parses `Retry-After`: seconds or an HTTP date.
fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    (DateTime::parse_from_rfc2822(value).ok()?.to_utc() - now).to_std().ok()
}

/// Reason why there was no answer, without internal details.
fn reason(error: &reqwest::Error) -> String {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    if let Some(forbidden) = causes.find_map(|cause| cause.downcast_ref::<Forbidden>()) {
        return forbidden.to_string();
    }
    let reason = if error.is_timeout() && error.is_connect() {
        "no connection within 5 s"
    } else if error.is_timeout() {
        "no answer within 10 s"
    } else if error.is_connect() {
        "no connection: the name, the port or the certificate is wrong, or nobody listens"
    } else {
        "the connection broke"
    };
    reason.to_owned()
}

/// First kilobyte of an answer as text, which the partner is shown. Bytes that do not arrive within a second and control characters
/// are left out.
async fn first_kilobyte(mut response: Response) -> String {
    let mut kept = Vec::new();
    let read = async {
        while kept.len() < MAX_RESPONSE
            && let Ok(Some(chunk)) = response.chunk().await
        {
            kept.extend(chunk.iter().take(MAX_RESPONSE - kept.len()));
        }
    };
    // The status has decided already. An endpoint whose body drips must not hold up its other webhooks.
    let _ = tokio::time::timeout(BODY_TIMEOUT, read).await;
    // Replacement characters are longer than the bytes that they stand for.
    let text = String::from_utf8_lossy(&kept);
    let text = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    let mut size = 0;
    text.take_while(|c| {
        size += c.len_utf8();
        size <= MAX_RESPONSE
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn expired_secrets_do_not_sign() {
        let now = Utc::now();
        let secret = |byte: u8, until| SigningSecret { secret: format!("whsec_{}", base64_of(byte)), until };
        let secrets = [
            secret(b'a', None),
            secret(b'b', Some(now + TimeDelta::hours(1))),
            secret(b'c', Some(now - TimeDelta::seconds(1))),
        ];
        let signature = sign(&secrets, "msg_1", now, "{}").unwrap();
        assert_eq!(signature.split(' ').count(), 2);
        assert!(signature.split(' ').all(|signature| signature.starts_with("v1,")));
        assert!(sign(&[], "msg_1", now, "{}").is_err());
        assert!(sign(&secrets[2..], "msg_1", now, "{}").is_err());
    }

    /// The same byte 24 times, in Base64. Three bytes are four characters.
    fn base64_of(byte: u8) -> String {
        let four = match byte {
            b'a' => "YWFh",
            b'b' => "YmJi",
            _ => "Y2Nj",
        };
        four.repeat(8)
    }

    #[test]
    fn retry_after_can_be_seconds_or_a_date() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 10:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 09:00:00 GMT", now), None);
        assert_eq!(retry_after("soon", now), None);
    }
}
