//! Teams: the unit of data separation between partners (tenants).

use std::str::FromStr;

use serde::Serialize;

use super::Invalid;

/// A team: 1 to 64 characters of `A-Z a-z 0-9 _ - . :`. It decides which records a caller sees, so it is compared exactly.
///
/// Teams are part of PocketBase filters. PocketBase refuses some texts in filters even when they are quoted (`@request.`,
/// `@collection.`), so only plain characters are accepted.
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

/// Teams whose records a caller sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Teams {
    /// One team; or, with `None`, the records without a team.
    Only(Option<Team>),
    /// All teams, for clients with `all_teams`.
    All,
}
