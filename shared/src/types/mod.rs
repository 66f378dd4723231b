//! Validated types that input is parsed into, so that no handler works with an unchecked value.

mod day;
mod id;
mod number;
mod status;
mod team;
mod text;

pub use day::Day;
pub use id::{RecordId, SessionId};
pub use number::{Confidence, Decimal};
pub use status::VerificationStatus;
pub use team::{Team, Teams};
pub use text::{Notes, Text, UserId};

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

deserialize_from_text!(RecordId, SessionId, Team, UserId);
