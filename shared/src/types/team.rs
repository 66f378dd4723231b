//! Teams: the unit of data separation between partners.

use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::Invalid;

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
            Err(Invalid::new("must be 1 to 64 letters, digits or _ - . :"))
        }
    }
}

impl<'de> Deserialize<'de> for Team {
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
