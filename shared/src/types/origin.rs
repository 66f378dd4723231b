//! Origin of a flow token.

use serde::{Deserialize, Serialize};

/// Who opened the link that a flow token came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The partner's backend created the profile and the link.
    Backend,
    /// A link that the partner signed.
    Signed,
    /// A link with nothing but a publishable key, which anyone can make who has seen one.
    Open,
}

impl Origin {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Signed => "signed",
            Self::Open => "open",
        }
    }
}
