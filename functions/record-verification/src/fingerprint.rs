//! Fingerprint's Server API: whether the device data that a browser sent is what Fingerprint itself saw, and recently.
//!
//! The verdict is stored beside the data. It refuses nobody, and Fingerprint being down loses nothing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::config::FingerprintSettings;
use shared::upstream;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer may take: the record is waiting.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The largest answer that is read, in bytes. An event takes some 10 kB.
const MAX_ANSWER: usize = 256 * 1024;

/// The longest id of a visitor that is kept, in bytes. Fingerprint's have 20.
const MAX_VISITOR: usize = 64;

/// How far ahead of ours Fingerprint's clock may be, in milliseconds.
const CLOCK_SKEW: i64 = 60_000;

/// A client. Made once in a process's life.
pub struct Fingerprint {
    http: Client,
    settings: FingerprintSettings,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Pass,
    Fail,
    /// Fingerprint could not be asked.
    Unavailable,
}

/// What is stored beside a browser's device data.
#[derive(Debug, Serialize)]
pub struct Verdict {
    result: Outcome,
    checks: Option<Checks>,
    /// The visitor that Fingerprint saw, whatever the browser said.
    visitor_id: Option<String>,
    suspect_score: Option<f64>,
    checked_at: DateTime<Utc>,
}

/// What has to hold for a verdict to pass.
#[derive(Debug, Default, Serialize)]
struct Checks {
    found: bool,
    fresh: bool,
    not_replayed: bool,
    same_visitor: bool,
    not_a_bad_bot: bool,
}

/// An event of Server API v4, as far as it matters here. What it does not say speaks against the device.
#[derive(Deserialize)]
struct Event {
    /// Milliseconds since 1970.
    timestamp: i64,
    replayed: Option<bool>,
    bot: Option<String>,
    suspect_score: Option<f64>,
    identification: Option<Identification>,
}

#[derive(Deserialize)]
struct Identification {
    visitor_id: Option<String>,
}

/// What a browser's agent says of itself: version 4's names, and version 3's.
struct Claim<'a> {
    event: Option<&'a str>,
    visitor: Option<&'a str>,
}

impl<'a> Claim<'a> {
    fn of(data: &'a Value) -> Self {
        let first = |names: [&str; 4]| names.iter().find_map(|name| data.get(name)?.as_str());
        Self {
            // A bare text is an event's id.
            event: data.as_str().or_else(|| first(["event_id", "eventId", "requestId", "request_id"])),
            visitor: first(["visitor_id", "visitorId", "visitorID", "visitor"]),
        }
    }

    /// The event's id, if it can be one and so can stand in a path.
    fn event(&self) -> Option<&'a str> {
        let is_plain = |id: &&str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        self.event.filter(|id| (4..=64).contains(&id.len()) && !id.contains("..")).filter(is_plain)
    }
}

impl Fingerprint {
    /// A client.
    ///
    /// # Errors
    /// When no client of HTTP can be made on this machine.
    pub fn new(settings: FingerprintSettings) -> Result<Self, reqwest::Error> {
        Ok(Self { http: upstream::client(CONNECT_TIMEOUT, TIMEOUT)?, settings })
    }

    /// The verdict on device data; `None` without data, and where Fingerprint is not configured. One call; a second when the
    /// connection broke.
    pub async fn check(&self, data: Option<&Value>) -> Option<Verdict> {
        let (key, data) = (self.settings.secret_key.as_ref()?, data?);
        let claim = Claim::of(data);
        let Some(id) = claim.event() else { return Some(Verdict::of(Outcome::Fail, Some(Checks::default()))) };
        let url = format!("{}/v4/events/{id}", self.settings.base_url);
        let get = || self.http.get(&url).bearer_auth(key).send();
        let response = match get().await {
            Err(error) if !error.is_timeout() => get().await,
            outcome => outcome,
        };
        let response = match response {
            // The id is the browser's: one that Fingerprint cannot read is none of its events.
            Ok(response) if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) => {
                return Some(Verdict::of(Outcome::Fail, Some(Checks::default())));
            }
            Ok(response) if response.status().is_success() => response,
            Ok(response) => return Some(unavailable(format!("status {}", response.status().as_u16()))),
            Err(error) => return Some(unavailable(error.without_url())),
        };
        let event = match upstream::read(response, MAX_ANSWER).await {
            Ok(body) => serde_json::from_slice(&body).map_err(|_| "no event of version 4".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let is_short = |event: &Event| {
            let visitor = event.identification.as_ref().and_then(|identification| identification.visitor_id.as_ref());
            visitor.is_none_or(|visitor| visitor.len() <= MAX_VISITOR)
        };
        Some(match event {
            Ok(event) if is_short(&event) => self.judge(event, &claim),
            Ok(_) => unavailable("a visitor whose id is too long".to_owned()),
            Err(cause) => unavailable(cause),
        })
    }

    fn judge(&self, event: Event, claim: &Claim<'_>) -> Verdict {
        let age = Utc::now().timestamp_millis().saturating_sub(event.timestamp);
        let max_age = i64::try_from(self.settings.max_age.as_millis()).unwrap_or(i64::MAX);
        let visitor_id = event.identification.and_then(|identification| identification.visitor_id);
        let checks = Checks {
            found: true,
            fresh: (-CLOCK_SKEW..=max_age).contains(&age),
            not_replayed: event.replayed == Some(false),
            // A browser that does not name its visitor contradicts nothing.
            same_visitor: visitor_id.is_some() && (claim.visitor.is_none() || claim.visitor == visitor_id.as_deref()),
            not_a_bad_bot: matches!(event.bot.as_deref(), Some("not_detected" | "good")),
        };
        let Checks { found, fresh, not_replayed, same_visitor, not_a_bad_bot } = checks;
        let passes = found && fresh && not_replayed && same_visitor && not_a_bad_bot;
        let result = if passes { Outcome::Pass } else { Outcome::Fail };
        Verdict { visitor_id, suspect_score: event.suspect_score, ..Verdict::of(result, Some(checks)) }
    }
}

/// The log gets no body, which is somebody's device, and no URL, which is its event.
fn unavailable(cause: impl std::fmt::Display) -> Verdict {
    tracing::warn!(cause = %cause, "Fingerprint could not be asked");
    Verdict::of(Outcome::Unavailable, None)
}

impl Verdict {
    fn of(result: Outcome, checks: Option<Checks>) -> Self {
        Self { result, checks, visitor_id: None, suspect_score: None, checked_at: Utc::now() }
    }
}
