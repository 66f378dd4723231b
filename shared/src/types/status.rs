//! Verification status of a profile.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Verification status of a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerificationStatus {
    /// Nothing has been checked.
    Unverified,
    /// A check or a review is in progress.
    Pending,
    /// Decided: the identity is confirmed.
    Verified,
    /// Decided: the identity is not confirmed.
    Rejected,
}

impl FromStr for VerificationStatus {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text {
            "unverified" => Ok(Self::Unverified),
            "pending" => Ok(Self::Pending),
            "verified" => Ok(Self::Verified),
            "rejected" => Ok(Self::Rejected),
            _ => Err(Invalid::new("must be one of unverified, pending, verified, rejected")),
        }
    }
}

impl VerificationStatus {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unverified => "unverified",
            Self::Pending => "pending",
            Self::Verified => "verified",
            Self::Rejected => "rejected",
        }
    }

    /// Whether the status is verified or rejected. Flow tokens can then no longer change the profile.
    pub fn is_decided(self) -> bool {
        matches!(self, Self::Verified | Self::Rejected)
    }
}

/// Words for the status of a profile in its history. `pending_review` is the earlier service's word for `in_review`.
pub const STATUS_WORDS: [&str; 8] = [
    "unverified",
    "pending",
    "in_review",
    "pending_review",
    "resubmission_requested",
    "verified",
    "rejected",
    "expired",
];

/// Whether a status of the history leaves the profile open to flow tokens. Every other word is a decision: `verified`, `rejected`, a
/// word of the partner's own, or one that an earlier version accepted ("declined"). No status leaves the profile open.
pub fn leaves_open(status: &str) -> bool {
    let status = status.to_lowercase();
    status.is_empty() || (STATUS_WORDS.contains(&status.as_str()) && !matches!(&*status, "verified" | "rejected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_decisions() {
        assert!(leaves_open("") && leaves_open("Expired") && leaves_open("resubmission_requested"));
        assert!(!leaves_open("declined") && !leaves_open("Rejected"));
    }
}
