//! API keys: the static ones of `VALID_API_KEYS`, and those of partners, which PocketBase holds hashed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Caller, Kind, Scope};
use crate::config::ApiKeySettings;
use crate::http::ApiError;
use crate::pocketbase::{KeyKind, PocketBase};
use crate::types::Teams;

/// What a partner's secret key begins with.
pub const KEY_PREFIX_SECRET: &str = "sk_";

/// What a partner's publishable key begins with.
pub const KEY_PREFIX_PUBLISHABLE: &str = "pk_";

/// The longest key that is looked at, in bytes.
const MAX_KEY: usize = 256;

/// How long a partner key is remembered: a revoked one works for no longer than this.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many partner keys a process remembers.
const MAX_REMEMBERED: usize = 1_000;

type Hash = [u8; 32];

/// Lower-case hexadecimal SHA-256 of a key, as `partners` stores it. The keys are random, so nothing slower is needed.
pub fn hash_api_key(key: &str) -> String {
    hex(&sha256(key))
}

/// Whether two secrets are the same, in a time that does not depend on where they differ or on their lengths.
pub fn same_secret(left: &str, right: &str) -> bool {
    sha256(left).ct_eq(&sha256(right)).into()
}

fn sha256(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Judges API keys.
pub(super) struct ApiKeys {
    settings: ApiKeySettings,
    fixed: Vec<Hash>,
    remembered: Mutex<HashMap<Hash, (Instant, Caller)>>,
}

impl ApiKeys {
    pub(super) fn new(settings: ApiKeySettings) -> Self {
        let fixed = settings.keys.iter().map(|key| sha256(key)).collect();
        Self { settings, fixed, remembered: Mutex::default() }
    }

    pub(super) async fn judge(&self, key: &str, pocketbase: &PocketBase) -> Result<Caller, ApiError> {
        if key.len() > MAX_KEY {
            return Err(ApiError::invalid_api_key());
        }
        let hash = sha256(key);
        if self.fixed.iter().fold(Choice::from(0), |found, fixed| found | fixed.ct_eq(&hash)).into() {
            let mut caller = caller(KeyKind::Secret, Teams::Only(self.settings.team.clone()), None);
            // What one static key uploads is not another's.
            caller.subject = hex(&hash);
            return Ok(caller);
        }
        // Only what looks like a partner's key is worth a question to PocketBase.
        if !key.starts_with(KEY_PREFIX_SECRET) && !key.starts_with(KEY_PREFIX_PUBLISHABLE) {
            return Err(ApiError::invalid_api_key());
        }
        if let Some(caller) = self.recall(&hash) {
            return Ok(caller);
        }
        let partner = pocketbase.partner_by_key_hash(&hex(&hash)).await?.ok_or_else(ApiError::invalid_api_key)?;
        let caller = caller(partner.kind, Teams::Only(partner.team), Some(partner.id.to_string()));
        self.remember(hash, caller.clone());
        Ok(caller)
    }

    fn recall(&self, hash: &Hash) -> Option<Caller> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.get(hash).filter(|(since, _)| since.elapsed() < REMEMBERED).map(|(_, caller)| caller.clone())
    }

    fn remember(&self, hash: Hash, caller: Caller) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(hash, (Instant::now(), caller));
    }
}

fn caller(key: KeyKind, teams: Teams, partner_id: Option<String>) -> Caller {
    // A publishable key stands in a page that anyone can read: it opens that page, elsewhere it allows nothing.
    let (kind, scopes) = match key {
        KeyKind::Secret => (Kind::SecretKey, Scope::OF_SECRET_KEYS),
        KeyKind::Publishable => (Kind::PublishableKey, &[][..]),
    };
    Caller { kind, scopes: scopes.to_vec(), teams, subject: String::new(), client_id: None, partner_id }
}
