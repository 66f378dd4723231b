//! Validated types that input is parsed into, so that no handler works with an unchecked value.

mod budget;
mod day;
mod hex;
mod id;
mod number;
mod origin;
mod status;
mod team;
mod text;
mod user_id;

pub use budget::Budget;
pub use day::Day;
pub use hex::hex;
pub use id::{RecordId, SessionId};
pub use number::{Confidence, Decimal};
pub use origin::Origin;
pub use status::{STATUS_WORDS, VerificationStatus, leaves_open};
pub use team::{Team, Teams};
pub use text::{Notes, Text};
pub use user_id::UserId;

/// Reason why a value was refused, in words for the caller. It does not repeat the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Deserialises types from text that they parse.
macro_rules! deserialize_from_text {
    ($($parsed:ty),+) => {$(
        impl<'de> serde::Deserialize<'de> for $parsed {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )+};
}

deserialize_from_text!(Day, RecordId, SessionId, Team, UserId);
