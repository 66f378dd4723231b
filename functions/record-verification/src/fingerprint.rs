//! Client of Fingerprint's Server API: compares the device data that a browser sent with the event that Fingerprint recorded.
//!
//! The verdict is stored beside the data. Neither a failing verdict nor a failure of Fingerprint causes an error answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::{Client, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::env::{ConfigError, Env, StartError};
use shared::upstream;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an answer may take. The verification is written after it.
const TIMEOUT: Duration = Duration::from_secs(4);

/// The largest answer that is read, in bytes. An event has about 10 kB.
const MAX_ANSWER: usize = 256 * 1024;

/// The longest visitor id that is stored, in bytes. Fingerprint's have 20.
const MAX_VISITOR: usize = 64;

/// Allowed clock skew of Fingerprint, in milliseconds.
const CLOCK_SKEW: i64 = 60_000;

/// Settings of the client.
struct Settings {
    /// `FINGERPRINT_SECRET_KEY`; without it devices are not checked.
    secret_key: Option<String>,
    /// URL of the Server API: `FINGERPRINT_BASE_URL`, else by `FINGERPRINT_REGION` (`us` by default, `eu`, `ap`); without a trailing
    /// slash.
    base_url: String,
    /// `FINGERPRINT_MAX_AGE_SECONDS`: the highest age of an event, 60 to 86,400 s, 1,800 by default, which is the default
    /// lifetime of a flow token.
    max_age: Duration,
}

impl Settings {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let region = match env.get("FINGERPRINT_REGION").unwrap_or("us") {
            "us" => "https://api.fpjs.io",
            "eu" => "https://eu.api.fpjs.io",
            "ap" => "https://ap.api.fpjs.io",
            _ => return Err(ConfigError::malformed("FINGERPRINT_REGION", "must be us, eu or ap")),
        };
        Ok(Self {
            secret_key: env.get_owned("FINGERPRINT_SECRET_KEY"),
            base_url: env.url("FINGERPRINT_BASE_URL")?.unwrap_or_else(|| region.to_owned()),
            max_age: Duration::from_secs(env.number("FINGERPRINT_MAX_AGE_SECONDS", 1_800, 60..=86_400)?),
        })
    }
}

/// Client of Fingerprint. Built once per execution environment.
pub struct Fingerprint {
    http: Client,
    settings: Settings,
}

/// Result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Pass,
    Fail,
    /// Fingerprint did not answer.
    Unavailable,
}

/// Verdict on device data.
#[derive(Debug, Serialize)]
pub struct Verdict {
    result: Outcome,
    checks: Option<Checks>,
    /// The visitor that Fingerprint recorded.
    visitor_id: Option<String>,
    suspect_score: Option<f64>,
    checked_at: DateTime<Utc>,
}

/// Conditions of a passing verdict.
#[derive(Debug, Default, Serialize)]
struct Checks {
    found: bool,
    fresh: bool,
    not_replayed: bool,
    same_visitor: bool,
    not_a_bad_bot: bool,
    /// The event was not sent for another person before.
    one_person: bool,
}

/// Event of Server API v4. A check whose field is missing fails.
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

/// Ids in the data of the browser agent, under the names of its versions 4 and 3.
struct Claim<'a> {
    event: Option<&'a str>,
    visitor: Option<&'a str>,
}

impl<'a> Claim<'a> {
    fn of(data: &'a Value) -> Self {
        let first = |names: [&str; 4]| names.iter().find_map(|name| data.get(name)?.as_str());
        Self {
            // Plain text is an event id.
            event: data.as_str().or_else(|| first(["event_id", "eventId", "requestId", "request_id"])),
            visitor: first(["visitor_id", "visitorId", "visitorID", "visitor"]),
        }
    }

    /// The event id, if it is safe in a URL path.
    fn event(&self) -> Option<&'a str> {
        let is_plain = |id: &&str| id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        self.event.filter(|id| (4..=64).contains(&id.len()) && !id.contains("..")).filter(is_plain)
    }
}

/// The id of the event that device data names; `None` without one.
pub fn event_id(data: Option<&Value>) -> Option<&str> {
    Claim::of(data?).event()
}

impl Fingerprint {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a setting is malformed, or TLS cannot be set up.
    pub fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { http: upstream::client(CONNECT_TIMEOUT, TIMEOUT)?, settings: Settings::from_env(env)? })
    }

    /// Verdict on device data; `None` without data, or when Fingerprint is not configured. One call, repeated once when the
    /// connection failed.
    pub async fn check(&self, data: Option<&Value>) -> Option<Verdict> {
        let (key, data) = (self.settings.secret_key.as_ref()?, data?);
        let claim = Claim::of(data);
        let Some(id) = claim.event() else { return Some(Verdict::of(Outcome::Fail, Some(Checks::default()))) };
        let url = format!("{}/v4/events/{id}", self.settings.base_url);
        let get = || upstream::send("Fingerprint", self.http.get(&url).bearer_auth(key));
        let response = match get().await {
            Err(error) if !error.is_timeout() => get().await,
            outcome => outcome,
        };
        let response = match response {
            // The browser sent the id, so an unknown or malformed id fails the check.
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

    /// Verdict on an event.
    fn judge(&self, event: Event, claim: &Claim<'_>) -> Verdict {
        let age = Utc::now().timestamp_millis().saturating_sub(event.timestamp);
        let max_age = i64::try_from(self.settings.max_age.as_millis()).unwrap_or(i64::MAX);
        let visitor_id = event.identification.and_then(|identification| identification.visitor_id);
        let checks = Checks {
            found: true,
            fresh: (-CLOCK_SKEW..=max_age).contains(&age),
            not_replayed: event.replayed == Some(false),
            // The browser's data need not contain a visitor id.
            same_visitor: visitor_id.is_some() && (claim.visitor.is_none() || claim.visitor == visitor_id.as_deref()),
            not_a_bad_bot: matches!(event.bot.as_deref(), Some("not_detected" | "good")),
            one_person: true,
        };
        let Checks { found, fresh, not_replayed, same_visitor, not_a_bad_bot, .. } = checks;
        let passes = found && fresh && not_replayed && same_visitor && not_a_bad_bot;
        let result = if passes { Outcome::Pass } else { Outcome::Fail };
        Verdict { visitor_id, suspect_score: event.suspect_score, ..Verdict::of(result, Some(checks)) }
    }
}

/// Verdict without an answer of Fingerprint. The logged cause contains no body or URL, which identify a device.
fn unavailable(cause: impl std::fmt::Display) -> Verdict {
    tracing::warn!(cause = %cause, "Fingerprint could not be asked");
    Verdict::of(Outcome::Unavailable, None)
}

impl Verdict {
    /// Fails the verdict, because the event was sent for another person before.
    pub fn fail_as_anothers(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.one_person = false;
            self.result = Outcome::Fail;
        }
    }

    /// Whether Fingerprint knows the event.
    pub fn is_found(&self) -> bool {
        self.checks.as_ref().is_some_and(|checks| checks.found)
    }

    fn of(result: Outcome, checks: Option<Checks>) -> Self {
        Self { result, checks, visitor_id: None, suspect_score: None, checked_at: Utc::now() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_region_has_its_server() {
        for (region, url) in
            [("us", "https://api.fpjs.io"), ("eu", "https://eu.api.fpjs.io"), ("ap", "https://ap.api.fpjs.io")]
        {
            assert_eq!(Settings::from_env(&Env::from([("FINGERPRINT_REGION", region)])).unwrap().base_url, url);
        }
        assert!(Settings::from_env(&Env::from([("FINGERPRINT_REGION", "mars")])).is_err());
    }
}
