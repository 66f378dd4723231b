//! One try to deliver a webhook, from taking it to keeping what became of it.

use std::error::Error as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;
use shared::config::{Env, WebhookSettings};
use shared::http::StartError;
use shared::pocketbase::{
    Attempt, CHECK_COMPLETED, Error, LeasedDelivery, PocketBase, QueuedDelivery, STATUS_CHANGED, Settled, SigningSecret,
};
use standardwebhooks::Webhook;
use storage::Bucket;

use crate::announce::Announcer;
use crate::guard::{Forbidden, PublicOnly, WebhookPolicy, check_url};
use crate::schedule;

/// The events that there are.
pub const EVENT_TYPES: [&str; 2] = [CHECK_COMPLETED, STATUS_CHANGED];

/// How long an endpoint may take, as the contract promises.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a webhook is this process's alone: longer than a try can take, with PocketBase before and after it.
const LEASE: TimeDelta = TimeDelta::seconds(40);

/// How much of an answer is kept, in bytes.
const KEPT: usize = 1_024;

/// How many secrets sign at once.
const MAX_SECRETS: usize = 5;

/// How many tries are kept: two rounds of the schedule and some that were asked for.
const MAX_ATTEMPTS: usize = 30;

/// After how long without any success an endpoint is sent nothing more.
const MAX_FAILING: TimeDelta = TimeDelta::days(5);

/// After how long without a failure the next one is a new beginning: longer than the schedule's longest delay.
const PAUSE: TimeDelta = TimeDelta::hours(24);

/// Delivers webhooks. Made once in a process's life.
pub struct Courier {
    http: Client,
    policy: WebhookPolicy,
    bucket: Bucket,
    announcer: Announcer,
}

/// What an endpoint did.
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

impl Courier {
    /// A courier.
    ///
    /// # Errors
    /// When a setting is malformed, or no client of HTTP can be made on this machine.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        let policy = WebhookPolicy::from(&WebhookSettings::from_env(env)?);
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(Policy::none())
            // A proxy would resolve names for us, and judge nothing.
            .no_proxy()
            .user_agent("IdentityVerification/1.0");
        let client = if policy.allow_private { client } else { client.dns_resolver(Arc::new(PublicOnly)) };
        Ok(Self {
            http: client.build()?,
            policy,
            bucket: Bucket::from_env(env).await?,
            announcer: Announcer::from_env(env).await?,
        })
    }

    /// Delivers a webhook whose turn it is and then, one after the other and until a time, those that had to wait for it. PocketBase calls: three for
    /// each, and one to learn that no more follow.
    ///
    /// # Errors
    /// When PocketBase fails. What was sent and could not be kept is sent once more, with the same `webhook-id`.
    pub async fn deliver(
        &self,
        pocketbase: &PocketBase,
        mut delivery: QueuedDelivery,
        until: Instant,
    ) -> Result<(), Error> {
        // What is left then is due, and found by the sweep.
        while self.deliver_one(pocketbase, &delivery).await? && Instant::now() < until {
            match pocketbase.next_in_stream(&delivery).await? {
                Some(next) => delivery = next,
                None => break,
            }
        }
        Ok(())
    }

    /// One try; whether the next of its stream may go.
    async fn deliver_one(&self, pocketbase: &PocketBase, delivery: &QueuedDelivery) -> Result<bool, Error> {
        let lease = format!("{:032x}", rand::random::<u128>());
        let Some(leased) = pocketbase.lease_delivery(&delivery.id, &lease, Utc::now() + LEASE).await? else {
            return Ok(false);
        };
        let answer = self.send(delivery, &leased).await;
        let is_over = self.settle(pocketbase, delivery, leased, &lease, &answer).await?;
        self.judge_endpoint(pocketbase, delivery, &answer).await?;
        Ok(is_over)
    }

    async fn settle(
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
        let settled = match delay {
            _ if answer.is_success() => Settled::Delivered,
            Some(delay) => Settled::Later(Utc::now() + delay),
            None => Settled::GivenUp,
        };
        match pocketbase.settle_delivery(&delivery.id, lease, tries, &attempts, &settled).await {
            // Who has taken it since will keep what becomes of it.
            Ok(()) | Err(Error::Refused) => {}
            Err(error) => return Err(error),
        }
        let (id, status) = (&delivery.id, answer.attempt.status);
        match &settled {
            Settled::Delivered => tracing::info!(delivery = %id, tries, "webhook delivered"),
            Settled::Later(_) => tracing::warn!(delivery = %id, tries, status, "webhook not delivered yet"),
            Settled::GivenUp => tracing::error!(delivery = %id, tries, status, "webhook given up"),
        }
        if let (Settled::Later(_), Some(delay)) = (&settled, delay) {
            // A message that comes too soon would find nothing to do.
            self.announcer.announce(&delivery.id, delay + Duration::from_secs(1)).await;
        }
        Ok(!matches!(settled, Settled::Later(_)))
    }

    /// Keeps since when an endpoint fails, and sends it nothing more when it says that it is gone or has failed for too long.
    async fn judge_endpoint(
        &self,
        pocketbase: &PocketBase,
        delivery: &QueuedDelivery,
        answer: &Answer,
    ) -> Result<(), Error> {
        let (partner, now) = (&delivery.partner, Utc::now());
        // Failures with days between them, in which there was nothing to send, are no failure that lasts.
        let lasts = delivery.webhook_last_failure.is_some_and(|last| now - last < PAUSE);
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
        let response = request.send().await.map_err(|error| reason(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, now));
        Ok((response, retry_after))
    }

    /// What is sent: what was written, with links to the media that are signed anew each time.
    async fn body(&self, delivery: &QueuedDelivery, payload: &Value) -> Result<Value, String> {
        let mut body = payload.clone();
        if delivery.event != CHECK_COMPLETED {
            return Ok(body);
        }
        for (name, key) in [("selfie_video_url", &delivery.selfie_video), ("id_photo_url", &delivery.id_photo)] {
            let link = match key.as_str() {
                // It has been deleted.
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

/// The signatures of a body, one for each secret that signs now, as Standard Webhooks has them.
fn sign(secrets: &[SigningSecret], id: &str, now: DateTime<Utc>, body: &str) -> Result<String, String> {
    let current = secrets.iter().filter(|secret| secret.until.is_none_or(|until| now < until));
    // One that is malformed takes nothing from another.
    let signatures: Vec<_> = current
        .take(MAX_SECRETS)
        .filter_map(|secret| Webhook::new(&secret.secret).ok()?.sign(id, now.timestamp(), body.as_bytes()).ok())
        .collect();
    if signatures.is_empty() { Err("no signing secret is set".to_owned()) } else { Ok(signatures.join(" ")) }
}

/// Seconds, or a date.
fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    (DateTime::parse_from_rfc2822(value).ok()?.to_utc() - now).to_std().ok()
}

/// Why there was no answer, in words that show nothing of the inside.
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

/// What an endpoint said, for its owner to see. What does not come in time, or is no text, is left out.
async fn first_kilobyte(mut response: Response) -> String {
    let mut kept = Vec::new();
    while kept.len() < KEPT
        && let Ok(Some(chunk)) = response.chunk().await
    {
        kept.extend(chunk.iter().take(KEPT - kept.len()));
    }
    // What is no text grows when it is made into some.
    let text = String::from_utf8_lossy(&kept);
    let text = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    let mut size = 0;
    text.take_while(|c| {
        size += c.len_utf8();
        size <= KEPT
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn secrets_sign_until_their_time_is_over() {
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

    /// Twenty-four times the same byte, in Base64: three of them are four characters.
    fn base64_of(byte: u8) -> String {
        let four = match byte {
            b'a' => "YWFh",
            b'b' => "YmJi",
            _ => "Y2Nj",
        };
        four.repeat(8)
    }

    #[test]
    fn an_endpoint_says_when_to_come_back_in_seconds_or_as_a_date() {
        let now = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 10:01:00 GMT", now), Some(Duration::from_secs(60)));
        assert_eq!(retry_after("Sat, 21 Nov 2026 09:00:00 GMT", now), None);
        assert_eq!(retry_after("soon", now), None);
    }
}
