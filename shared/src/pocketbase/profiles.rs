//! `profiles`: one record per person, and the view that shows each with what was last said of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::batch::Write;
use super::filter::{equals, visible_to};
use super::session::optional_team;
use super::{Error, Payload, PocketBase, RecordFile, UploadUse, Writer, typed};
use crate::types::{Confidence, RecordId, Team, Teams, Text, UserId, VerificationStatus};

/// What makes a profile one person's: unique in `profiles`, made when the profile is, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DedupeKey(String);

impl DedupeKey {
    /// One record per team and `userID`.
    pub fn of_user(team: Option<&Team>, user: &UserId) -> Self {
        Self::hashed("user", team, [user.as_str()])
    }

    /// One record per team and document, its parts compared trimmed and case-folded.
    pub fn of_document(team: Option<&Team>, document_type: &str, number: &str, country: &str) -> Self {
        let folded = [document_type, number, country].map(|part| caseless::default_case_fold_str(part.trim()));
        Self::hashed("document", team, folded.each_ref().map(String::as_str))
    }

    // Hashed, so that it has one length whatever it is made of, and needs no escaping in a filter. No part can hold a NUL.
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

/// A profile to be made. Absent fields are stored empty.
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
    /// A profile of which no more is known than whose it is and how to reach the person.
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

/// Whether a profile was made or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reused {
    /// It is new.
    No,
    /// It was there, and nothing in it has changed.
    Yes,
}

/// A profile with its newest status history entry and verification.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct ProfileOverview {
    pub id: RecordId,
    #[serde(deserialize_with = "optional_team")]
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
    /// How many verification records flow tokens have made today.
    flow_attempts_today: u32,
    /// How many sessions of Face Liveness flow tokens have made today.
    flow_sessions_today: u32,
    /// How many uploads flow tokens have announced today.
    flow_uploads_today: u32,
    /// How many checks flow tokens have asked for today.
    flow_checks_today: u32,
    /// The partner's own name for the person.
    pub user_id: String,
    /// The UTC day that PocketBase counts in, as `YYYY-MM-DD`.
    today: String,
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
    /// What was last recorded of the profile, else its own status.
    pub fn status(&self) -> &str {
        if self.latest_status.is_empty() { &self.verification_status } else { &self.latest_status }
    }

    /// The newest verification, if there is any.
    pub fn verification(&self) -> Option<&VerificationSummary> {
        (!self.verification.id.is_empty()).then_some(&self.verification)
    }

    /// What the verifications are called, `<UTC day>#<n>`, that flow tokens may still make today. Two requests that take the same
    /// name meet in a unique index, which lets one have it: the other takes the next, and no race gets past the limit.
    pub fn verifications_left(&self, limit: u32) -> impl Iterator<Item = String> {
        names(&self.today, self.flow_attempts_today, limit)
    }

    /// The same for sessions of Face Liveness.
    pub fn sessions_left(&self, limit: u32) -> impl Iterator<Item = String> {
        names(&self.today, self.flow_sessions_today, limit)
    }

    /// The same for uploads.
    pub fn uploads_left(&self, limit: u32) -> impl Iterator<Item = String> {
        names(&self.today, self.flow_uploads_today, limit)
    }

    /// The same for checks, of which some may have been given back: their names come last.
    pub fn checks_left(&self, limit: u32) -> impl Iterator<Item = String> {
        let given_back = if self.flow_checks_today < limit { self.flow_checks_today } else { 0 };
        names(&self.today, self.flow_checks_today, limit).chain(names(&self.today, 0, given_back))
    }

    /// Whether an outcome stands, in the profile itself or as the last word of its history.
    pub fn is_decided(&self) -> bool {
        is_decided(&self.verification_status, &self.latest_status)
    }
}

fn names(day: &str, used: u32, limit: u32) -> impl Iterator<Item = String> {
    (used + 1..=limit).map(move |number| format!("{day}#{number}"))
}

/// Whether an outcome stands, in a profile's own status or as the last word of its history.
pub(super) fn is_decided(verification_status: &str, latest_status: &str) -> bool {
    // A history says what its partner writes, `Verified` too.
    let decided = |status: &str| status.to_lowercase().parse().is_ok_and(VerificationStatus::is_decided);
    decided(verification_status) || decided(latest_status)
}

/// What a request changes in a profile; all of it in one write.
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
    /// Makes a profile, or finds the one that its dedupe key already names. However many ask at once, one record is made and
    /// one of them is told that it is new: the unique index decides.
    ///
    /// One call for a new profile, two for a known one.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn create_profile(&self, profile: &NewProfile) -> Result<(RecordId, Reused), Error> {
        #[derive(Deserialize)]
        struct Found {
            id: RecordId,
        }
        let fields = serde_json::to_value(profile).map_err(|error| Error::BadAnswer(error.to_string()))?;
        match self.create::<Found>("profiles", Writer::Partner, Payload::Json(&fields)).await {
            Ok(made) => Ok((made.id, Reused::No)),
            Err(Error::NotUnique(field)) if field == "dedupe_key" => {
                let filter = equals("dedupe_key", &profile.dedupe_key.0);
                let found: Option<Found> = self.first("profiles", &filter, "id").await?;
                let found = found.ok_or_else(|| Error::BadAnswer("a profile that was there is gone".to_owned()))?;
                Ok((found.id, Reused::Yes))
            }
            Err(error) => Err(error),
        }
    }

    /// A profile that a caller sees, with what was last said of it. One call; `None` for one that does not exist and for
    /// another team's alike.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn profile_overview(&self, id: &RecordId, teams: &Teams) -> Result<Option<ProfileOverview>, Error> {
        self.first("profile_overview", &visible_to(teams, &equals("id", id.as_str())), "").await
    }

    /// Changes a profile and marks the uploads that its files come from as used, all at once or not at all. One call.
    ///
    /// # Errors
    /// [`Error::Refused`] for a flow token once the profile is decided, [`Error::UploadTaken`] when an upload has been stored before;
    /// else when PocketBase fails.
    pub async fn update_profile(
        &self,
        id: &RecordId,
        writer: Writer,
        changes: &ProfileChanges,
        uses: &[UploadUse],
    ) -> Result<ProfileRecord, Error> {
        let write = Write::update("profiles", id, writer, changes)?.with_files(&changes.files);
        typed(self.write(write, uses).await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_document_is_the_same_in_any_case_and_padding_and_another_in_another_team() {
        let team: Team = "a".parse().unwrap();
        let key = DedupeKey::of_document(Some(&team), "passport", "A123", "SG");
        assert_eq!(key, DedupeKey::of_document(Some(&team), " Passport", "a123 ", "sg"));
        assert_ne!(key, DedupeKey::of_document(None, "passport", "A123", "SG"));
        assert_ne!(key, DedupeKey::of_document(Some(&team), "passport", "A12", "3SG"));
        assert_eq!(DedupeKey::of_document(None, "x", "STRASSE", "y"), DedupeKey::of_document(None, "x", "straße", "y"));
    }

    #[test]
    fn a_user_is_compared_exactly_and_no_two_pairs_of_team_and_user_share_a_key() {
        let (a, ab): (Team, Team) = ("a".parse().unwrap(), "ab".parse().unwrap());
        let user = |text: &str| text.parse::<UserId>().unwrap();
        assert_ne!(DedupeKey::of_user(Some(&a), &user("bc")), DedupeKey::of_user(Some(&ab), &user("c")));
        assert_ne!(DedupeKey::of_user(Some(&a), &user("x")), DedupeKey::of_user(Some(&a), &user("X")));
    }
}
