//! `partners`: who has keys of their own.

use serde::Deserialize;
use serde_json::Value;

use super::filter::equals;
use super::session::optional_team;
use super::{Error, PocketBase};
use crate::types::{RecordId, Team};

/// What a partner's key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Calls from the partner's servers.
    Secret,
    /// Opening the hosted page.
    Publishable,
}

/// A partner, as found by one of its keys.
#[derive(Debug, Clone)]
pub struct Partner {
    /// The partner's record.
    pub id: RecordId,
    /// Whose records it sees.
    pub team: Option<Team>,
    /// Which of its keys was used.
    pub kind: KeyKind,
}

/// How the hosted page looks to a partner's people.
#[derive(Debug, Clone, Deserialize)]
pub struct PartnerLook {
    /// The partner's name.
    pub name: String,
    /// Its theme as it was stored: anything.
    pub theme: Value,
}

#[derive(Deserialize)]
struct Record {
    id: RecordId,
    #[serde(deserialize_with = "optional_team")]
    team: Option<Team>,
    secret_key_hash: String,
}

impl PocketBase {
    /// The active partner who has a key with this hash.
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

    /// How the hosted page looks: to the partner of this id, where it is one, else to the first of the team.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn partner_look(&self, partner: Option<&str>, team: Option<&Team>) -> Result<Option<PartnerLook>, Error> {
        // A token may name a partner that is no record, as its client is configured.
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
