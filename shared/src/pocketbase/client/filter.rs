//! PocketBase filter expressions.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::fields::timestamp;
use crate::types::Teams;

/// `field = value`, with the value quoted as a JSON string, which PocketBase parses exactly. The values are ids, hashes, teams and
/// the like, whose characters need no escaping; quoting is a second line of defence.
pub(crate) fn equals(field: &str, value: &str) -> String {
    format!("{field}={}", Value::from(value))
}

/// `created` before a time.
pub(crate) fn created_before(time: DateTime<Utc>) -> String {
    format!("created<{}", Value::from(timestamp(time)))
}

/// A filter restricted to the records that a caller sees.
pub(crate) fn visible_to(teams: &Teams, filter: &str) -> String {
    match teams {
        Teams::All => filter.to_owned(),
        Teams::Only(team) => {
            let team = team.as_ref().map_or("", |team| team.as_str());
            format!("{filter} && {}", equals("team", team))
        }
    }
}
