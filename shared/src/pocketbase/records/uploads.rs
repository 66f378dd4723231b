//! `uploads`: files that are sent directly to the bucket, with their owner and their use.

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::usage::Charge;
use crate::pocketbase::client::{
    Error, Failed, PocketBase, Write, Writer, equals, optional, timestamp, typed, visible_to,
};
use crate::types::{RecordId, Team, Teams};

/// A new upload, announced before its file is sent.
#[derive(Debug, Clone, Serialize)]
pub struct NewUpload {
    /// Its team.
    pub team: Option<Team>,
    /// The caller that may use it, as a name by `Authenticator::keyed_name`.
    pub owner: String,
    /// The profile that it is for, if known.
    pub profile: Option<RecordId>,
    /// The form field that it can stand for.
    pub field: &'static str,
    /// The announced media type.
    pub content_type: String,
    /// The announced size in bytes.
    pub size: u64,
    /// `<UTC day>#<n>` for an upload by flow token: unique per profile, which makes the daily limit exact.
    pub flow_attempt: Option<String>,
}

/// A stored upload.
#[derive(Debug, Clone, Deserialize)]
pub struct Upload {
    /// Its record's id, which is the `upload_id`.
    pub id: RecordId,
    /// The profile that it is for, if known.
    #[serde(deserialize_with = "optional")]
    pub profile: Option<RecordId>,
    /// The form field that it can stand for.
    pub field: String,
    /// The announced size in bytes.
    pub size: u64,
    /// SHA-256 of the bytes that were inspected, in Base64; `None` before the first inspection.
    #[serde(deserialize_with = "optional")]
    pub checksum: Option<String>,
    used: String,
}

impl Upload {
    /// Whether a record has used it, so that its file is stored elsewhere.
    pub fn is_used(&self) -> bool {
        !self.used.is_empty()
    }
}

/// Use of an upload by a write. The write succeeds only if the upload has not been stored before, and its bytes are those
/// that were inspected.
#[derive(Debug, Clone)]
pub struct UploadUse {
    /// The upload.
    pub id: RecordId,
    /// SHA-256 of its bytes, in Base64.
    pub checksum: String,
}

impl UploadUse {
    fn write(&self) -> Result<Write<'static>, Error> {
        let fields = json!({ "used": timestamp(Utc::now()), "checksum": self.checksum });
        Write::update("uploads", &self.id, Writer::Partner, &fields)
    }
}

impl PocketBase {
    /// Announces an upload, and charges its bytes to a budget. One call.
    ///
    /// # Errors
    /// [`Error::BudgetUsedUp`] when it is not within the budget, [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`]
    /// for a flow token whose profile is decided; else when PocketBase fails.
    pub async fn create_upload(&self, writer: Writer, upload: &NewUpload, charge: &Charge) -> Result<Upload, Error> {
        self.create_charged("uploads", writer, upload, charge).await
    }

    /// The upload with this id, if this owner announced it and the caller sees it. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn upload(&self, id: &RecordId, teams: &Teams, owner: &str) -> Result<Option<Upload>, Error> {
        let filter = format!("{} && {}", equals("id", id.as_str()), equals("owner", owner));
        self.first("uploads", &visible_to(teams, &filter), "").await
    }

    /// Deletes an upload. An upload that is gone already is no error. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_upload(&self, id: &RecordId) -> Result<(), Error> {
        match self.transact(&[Write::delete("uploads", id)]).await {
            Ok(_) | Err(Failed { error: Error::Refused, .. }) => Ok(()),
            Err(failed) => Err(failed.error),
        }
    }

    /// Stores the checksum of the bytes that were inspected; from then on no other bytes are accepted. One call.
    ///
    /// # Errors
    /// [`Error::UploadConflict`] when other bytes were inspected before, or the upload is stored; else when PocketBase fails.
    pub async fn pin_upload(&self, upload: &UploadUse) -> Result<(), Error> {
        let write = Write::update("uploads", &upload.id, Writer::Partner, &json!({ "checksum": upload.checksum }))?;
        match self.write(&write).await {
            Ok(record) => typed::<Upload>(record).map(|_| ()),
            Err(Error::Refused) => Err(Error::UploadConflict),
            Err(error) => Err(error),
        }
    }

    /// Makes several writes and marks uploads as used, in one transaction. One call, and those for files of a profile.
    pub(super) async fn transact_using(&self, uses: &[UploadUse], writes: Vec<Write<'_>>) -> Result<Vec<Value>, Error> {
        let mut all = uses.iter().map(UploadUse::write).collect::<Result<Vec<_>, _>>()?;
        all.extend(writes);
        self.transact(&all).await.map_err(|failed| match failed {
            Failed { position: Some(position), error: Error::Refused } if position < uses.len() => {
                Error::UploadConflict
            }
            Failed { error, .. } => error,
        })
    }
}
