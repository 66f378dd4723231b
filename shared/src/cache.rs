//! Cache of an execution environment, whose entries expire.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an entry is used: a change in PocketBase takes effect within this time.
const TTL: Duration = Duration::from_secs(60);

/// The most entries. A full cache is emptied.
const MAX_ENTRIES: usize = 1_000;

/// Values by key, each for 60 s after it was inserted.
pub struct Cache<K, V>(Mutex<HashMap<K, (Instant, V)>>);

impl<K, V> Default for Cache<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    /// The value of a key, if it was inserted within the last 60 s.
    pub fn get(&self, key: &K) -> Option<V> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(key).filter(|(since, _)| since.elapsed() < TTL).map(|(_, value)| value.clone())
    }

    /// Inserts a value.
    pub fn insert(&self, key: K, value: V) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_ENTRIES {
            entries.clear();
        }
        entries.insert(key, (Instant::now(), value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_cache_is_emptied() {
        let cache = Cache::default();
        for key in 0..=MAX_ENTRIES {
            cache.insert(key, key);
        }
        assert_eq!((cache.get(&0), cache.get(&MAX_ENTRIES)), (None, Some(MAX_ENTRIES)));
    }
}
