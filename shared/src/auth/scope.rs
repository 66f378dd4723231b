//! OAuth scopes.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// An OAuth scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // The names say it.
pub enum Scope {
    HealthRead,
    ProfilesRead,
    ProfilesWrite,
    ProfilesDelete,
    StatusHistoryWrite,
    VerificationHistoryWrite,
    FaceLivenessRead,
    FaceLivenessWrite,
    DocumentsAnalyze,
    AwsCredentialsRead,
    SettingsRead,
    UploadsWrite,
    WebhooksRead,
    WebhooksWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 14] = [
        Self::HealthRead,
        Self::ProfilesRead,
        Self::ProfilesWrite,
        Self::ProfilesDelete,
        Self::StatusHistoryWrite,
        Self::VerificationHistoryWrite,
        Self::FaceLivenessRead,
        Self::FaceLivenessWrite,
        Self::DocumentsAnalyze,
        Self::AwsCredentialsRead,
        Self::SettingsRead,
        Self::UploadsWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
    ];

    /// Scopes of a secret API key.
    pub const OF_SECRET_KEYS: &[Self] = &[
        Self::ProfilesRead,
        Self::ProfilesWrite,
        Self::StatusHistoryWrite,
        Self::VerificationHistoryWrite,
        Self::UploadsWrite,
        Self::WebhooksRead,
        Self::WebhooksWrite,
    ];

    /// Scopes of a flow token that was issued for a publishable key. Submitting a check needs no scope.
    pub const OF_PAGE_TOKENS: &[Self] = &[Self::UploadsWrite];

    /// Scopes of a flow token, for its own profile.
    pub const OF_FLOW_TOKENS: &[Self] = &[
        Self::ProfilesRead,
        Self::ProfilesWrite,
        Self::StatusHistoryWrite,
        Self::VerificationHistoryWrite,
        Self::FaceLivenessRead,
        Self::FaceLivenessWrite,
        Self::DocumentsAnalyze,
        Self::AwsCredentialsRead,
        Self::SettingsRead,
        Self::UploadsWrite,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HealthRead => "health:read",
            Self::ProfilesRead => "profiles:read",
            Self::ProfilesWrite => "profiles:write",
            Self::ProfilesDelete => "profiles:delete",
            Self::StatusHistoryWrite => "status-history:write",
            Self::VerificationHistoryWrite => "verification-history:write",
            Self::FaceLivenessRead => "face-liveness:read",
            Self::FaceLivenessWrite => "face-liveness:write",
            Self::DocumentsAnalyze => "documents:analyze",
            Self::AwsCredentialsRead => "aws-credentials:read",
            Self::SettingsRead => "settings:read",
            Self::UploadsWrite => "uploads:write",
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
        }
    }

    /// Names of scopes, separated by spaces as OAuth writes them.
    pub fn join(scopes: &[Self]) -> String {
        scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" ")
    }
}

impl FromStr for Scope {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name).ok_or(())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(|()| D::Error::custom("is not a scope"))
    }
}
