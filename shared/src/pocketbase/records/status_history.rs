//! `status_history`: recorded status changes of a profile, append-only.

use serde::{Deserialize, Serialize};

use super::NewDelivery;
use crate::pocketbase::client::{Error, PocketBase, Write, Writer, typed};
use crate::types::{Confidence, Notes, RecordId, Text};

/// An entry to be added.
#[derive(Debug, Clone, Serialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct NewStatus {
    pub profile: RecordId,
    pub verification: Option<RecordId>,
    pub updated_by: String,
    pub by_flow: bool,
    pub previous_status: Text<64>,
    pub new_status: Text<64>,
    pub notes: Notes<5000>,
    pub liveness_session_id: Option<Text<128>>,
    pub liveness_confidence: Option<Confidence>,
    pub liveness_status: Option<Text<64>>,
    /// `<UTC day>#<n>` for an entry by flow token: unique per profile, which makes the daily limit exact.
    pub flow_attempt: Option<String>,
}

/// An entry.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct StatusRecord {
    pub id: RecordId,
    pub profile: RecordId,
    pub updated_by: String,
    pub previous_status: String,
    pub new_status: String,
    pub notes: String,
    pub created: String,
}

impl PocketBase {
    /// Adds an entry, and the webhooks to send, in one transaction. One call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a flow token once the profile is decided; else when
    /// PocketBase fails.
    pub async fn create_status(
        &self,
        writer: Writer,
        status: &NewStatus,
        deliveries: &[NewDelivery],
    ) -> Result<StatusRecord, Error> {
        let entry = Write::create("status_history", writer, status)?;
        if deliveries.is_empty() {
            return typed(self.write(&entry).await?);
        }
        let mut writes = vec![entry];
        for delivery in deliveries {
            writes.push(delivery.write()?);
        }
        let written = self.transact(&writes).await.map_err(|failed| failed.error)?;
        let entry = written.into_iter().next().ok_or_else(|| Error::BadAnswer("an empty batch".to_owned()))?;
        typed(entry)
    }
}
