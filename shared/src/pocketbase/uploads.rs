//! `uploads`: what may be sent past the API, by whom, and what became of it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use super::batch::Write;
use super::filter::{equals, visible_to};
use super::liveness_sessions::optional_id;
use super::{Error, Payload, PocketBase, Writer, typed};
use crate::types::{RecordId, Team, Teams};

/// An upload to be expected.
#[derive(Debug, Clone, Serialize)]
pub struct NewUpload {
    /// Whose it will be.
    pub team: Option<Team>,
    /// Who may use it: a name of [`crate::auth::Authenticator::name_for`].
    pub owner: String,
    /// The profile that it is for, where that is known.
    pub profile: Option<RecordId>,
    /// The form field that it can stand in.
    pub field: &'static str,
    /// The media type that was announced.
    pub content_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// `<UTC day>#<n>` for one made with a flow token: unique per profile, which makes a daily limit exact.
    pub flow_attempt: Option<String>,
}

/// An upload as it is stored.
#[derive(Debug, Clone, Deserialize)]
pub struct Upload {
    /// Its record's id, which is the `upload_id`.
    pub id: RecordId,
    /// The profile that it is for, where that is known.
    #[serde(deserialize_with = "optional_id")]
    pub profile: Option<RecordId>,
    /// The form field that it can stand in.
    pub field: String,
    /// Its size in bytes, as it was announced.
    pub size: u64,
    /// the SHA-256 of the bytes that were looked at, in Base64, once they were.
    #[serde(deserialize_with = "not_empty")]
    pub checksum: Option<String>,
    used: String,
}

impl Upload {
    /// Whether it has been stored.
    pub fn is_used(&self) -> bool {
        !self.used.is_empty()
    }
}

fn not_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(String::deserialize(deserializer)?).filter(|text| !text.is_empty()))
}

/// That an upload is stored with a write: the write happens only if it has not been stored before, and its bytes are those that
/// were looked at.
#[derive(Debug, Clone)]
pub struct UploadUse {
    /// The upload.
    pub id: RecordId,
    /// the SHA-256 of its bytes, in Base64.
    pub checksum: String,
}

impl UploadUse {
    pub(super) fn write(&self) -> Result<Write<'static>, Error> {
        let fields = json!({ "used": timestamp(Utc::now()), "checksum": self.checksum });
        Write::update("uploads", &self.id, Writer::Partner, &fields)
    }
}

/// A time as PocketBase writes it: `2026-11-21 04:21:29.551Z`.
pub fn timestamp(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

impl PocketBase {
    /// Expects an upload. One call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a flow token whose profile is decided; else
    /// when PocketBase fails.
    pub async fn create_upload(&self, upload: &NewUpload) -> Result<Upload, Error> {
        let writer = if upload.flow_attempt.is_some() { Writer::Flow } else { Writer::Partner };
        let fields = serde_json::to_value(upload).map_err(|error| Error::BadAnswer(error.to_string()))?;
        self.create("uploads", writer, Payload::Json(&fields)).await
    }

    /// An upload that a caller owns. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn upload(&self, id: &RecordId, teams: &Teams, owner: &str) -> Result<Option<Upload>, Error> {
        let filter = format!("{} && {}", equals("id", id.as_str()), equals("owner", owner));
        self.first("uploads", &visible_to(teams, &filter), "").await
    }

    /// Keeps which bytes were looked at: from now on no others will be. One call.
    ///
    /// # Errors
    /// [`Error::UploadTaken`] when others were looked at before, or it has been stored; else when PocketBase fails.
    pub async fn pin_upload(&self, upload: &UploadUse) -> Result<(), Error> {
        let write = Write::update("uploads", &upload.id, Writer::Partner, &json!({ "checksum": upload.checksum }))?;
        match self.write(write, &[]).await {
            Ok(record) => typed::<Upload>(record).map(|_| ()),
            Err(Error::Refused) => Err(Error::UploadTaken),
            Err(error) => Err(error),
        }
    }
}
