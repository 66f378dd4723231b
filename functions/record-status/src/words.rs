//! Words that are accepted as the status of a history entry.

use shared::env::{ConfigError, Env};
use shared::types::STATUS_WORDS;

/// The most words of `EXTRA_STATUSES`.
const MAX_EXTRA: usize = 50;

/// The words that are accepted as the new status of an entry.
#[derive(Debug, Clone, Default)]
pub struct StatusWords {
    extra: Vec<String>,
}

impl StatusWords {
    /// Reads `EXTRA_STATUSES`: further words, separated by commas; none by default. At most 50, each at most 64 characters.
    ///
    /// # Errors
    /// When there are too many, or one is too long.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        const NAME: &str = "EXTRA_STATUSES";
        let words = env.get(NAME).unwrap_or_default().split(',').map(|word| word.trim().to_lowercase());
        let extra: Vec<_> = words.filter(|word| !word.is_empty()).collect();
        if extra.len() > MAX_EXTRA || extra.iter().any(|word| word.chars().count() > 64) {
            return Err(ConfigError::malformed(NAME, "must have at most 50 words of at most 64 characters"));
        }
        Ok(Self { extra })
    }

    /// Whether a status is accepted, in any case.
    pub fn accepts(&self, status: &str) -> bool {
        let status = status.to_lowercase();
        self.all().any(|word| word == status)
    }

    /// All words, for error messages.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        STATUS_WORDS.into_iter().chain(self.extra.iter().map(String::as_str))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn words_are_accepted_in_any_case() {
        let words = StatusWords::from_env(&Env::from([("EXTRA_STATUSES", "Declined, on_hold")])).unwrap();
        for word in ["Pending", "IN_REVIEW", "verified", "declined", "On_Hold"] {
            assert!(words.accepts(word), "{word}");
        }
        assert!(!words.accepts("verifed") && !StatusWords::default().accepts("declined"));
        assert!(StatusWords::from_env(&Env::from([("EXTRA_STATUSES", &*"x".repeat(65))])).is_err());
    }
}
