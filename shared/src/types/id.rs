//! Identifiers of PocketBase records and of AWS sessions.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::Invalid;

/// The id of a PocketBase record: 15 characters of `a-z` and `0-9`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct RecordId(String);

impl RecordId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A random id for a new record. PocketBase lets clients choose ids.
    pub fn random() -> Self {
        Self::of_bits(rand::random())
    }

    /// An id that is derived from parts by SHA-256: the same parts give the same id. A record with such an id exists once. The parts must
    /// not contain NUL.
    pub fn derived(parts: &[&str]) -> Self {
        let hash: [u8; 32] = Sha256::digest(parts.join("\0").as_bytes()).into();
        Self::of_bits(hash.iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte)))
    }

    /// The id of 75 bits.
    fn of_bits(mut bits: u128) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let id = (0..15).map(|_| {
            let letter = ALPHABET.get((bits & 31) as usize).copied().unwrap_or(b'a');
            bits >>= 5;
            char::from(letter)
        });
        Self(id.collect())
    }
}

impl FromStr for RecordId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if text.len() == 15 && plain { Ok(Self(text.to_owned())) } else { Err(Invalid::new("is not a record id")) }
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The id of a Face Liveness session at AWS: a UUID, kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let is_dash = |place: usize| matches!(place, 8 | 13 | 18 | 23);
        let fits = |(place, byte): (usize, u8)| if is_dash(place) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        if text.len() == 36 && text.bytes().enumerate().all(fits) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(Invalid::new("is not the id of a Face Liveness session"))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn record_ids_are_fifteen_lower_case_letters_and_digits() {
        assert!("abc123def456ghi".parse::<RecordId>().is_ok());
        for bad in
            ["", "abc", "abc123def456gh", "abc123def456ghij", "ABC123def456ghi", "abc123def456g/i", "abc123def456gé"]
        {
            assert!(bad.parse::<RecordId>().is_err(), "{bad}");
        }
    }
}
