//! Budgets of a partner.

use serde::Serialize;

/// What a partner can use a limited amount of per UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Budget {
    /// Checks that are started.
    Checks,
    /// People that links to the hosted page create.
    People,
    /// Bytes of announced uploads.
    UploadBytes,
}

impl Budget {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checks => "checks",
            Self::People => "people",
            Self::UploadBytes => "upload_bytes",
        }
    }
}
