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
