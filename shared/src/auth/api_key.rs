//! API keys: the static keys of `VALID_API_KEYS`, and the keys of partners, whose hashes PocketBase stores.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{Caller, Error, Kind, Scope};
use crate::cache::Cache;
use crate::env::{ConfigError, Env};
use crate::pocketbase::PocketBase;
use crate::pocketbase::records::KeyKind;
use crate::types::{Team, Teams, hex};

/// Prefix of a partner's secret key.
pub const KEY_PREFIX_SECRET: &str = "sk_";

/// Prefix of a partner's publishable key.
pub const KEY_PREFIX_PUBLISHABLE: &str = "pk_";

/// The longest key that is checked, in bytes.
const MAX_KEY: usize = 256;

type Hash = [u8; 32];

/// Hash of an API key as stored in `partners`: SHA-256 in lower-case hexadecimal. Keys are random and need no slow hash.
pub fn hash_api_key(key: &str) -> String {
    hex(sha256(key))
}

/// Compares two secrets in constant time, also for different lengths.
pub fn is_same_secret(left: &str, right: &str) -> bool {
    sha256(left).ct_eq(&sha256(right)).into()
}

fn sha256(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Authenticates API keys.
pub(super) struct ApiKeys {
    /// Hashes of `VALID_API_KEYS`, comma separated, each at least 16 characters.
    static_keys: Vec<Hash>,
    /// `DEFAULT_TEAM_ID`: the team of callers with a static key.
    team: Option<Team>,
    /// Callers by the hash of a partner's key. A revoked key works for as long as it is cached.
    cache: Cache<Hash, Caller>,
}

impl ApiKeys {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let keys = env.get("VALID_API_KEYS").unwrap_or_default().split(',').map(str::trim);
        let keys: Vec<_> = keys.filter(|key| !key.is_empty()).collect();
        if keys.iter().any(|key| key.len() < 16) {
            return Err(ConfigError::malformed("VALID_API_KEYS", "has a key shorter than 16 characters"));
        }
        let static_keys = keys.into_iter().map(sha256).collect();
        Ok(Self { static_keys, team: env.parse("DEFAULT_TEAM_ID")?, cache: Cache::default() })
    }

    /// Authenticates a key. One call of PocketBase for a partner's key that is not cached.
    pub(super) async fn authenticate(&self, key: &str, pocketbase: &PocketBase) -> Result<Caller, Error> {
        if key.len() > MAX_KEY {
            return Err(Error::InvalidKey);
        }
        let hash = sha256(key);
        if self.static_keys.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&hash)).into() {
            let mut caller = caller(KeyKind::Secret, Teams::Only(self.team.clone()), None);
            // The hash as subject separates the uploads of different static keys.
            caller.subject = hex(hash);
            return Ok(caller);
        }
        // Only keys with a partner's prefix are looked up in PocketBase.
        if !key.starts_with(KEY_PREFIX_SECRET) && !key.starts_with(KEY_PREFIX_PUBLISHABLE) {
            return Err(Error::InvalidKey);
        }
        if let Some(caller) = self.cache.get(&hash) {
            return Ok(caller);
        }
        let partner = pocketbase.partner_by_key_hash(&hex(hash)).await?.ok_or(Error::InvalidKey)?;
        let mut caller = caller(partner.kind, Teams::Only(partner.team), Some(partner.id.to_string()));
        caller.settings = Some(Arc::new(partner.settings));
        self.cache.insert(hash, caller.clone());
        Ok(caller)
    }
}

fn caller(key: KeyKind, teams: Teams, partner_id: Option<String>) -> Caller {
    // A publishable key is public. It opens the hosted page and has no scope.
    let (kind, scopes) = match key {
        KeyKind::Secret => (Kind::SecretKey, Scope::OF_SECRET_KEYS),
        KeyKind::Publishable => (Kind::PublishableKey, &[][..]),
    };
    Caller { kind, scopes: scopes.to_vec(), teams, subject: String::new(), client_id: None, partner_id, settings: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_static_key_is_refused() {
        assert!(ApiKeys::from_env(&Env::from([("VALID_API_KEYS", "short")])).is_err());
    }
}
