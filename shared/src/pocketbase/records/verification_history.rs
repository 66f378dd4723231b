//! `verification_history`: verifications of a profile with their files, append-only.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::UploadUse;
use super::evidence::{Evidence, EvidenceOwner};
use super::profiles::Standing;
use crate::pocketbase::client::{Error, PocketBase, RecordFile, Write, Writer, equals, optional, typed, visible_to};
use crate::types::{Confidence, Day, Origin, RecordId, Team, Teams, Text, VerificationStatus};

/// A record to be added, without its files.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct NewVerification {
    pub profile: RecordId,
    pub status: VerificationStatus,
    pub liveness_session_id: Text<128>,
    pub liveness_confidence: Confidence,
    pub liveness_status: Text<64>,
    pub liveness_verified: bool,
    /// The Face Liveness session whose result AWS confirmed. Unique, so that a session serves one verification.
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
    /// `<UTC day>#<n>` for a verification by flow token: unique per profile, which makes the daily limit exact.
    pub flow_attempt: Option<String>,
}

/// A record.
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

/// Profile that a verification belongs to.
#[derive(Debug, Deserialize)]
pub struct VerificationOwner {
    /// The profile.
    pub profile: RecordId,
    /// The profile's team.
    #[serde(deserialize_with = "optional")]
    pub team: Option<Team>,
    /// The partner's identifier of the person.
    pub user_id: String,
    #[serde(flatten)]
    standing: Standing,
    /// Status history entries by flow token today.
    pub flow_statuses_today: u32,
    /// The UTC day of the count, as `YYYY-MM-DD`.
    pub today: String,
}

impl VerificationOwner {
    /// The newest entry of the status history, else the profile's own status.
    pub fn status(&self) -> &str {
        self.standing.status()
    }

    /// Whether the profile is of open links, or of the partner's backend and its signed links.
    pub fn origin(&self) -> Origin {
        self.standing.origin()
    }

    /// Whether flow tokens can no longer change the profile.
    pub fn is_decided(&self) -> bool {
        self.standing.is_decided()
    }
}

impl PocketBase {
    /// Profile of a verification that a caller sees. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn verification_owner(&self, id: &RecordId, teams: &Teams) -> Result<Option<VerificationOwner>, Error> {
        let filter = visible_to(teams, &equals("id", id.as_str()));
        self.first("verification_overview", &filter, "").await
    }

    /// Adds a record with its files, marks the uploads that they come from as used, and stores evidence that nobody used before, in one
    /// transaction. Files are streamed. One call, and for files of the profile a token and a download each.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` or the `liveness_session` is taken, [`Error::Refused`] for a flow token
    /// once the profile is decided, [`Error::FileGone`] when a file of the profile was replaced in the meantime,
    /// [`Error::UploadConflict`] when an upload is stored already, [`Error::NotUnique`] of `id` when a concurrent request has
    /// stored the evidence; else when PocketBase fails.
    pub async fn create_verification(
        &self,
        writer: Writer,
        verification: &NewVerification,
        files: &[(&'static str, RecordFile)],
        uses: &[UploadUse],
        evidence: Option<(&Evidence, &EvidenceOwner)>,
    ) -> Result<VerificationRecord, Error> {
        let evidence = evidence.map(|(evidence, owner)| evidence.write(owner)).transpose()?;
        let write = Write::create("verification_history", writer, verification)?.with_files(files);
        if evidence.is_none() && uses.is_empty() {
            return typed(self.write(&write).await?);
        }
        let mut written = self.transact_using(uses, evidence.into_iter().chain([write]).collect()).await?;
        typed(written.pop().ok_or_else(|| Error::BadAnswer("an empty batch".to_owned()))?)
    }
}
