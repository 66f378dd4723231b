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

/// How the links of a partner to the hosted page are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkMode {
    /// Links are signed with the partner's link secret.
    Signed,
    /// Links need nothing but the publishable key. Signed links work as well.
    Open,
}

/// Secret with which a partner signs links. It is not shown in logs.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct LinkSecret(pub String);

impl std::fmt::Debug for LinkSecret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("LinkSecret")
    }
}

/// What a partner can use per UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DailyBudgets {
    /// Checks.
    pub checks: u64,
    /// People that links to the hosted page create.
    pub people: u64,
    /// Bytes of announced uploads.
    pub upload_bytes: u64,
}

impl Default for DailyBudgets {
    /// 10,000 checks and people; 500 GB of uploads, which is 50 MB a check.
    fn default() -> Self {
        Self { checks: 10_000, people: 10_000, upload_bytes: 500_000_000_000 }
    }
}

/// Settings of a partner that its callers need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartnerSettings {
    /// How its links are trusted.
    pub link_mode: LinkMode,
    /// Its link secret; `None` when it has none.
    pub link_secret: Option<LinkSecret>,
    /// Its budgets.
    pub budgets: DailyBudgets,
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
    /// Its settings.
    pub settings: PartnerSettings,
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
    #[serde(flatten)]
    settings: SettingsRecord,
}

/// Fields of [`PartnerSettings`].
#[derive(Deserialize)]
struct SettingsRecord {
    link_mode: String,
    link_secret: LinkSecret,
    daily_checks: u64,
    daily_people: u64,
    daily_upload_megabytes: u64,
}

const SETTINGS_FIELDS: &str = "link_mode,link_secret,daily_checks,daily_people,daily_upload_megabytes";

impl From<SettingsRecord> for PartnerSettings {
    fn from(record: SettingsRecord) -> Self {
        let default = DailyBudgets::default();
        let given = |budget: u64, default: u64| if budget == 0 { default } else { budget };
        Self {
            // A partner without a mode, such as one that was added by hand, has signed links.
            link_mode: if record.link_mode == "open" { LinkMode::Open } else { LinkMode::Signed },
            link_secret: Some(record.link_secret).filter(|secret| !secret.0.is_empty()),
            budgets: DailyBudgets {
                checks: given(record.daily_checks, default.checks),
                people: given(record.daily_people, default.people),
                upload_bytes: given(record.daily_upload_megabytes.saturating_mul(1_000_000), default.upload_bytes),
            },
        }
    }
}

impl PocketBase {
    /// The active partner that has a key with this hash. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn partner_by_key_hash(&self, hash: &str) -> Result<Option<Partner>, Error> {
        let (secret, publishable) = (equals("secret_key_hash", hash), equals("publishable_key_hash", hash));
        let filter = format!("active=true && ({secret} || {publishable})");
        let fields = format!("id,team,secret_key_hash,{SETTINGS_FIELDS}");
        let record: Option<Record> = self.first("partners", &filter, &fields).await?;
        Ok(record.map(|record| Partner {
            id: record.id,
            team: record.team,
            kind: if record.secret_key_hash == hash { KeyKind::Secret } else { KeyKind::Publishable },
            settings: record.settings.into(),
        }))
    }

    /// Settings of the active partner with this id. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn partner_settings(&self, id: &RecordId) -> Result<Option<PartnerSettings>, Error> {
        let filter = format!("active=true && {}", equals("id", id.as_str()));
        let record: Option<SettingsRecord> = self.first("partners", &filter, SETTINGS_FIELDS).await?;
        Ok(record.map(Into::into))
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
