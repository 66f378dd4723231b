//! Session of the service account.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use super::fields::optional;
use crate::types::Team;

/// A token that expires within this time is replaced before its use.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);

/// The account that the functions sign in as.
#[derive(Debug, Clone, Deserialize)]
pub struct Account {
    /// Its record's id.
    pub id: String,
    /// Its team; superusers have none.
    #[serde(default, deserialize_with = "optional")]
    pub team: Option<Team>,
    #[serde(default)]
    pub(super) role: String,
}

/// A session: the account, its token, and a token for files.
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

/// Answer to a sign-in.
#[derive(Deserialize)]
pub(super) struct SignedIn {
    pub(super) token: String,
    pub(super) record: Account,
}

/// Whether a token with this expiry can still be used.
pub(super) fn is_current(expires: SystemTime) -> bool {
    SystemTime::now() + EXPIRY_MARGIN < expires
}

/// Expiry of a PocketBase token, by its `exp`. An unreadable token counts as expired.
pub(super) fn expiry(token: &str) -> SystemTime {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let exp = jsonwebtoken::dangerous::insecure_decode::<Claims>(token).map_or(0, |token| token.claims.exp);
    UNIX_EPOCH.checked_add(Duration::from_secs(exp)).unwrap_or(UNIX_EPOCH)
}
