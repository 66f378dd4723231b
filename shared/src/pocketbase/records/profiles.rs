//! `profiles`: one record per person, and the view that joins each with its newest histories.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::UploadUse;
use crate::pocketbase::client::{Error, PocketBase, RecordFile, Write, Writer, equals, optional, typed, visible_to};
use crate::types::{Confidence, RecordId, Team, Teams, Text, UserId, VerificationStatus};

/// Key that identifies a person, so that an existing profile is reused. Unique in `profiles`; set on creation, and replaced
/// only by redaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DedupeKey(String);

impl DedupeKey {
    /// Key of a team and a `userID`.
    pub fn of_user(team: Option<&Team>, user: &UserId) -> Self {
        Self::hashed("user", team, [user.as_str()])
    }

    /// Key of a team and a document. The parts of the document are trimmed and case-folded.
    pub fn of_document(team: Option<&Team>, document_type: &str, number: &str, country: &str) -> Self {
        let folded = [document_type, number, country].map(|part| caseless::default_case_fold_str(part.trim()));
        Self::hashed("document", team, folded.each_ref().map(String::as_str))
    }

    /// A hash has a fixed length and needs no escaping in a filter. No part can contain NUL, so NUL separates the parts.
    fn hashed<const N: usize>(kind: &str, team: Option<&Team>, parts: [&str; N]) -> Self {
        let mut hash = Sha256::new();
        hash.update(team.map_or("", Team::as_str));
        for part in parts {
            hash.update("\0");
            hash.update(part);
        }
        let hex: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{kind}:{hex}"))
    }
}

/// A profile to be created. Absent fields are stored empty.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct NewProfile {
    pub dedupe_key: DedupeKey,
    pub team: Option<Team>,
    pub user_id: Option<UserId>,
    pub name: Option<Text<255>>,
    pub document_type: Option<Text<64>>,
    pub document_number: Option<Text<128>>,
    pub country: Option<Text<128>>,
    pub phone_number: Option<Text<64>>,
    pub email: Option<Text<254>>,
    pub security_level: Option<Text<64>>,
    pub gender: Option<Text<32>>,
    pub ip_address: Option<Text<45>>,
    pub language: Option<Text<35>>,
    pub verification_status: VerificationStatus,
}

impl NewProfile {
    /// A profile of a user with contact data only.
    pub fn of_user(team: Option<Team>, user: UserId, email: Option<Text<254>>, phone_number: Option<Text<64>>) -> Self {
        Self {
            dedupe_key: DedupeKey::of_user(team.as_ref(), &user),
            team,
            user_id: Some(user),
            name: None,
            document_type: None,
            document_number: None,
            country: None,
            phone_number,
            email,
            security_level: None,
            gender: None,
            ip_address: None,
            language: None,
            verification_status: VerificationStatus::Unverified,
        }
    }
}

/// Outcome of a request to create a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreatedProfile {
    /// The profile was created.
    Created(RecordId),
    /// The profile existed, and was not changed.
    Existing(RecordId),
}

impl CreatedProfile {
    /// Its id.
    pub fn into_id(self) -> RecordId {
        match self {
            Self::Created(id) | Self::Existing(id) => id,
        }
    }
}

/// A profile with its newest status history entry and verification.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct ProfileOverview {
    pub id: RecordId,
    #[serde(deserialize_with = "optional")]
    pub team: Option<Team>,
    pub name: String,
    pub document_type: String,
    pub document_number: String,
    pub country: String,
    pub language: String,
    pub security_level: String,
    pub verification_status: String,
    pub created: String,
    pub document_front: String,
    pub document_back: String,
    pub facial_photo: String,
    latest_status: String,
    #[serde(flatten)]
    verification: VerificationSummary,
    /// Verifications by flow token today.
    pub flow_attempts_today: u32,
    /// Face Liveness sessions by flow token today.
    pub flow_sessions_today: u32,
    /// Uploads by flow token today.
    pub flow_uploads_today: u32,
    /// Checks by flow token today.
    pub flow_checks_today: u32,
    /// The partner's identifier of the person.
    pub user_id: String,
    /// The UTC day of these counts, as `YYYY-MM-DD`.
    pub today: String,
}

/// The newest verification of a profile.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct VerificationSummary {
    #[serde(rename = "verification_id")]
    pub id: String,
    #[serde(rename = "verification_record_status")]
    pub status: String,
    pub liveness_session_id: String,
    pub liveness_confidence: f64,
    pub liveness_status: String,
    #[serde(rename = "verification_document_type")]
    pub document_type: String,
    #[serde(rename = "verification_name")]
    pub name: String,
    #[serde(rename = "verification_document_number")]
    pub document_number: String,
    #[serde(rename = "verification_country")]
    pub country: String,
    #[serde(rename = "verification_created")]
    pub created: String,
    #[serde(rename = "verification_updated")]
    pub updated: String,
}

impl ProfileOverview {
    /// The newest entry of the status history, else the profile's own status.
    pub fn status(&self) -> &str {
        if self.latest_status.is_empty() { &self.verification_status } else { &self.latest_status }
    }

    /// The newest verification, if there is any.
    pub fn verification(&self) -> Option<&VerificationSummary> {
        (!self.verification.id.is_empty()).then_some(&self.verification)
    }

    /// Whether the profile is verified or rejected, by its own status or by the newest entry of its status history.
    pub fn is_decided(&self) -> bool {
        is_decided(&self.verification_status, &self.latest_status)
    }
}

/// Whether a profile is verified or rejected, by its own status or by the newest entry of its status history.
pub(super) fn is_decided(verification_status: &str, latest_status: &str) -> bool {
    // The statuses that partners write to the history can be in upper or lower case.
    let decided = |status: &str| status.to_lowercase().parse().is_ok_and(VerificationStatus::is_decided);
    decided(verification_status) || decided(latest_status)
}

/// Changes of a profile, made in one write.
#[derive(Debug, Default, Serialize)]
#[serde(default)]
#[allow(missing_docs)] // The names are the collection's.
pub struct ProfileChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_status: Option<VerificationStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_type: Option<Text<64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_number: Option<Text<128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_name: Option<Text<255>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Text<128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_session_id: Option<Text<128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_confidence: Option<Confidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_status: Option<Text<64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_result: Option<Value>,
    /// Files by field.
    #[serde(skip)]
    pub files: Vec<(&'static str, RecordFile)>,
}

/// A profile after a change.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct ProfileRecord {
    pub id: RecordId,
    pub verification_status: String,
    pub document_type: String,
    pub document_number: String,
    pub document_name: String,
    pub country: String,
    pub document_front: String,
    pub document_back: String,
    pub facial_photo: String,
    pub facial_video: String,
    pub updated: String,
}

impl PocketBase {
    /// Creates a profile, or finds the one with the same dedupe key. A unique index ensures that only one of several concurrent
    /// requests creates the record. One call for a new profile, two for an existing one.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn create_profile(&self, profile: &NewProfile) -> Result<CreatedProfile, Error> {
        #[derive(Deserialize)]
        struct Found {
            id: RecordId,
        }
        match self.create::<Found>("profiles", Writer::Partner, profile).await {
            Ok(created) => Ok(CreatedProfile::Created(created.id)),
            Err(Error::NotUnique(field)) if field == "dedupe_key" => {
                let filter = equals("dedupe_key", &profile.dedupe_key.0);
                let found: Option<Found> = self.first("profiles", &filter, "id").await?;
                let found = found.ok_or_else(|| Error::BadAnswer("an existing profile is gone".to_owned()))?;
                Ok(CreatedProfile::Existing(found.id))
            }
            Err(error) => Err(error),
        }
    }

    /// A profile that a caller sees, with its newest histories; `None` when it does not exist or belongs to another team. One
    /// call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn profile_overview(&self, id: &RecordId, teams: &Teams) -> Result<Option<ProfileOverview>, Error> {
        self.first("profile_overview", &visible_to(teams, &equals("id", id.as_str())), "").await
    }

    /// Changes a profile and marks the uploads that its files come from as used, in one transaction. One call.
    ///
    /// # Errors
    /// [`Error::Refused`] for a flow token once the profile is decided, [`Error::UploadConflict`] when an upload is stored
    /// already; else when PocketBase fails.
    pub async fn update_profile(
        &self,
        id: &RecordId,
        writer: Writer,
        changes: &ProfileChanges,
        uses: &[UploadUse],
    ) -> Result<ProfileRecord, Error> {
        let write = Write::update("profiles", id, writer, changes)?.with_files(&changes.files);
        typed(self.write_using(write, uses).await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_of_a_document_ignores_case_and_padding_and_depends_on_the_team() {
        let team: Team = "a".parse().unwrap();
        let key = DedupeKey::of_document(Some(&team), "passport", "A123", "SG");
        assert_eq!(key, DedupeKey::of_document(Some(&team), " Passport", "a123 ", "sg"));
        assert_ne!(key, DedupeKey::of_document(None, "passport", "A123", "SG"));
        assert_ne!(key, DedupeKey::of_document(Some(&team), "passport", "A12", "3SG"));
        assert_eq!(DedupeKey::of_document(None, "x", "STRASSE", "y"), DedupeKey::of_document(None, "x", "straße", "y"));
    }

    #[test]
    fn the_key_of_a_user_is_case_sensitive_and_unique_per_team_and_user() {
        let (a, ab): (Team, Team) = ("a".parse().unwrap(), "ab".parse().unwrap());
        let user = |text: &str| text.parse::<UserId>().unwrap();
        assert_ne!(DedupeKey::of_user(Some(&a), &user("bc")), DedupeKey::of_user(Some(&ab), &user("c")));
        assert_ne!(DedupeKey::of_user(Some(&a), &user("x")), DedupeKey::of_user(Some(&a), &user("X")));
    }
}
