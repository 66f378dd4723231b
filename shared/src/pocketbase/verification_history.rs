//! `verification_history`: each time a person was checked, with the files of that check. Records are only ever added.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::batch::Write;
use super::filter::{equals, visible_to};
use super::profiles::is_decided;
use super::session::optional_team;
use super::{Error, PocketBase, RecordFile, UploadUse, Writer, typed};
use crate::types::{Confidence, Day, RecordId, Team, Teams, Text};

/// A record to be added, its files aside.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct NewVerification {
    pub profile: RecordId,
    pub status: &'static str,
    pub liveness_session_id: Text<128>,
    pub liveness_confidence: Confidence,
    pub liveness_status: Text<64>,
    pub liveness_verified: bool,
    /// The session that AWS was asked about; unique, so that it vouches for one verification.
    pub liveness_session: Option<RecordId>,
    pub document_type: Text<64>,
    pub document_number: Option<Text<128>>,
    pub country: Option<Text<128>>,
    pub name: Option<Text<255>>,
    pub address: Option<Text<1024>>,
    pub gender: Option<Text<32>>,
    pub date_of_birth: Option<Day>,
    pub fingerprint: Option<Value>,
    pub fingerprint_verdict: Option<Value>,
    pub ip_address: Option<String>,
    /// `<UTC day>#<n>` for a record made with a flow token: unique per profile, which makes a daily limit exact.
    pub flow_attempt: Option<String>,
}

/// A record that was added.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct VerificationRecord {
    pub id: RecordId,
    pub profile: RecordId,
    pub liveness_session_id: String,
    pub liveness_confidence: f64,
    pub liveness_status: String,
    pub document_type: String,
    pub document_number: String,
    pub country: String,
    pub name: String,
    pub address: String,
    pub facial_photo: String,
    pub document_front: String,
    pub document_back: String,
    pub created: String,
    pub updated: String,
}

/// Whose a verification is.
#[derive(Debug, Deserialize)]
pub struct VerificationOwner {
    /// The profile.
    pub profile: RecordId,
    /// Whose that is.
    #[serde(deserialize_with = "optional_team")]
    pub team: Option<Team>,
    /// The partner's own name for the person.
    pub user_id: String,
    verification_status: String,
    latest_status: String,
}

impl VerificationOwner {
    /// Whether that profile has been decided.
    pub fn is_decided(&self) -> bool {
        is_decided(&self.verification_status, &self.latest_status)
    }
}

impl PocketBase {
    /// Whose a verification is, among those that a caller sees. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn verification_owner(&self, id: &RecordId, teams: &Teams) -> Result<Option<VerificationOwner>, Error> {
        let filter = visible_to(teams, &equals("id", id.as_str()));
        self.first("verification_overview", &filter, "profile,team,user_id,verification_status,latest_status").await
    }

    /// Adds a record with its files, and marks the uploads that they come from as used, all at once or not at all. Files are passed
    /// through as they arrive, so that this process holds none of them. One call, and for files of the profile a token and a
    /// download each.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` or the `liveness_session` is taken, [`Error::Refused`] for a flow token once the profile is decided,
    /// [`Error::FileGone`] when a file of the profile has been replaced meanwhile, [`Error::UploadTaken`] when an upload has been
    /// stored before; else when PocketBase fails.
    pub async fn create_verification(
        &self,
        verification: &NewVerification,
        files: &[(&'static str, RecordFile)],
        uses: &[UploadUse],
    ) -> Result<VerificationRecord, Error> {
        let writer = if verification.flow_attempt.is_some() { Writer::Flow } else { Writer::Partner };
        let write = Write::create("verification_history", writer, verification)?.with_files(files);
        typed(self.write(write, uses).await?)
    }
}
