//! `partners`: partners with API keys of their own, and their branding.

use serde::Deserialize;
use serde_json::Value;

use crate::pocketbase::client::{Error, PocketBase, equals, optional};
use crate::types::{RecordId, Team};

/// Kind of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// For calls from the partner's backend.
    Secret,
    /// For links that open the hosted page.
    Publishable,
}

/// A partner, found by one of its API keys.
#[derive(Debug, Clone)]
pub struct Partner {
    /// The partner's record.
    pub id: RecordId,
    /// The team whose records it sees.
    pub team: Option<Team>,
    /// Kind of the key that was used.
    pub kind: KeyKind,
}

/// A partner's name and theme on the hosted page.
#[derive(Debug, Clone, Deserialize)]
pub struct Branding {
    /// The partner's name.
    pub name: String,
    /// The theme as stored; not validated.
    pub theme: Value,
}

#[derive(Deserialize)]
struct Record {
    id: RecordId,
    #[serde(deserialize_with = "optional")]
    team: Option<Team>,
    secret_key_hash: String,
}

impl PocketBase {
    /// The active partner that has a key with this hash. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn partner_by_key_hash(&self, hash: &str) -> Result<Option<Partner>, Error> {
        let (secret, publishable) = (equals("secret_key_hash", hash), equals("publishable_key_hash", hash));
        let filter = format!("active=true && ({secret} || {publishable})");
        let record: Option<Record> = self.first("partners", &filter, "id,team,secret_key_hash").await?;
        Ok(record.map(|record| Partner {
            id: record.id,
            team: record.team,
            kind: if record.secret_key_hash == hash { KeyKind::Secret } else { KeyKind::Publishable },
        }))
    }

    /// Branding of the active partner with this id; without an id, of the team's oldest active partner. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn branding(&self, partner: Option<&str>, team: Option<&Team>) -> Result<Option<Branding>, Error> {
        // The partner_id of a token is configured freely for its client, and may be no record id.
        let partner: Option<RecordId> = partner.and_then(|partner| partner.parse().ok());
        let filter = match &partner {
            Some(partner) => equals("id", partner.as_str()),
            None => equals("team", team.map_or("", Team::as_str)),
        };
        let filter = format!("active=true && {filter}");
        let query =
            [("perPage", "1"), ("skipTotal", "1"), ("sort", "created"), ("filter", &*filter), ("fields", "name,theme")];
        Ok(self.list("partners", &query).await?.into_iter().next())
    }
}
