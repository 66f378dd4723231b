//! Being signed in: the account, and how long its token lasts.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::types::Team;

/// A token this close to its end is replaced before it is used.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// The account that the functions use.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// Its record's id.
    pub id: String,
    /// Its team; superusers have none.
    #[serde(default, deserialize_with = "optional_team")]
    pub team: Option<Team>,
    #[serde(default)]
    pub(super) role: String,
}

/// A team as collections hold it, where none is empty. One that is malformed is an error, and never no team.
pub(super) fn optional_team<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Team>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(D::Error::custom) }
}

/// A time of being signed in.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) token: String,
    pub(super) expires: SystemTime,
    pub(super) account: Account,
    pub(super) file_token: Option<(String, Instant)>,
}

impl Session {
    pub(super) fn new(token: String, account: Account) -> Self {
        Self { expires: expiry(&token), token, account, file_token: None }
    }
}

#[derive(Deserialize)]
pub(super) struct SignedIn {
    pub(super) token: String,
    pub(super) record: Account,
}

/// Whether a token that ends then can still be used now.
pub(super) fn is_current(expires: SystemTime) -> bool {
    SystemTime::now() + EXPIRY_MARGIN < expires
}

/// When a token of PocketBase's ends, by its own `exp`; unreadable ones are taken to have ended.
pub(super) fn expiry(token: &str) -> SystemTime {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let exp = jsonwebtoken::dangerous::insecure_decode::<Claims>(token).map_or(0, |token| token.claims.exp);
    UNIX_EPOCH.checked_add(Duration::from_secs(exp)).unwrap_or(UNIX_EPOCH)
}
