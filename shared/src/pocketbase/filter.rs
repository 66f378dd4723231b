//! PocketBase filter expressions.

use crate::types::Teams;

/// `field = value`, with the value as a JSON string, which PocketBase reads exactly. Only ids, hashes and teams come here,
/// and their types let nothing in that would need escaping: this is the second line of defence.
pub(super) fn equals(field: &str, value: &str) -> String {
    format!("{field}={}", serde_json::Value::from(value))
}

/// `filter`, among the records that a caller sees.
pub(super) fn visible_to(teams: &Teams, filter: &str) -> String {
    match teams {
        Teams::All => filter.to_owned(),
        Teams::Only(team) => {
            let team = team.as_ref().map_or("", |team| team.as_str());
            format!("{filter} && {}", equals("team", team))
        }
    }
}
