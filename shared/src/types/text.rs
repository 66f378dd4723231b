//! Bounded text.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Invalid;

/// A line of text of at most `MAX` characters, without control characters, trimmed. It may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Whether the text is empty.
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
            return Err(Invalid::new("must not contain control characters"));
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
    /// Whether the text is empty.
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

/// The text, if it has at most `max` characters.
fn at_most(max: usize, text: &str) -> Result<String, Invalid> {
    if text.chars().count() > max {
        Err(Invalid(format!("must be at most {max} characters")))
    } else {
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

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
