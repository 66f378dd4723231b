//! What input is parsed into, so that the inside of the API never holds an unchecked value.

use std::fmt;
use std::str::FromStr;

use chrono::NaiveDate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// Why a value was refused, in words for the caller. The value itself is not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// The id of a PocketBase record: 15 characters of `a-z` and `0-9`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// An id for a record that is yet to be made: PocketBase lets clients choose them.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bits = rand::random::<u128>();
        let id = (0..15).map(|_| {
            let letter = ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'a');
            bits >>= 5;
            char::from(letter)
        });
        Self(id.collect())
    }
}

impl FromStr for RecordId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if text.len() == 15 && plain { Ok(Self(text.to_owned())) } else { Err(Invalid::because("is not a record id")) }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RecordId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A team: 1 to 64 of `A-Z a-z 0-9 _ - . :`. What a caller sees is decided by it, so it is compared exactly.
///
/// It is the one value from outside that stands in PocketBase filters, and PocketBase refuses some texts there even when
/// they are quoted (`@request.`, `@collection.`), so nothing but plain characters is let in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Team(String);

impl Team {
    /// The team as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Team {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
        if plain && (1..=64).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid::because("must be 1 to 64 letters, digits or _ - . :"))
        }
    }
}

impl<'de> Deserialize<'de> for Team {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// The id that AWS gave to a Face Liveness session: a UUID, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_dash = |place: usize| matches!(place, 8 | 13 | 18 | 23);
        let fits = |(place, byte): (usize, u8)| if is_dash(place) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        if text.len() == 36 && text.bytes().enumerate().all(fits) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(Invalid::because("is not the id of a Face Liveness session"))
        }
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Which records a caller sees and creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teams {
    /// Those of one team, or those that have none.
    Only(Option<Team>),
    /// All, for clients that are configured so.
    All,
}

/// A line of text of at most `MAX` characters, without control characters, trimmed. It may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.chars().any(char::is_control) {
            return Err(Invalid::because("must not contain control characters"));
        }
        Ok(Self(at_most(MAX, text.trim())?))
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Free text of at most `MAX` characters: line breaks and tabs are allowed, other control characters are not. Trimmed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Notes<const MAX: usize>(String);

impl<const MAX: usize> Notes<MAX> {
    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Notes<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
            return Err(D::Error::custom("must not contain control characters other than line breaks and tabs"));
        }
        at_most(MAX, text.trim()).map(Self).map_err(D::Error::custom)
    }
}

fn at_most(max: usize, text: &str) -> Result<String, Invalid> {
    if text.chars().count() > max {
        Err(Invalid(format!("must be at most {max} characters")))
    } else {
        Ok(text.to_owned())
    }
}

/// The partner's own name for a person (`userID`): 1 to 255 characters, kept exactly as it came.
///
/// Control characters and white space at either end are refused rather than removed: two spellings that differ only in
/// them would be one person to a reader and two to the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UserId(String);

impl UserId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.trim() != text {
            return Err(Invalid::because("must not begin or end with white space"));
        }
        let text: Text<255> = text.parse()?;
        if text.is_empty() { Err(Invalid::because("must not be empty")) } else { Ok(Self(text.0)) }
    }
}

impl<'de> Deserialize<'de> for UserId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Where a profile stands, as the profile itself says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerificationStatus {
    /// Nothing has been checked.
    Unverified,
    /// Being checked.
    Pending,
    /// Decided: the person is who they say.
    Verified,
    /// Decided: refused.
    Rejected,
}

impl FromStr for VerificationStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "unverified" => Ok(Self::Unverified),
            "pending" => Ok(Self::Pending),
            "verified" => Ok(Self::Verified),
            "rejected" => Ok(Self::Rejected),
            _ => Err(Invalid::because("must be one of unverified, pending, verified, rejected")),
        }
    }
}

impl VerificationStatus {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Rejected => "rejected",
        }
    }

    /// Whether it is an outcome, after which a person can change nothing more.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Verified | Self::Rejected)
    }
}

/// A confidence in percent, 0 to 100, as AWS Rekognition gives it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Confidence(f64);

impl Confidence {
    /// The number.
    pub fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Confidence {
    type Error = Invalid;

    fn try_from(value: f64) -> Result<Self, Invalid> {
        if (0.0..=100.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(Invalid::because("must be a number from 0 to 100"))
        }
    }
}

impl FromStr for Confidence {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        text.trim()
            .parse::<f64>()
            .ok()
            .and_then(|value| Self::try_from(value).ok())
            .ok_or_else(|| Invalid::because("must be a number from 0 to 100"))
    }
}

impl<'de> Deserialize<'de> for Confidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(f64::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A calendar day, read from `YYYY-MM-DD`, which a time may follow, and written as `YYYY-MM-DD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Day(NaiveDate);

impl FromStr for Day {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        let day = text.split(['T', ' ']).next().unwrap_or_default();
        // chrono would take a sign and days of one digit as well.
        let plain = day.len() == 10 && day.starts_with(|first: char| first.is_ascii_digit()) && text.len() <= 40;
        day.parse().ok().filter(|_| plain).map(Self).ok_or_else(|| Invalid::because("must be a date as YYYY-MM-DD"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn record_ids_are_fifteen_lower_case_letters_and_digits() {
        assert!("abc123def456ghi".parse::<RecordId>().is_ok());
        for bad in
            ["", "abc", "abc123def456gh", "abc123def456ghij", "ABC123def456ghi", "abc123def456g/i", "abc123def456gé"]
        {
            assert!(bad.parse::<RecordId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_confidence_is_a_finite_percentage() {
        assert!("95.5".parse::<Confidence>().is_ok());
        for bad in ["", "abc", "-0.1", "100.1", "NaN", "inf", "1e400"] {
            assert!(bad.parse::<Confidence>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_day_is_a_real_one() {
        for good in ["1990-01-15", "1990-01-15T00:00:00Z", "1990-01-15 00:00:00.000Z", " 2000-02-29 "] {
            assert!(good.parse::<Day>().is_ok(), "{good}");
        }
        for bad in ["", "1990-1-5", "15/01/1990", "1990-02-30", "1990-13-01", "+1990-01-1", "1990-01-15x"] {
            assert!(bad.parse::<Day>().is_err(), "{bad}");
        }
        assert_eq!(serde_json::to_string(&"1990-01-15T10:00Z".parse::<Day>().unwrap()).unwrap(), "\"1990-01-15\"");
    }

    #[test]
    fn text_is_trimmed_bounded_and_free_of_control_characters() {
        assert_eq!("  héllo ".parse::<Text<5>>().unwrap().as_str(), "héllo");
        assert!("123456".parse::<Text<5>>().is_err());
        assert!("a\u{0}b".parse::<Text<5>>().is_err());
        assert!("a\nb".parse::<Text<5>>().is_err());
        assert!(serde_json::from_str::<Notes<9>>("\"a\\nb\\tc\"").is_ok());
        assert!(serde_json::from_str::<Notes<9>>("\"a\\u0000b\"").is_err());
    }
}
