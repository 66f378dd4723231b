//! `verification_history`: each time a person was checked, with the files of that check. Records are only ever added.

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use reqwest::Body;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::filter::{equals, visible_to};
use super::profiles::is_decided;
use super::{Error, Payload, PocketBase, Writer};
use crate::http::File;
use crate::types::{Confidence, Day, RecordId, Teams, Text};

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

/// Where a file of a record comes from.
#[derive(Debug, Clone)]
pub enum RecordFile {
    /// From the request.
    Sent(File),
    /// From the profile, where it has this name.
    OfProfile(String),
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
        self.first("verification_overview", &filter, "profile,verification_status,latest_status").await
    }

    /// Adds a record with its files, all at once or not at all. Files of the profile are passed through as they arrive,
    /// so that this process holds none of them. One call, and for files of the profile a token and a download each.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` or the `liveness_session` is taken, [`Error::Refused`] for a flow token once the profile is decided,
    /// [`Error::FileGone`] when a file of the profile has been replaced meanwhile; else when PocketBase fails.
    pub async fn create_verification(
        &self,
        verification: &NewVerification,
        files: &[(&'static str, RecordFile)],
    ) -> Result<VerificationRecord, Error> {
        let fields = serde_json::to_string(verification).map_err(|error| Error::BadAnswer(error.to_string()))?;
        let writer = if verification.flow_attempt.is_some() { Writer::Flow } else { Writer::Partner };
        if files.iter().any(|(_, file)| matches!(file, RecordFile::OfProfile(_))) {
            // Once, and not by each of the downloads that then begin together.
            self.file_token().await?;
        }
        let make_form = || -> BoxFuture<'_, Result<Form, Error>> {
            let fields = fields.clone();
            Box::pin(async move {
                let parts = files.iter().map(|(field, file)| self.part(&verification.profile, field, file));
                let parts = try_join_all(parts).await?;
                Ok(parts
                    .into_iter()
                    .fold(Form::new().text("@jsonPayload", fields), |form, (field, part)| form.part(field, part)))
            })
        };
        self.create("verification_history", writer, Payload::Form(&make_form)).await
    }

    async fn part(
        &self,
        profile: &RecordId,
        field: &'static str,
        file: &RecordFile,
    ) -> Result<(&'static str, Part), Error> {
        let name = match file {
            RecordFile::Sent(file) => return Ok((field, file_part(field, file))),
            RecordFile::OfProfile(name) => name,
        };
        let response = self.download(&format!("/api/files/profiles/{profile}/{name}")).await?;
        let extension = name.rsplit_once('.').map_or("bin", |(_, extension)| extension);
        let file_name = format!("{field}.{extension}");
        let part = match response.content_length() {
            Some(length) => Part::stream_with_length(Body::wrap_stream(response.bytes_stream()), length),
            None => Part::stream(Body::wrap_stream(response.bytes_stream())),
        };
        Ok((field, part.file_name(file_name)))
    }
}

/// A file as part of a form. Its name is made of the field and the type of its bytes: the name that the caller gave may say
/// anything, and is dropped.
pub(super) fn file_part(field: &str, file: &File) -> Part {
    bytes_part(&file.bytes, format!("{field}.{}", file.extension))
}

/// Bytes as part of a form, without copying them.
pub(super) fn bytes_part(bytes: &Bytes, file_name: String) -> Part {
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    Part::stream_with_length(bytes.clone(), length).file_name(file_name)
}
