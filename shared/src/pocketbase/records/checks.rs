//! `checks`: comparisons of a selfie video with an ID photo, and the transaction that writes their outcome.

use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{NewDelivery, UploadUse};
use crate::pocketbase::client::{Error, PocketBase, Write, Writer, created_before, timestamp};
use crate::types::{RecordId, Team, Text, UserId, VerificationStatus};

/// The longest reason that is stored, in characters.
const MAX_REASON: usize = 255;

/// Age at which a check that is still processing counts as abandoned. No request takes as long.
const ABANDONED: TimeDelta = TimeDelta::minutes(2);

/// State of a check that has no outcome. With an outcome, the state is the [`VerificationStatus`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// A request is working on it.
    Processing,
    /// It ended without an outcome.
    Failed,
}

/// A check to be started.
#[derive(Debug, Clone, Serialize)]
pub struct NewCheck {
    /// The public id.
    pub check_id: String,
    /// The profile's team.
    pub team: Option<Team>,
    /// The partner of the caller's key or token.
    pub partner: Option<String>,
    /// The profile of the person.
    pub profile: RecordId,
    /// The partner's identifier of the person.
    pub user_identifier: UserId,
    /// As given in the request.
    pub user_email: Option<Text<254>>,
    /// As given in the request.
    pub user_phone: Option<Text<64>>,
    /// [`CheckState::Processing`].
    pub status: CheckState,
    /// Object key of the video.
    pub selfie_video: String,
    /// Object key of the photo.
    pub id_photo: String,
    /// `<UTC day>#<n>` for a check by flow token: unique per profile, which makes the daily limit exact.
    pub flow_attempt: Option<String>,
}

/// Whether a failed check counts towards the daily limit of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptUse {
    /// The attempt does not count, since the sender did not cause the failure.
    GivenBack,
    /// The attempt counts.
    Kept,
}

/// Outcome of a check.
#[derive(Debug)]
pub struct CheckOutcome<'a> {
    /// The check.
    pub check: &'a RecordId,
    /// The profile of the person.
    pub profile: &'a RecordId,
    /// Who submitted the check.
    pub writer: Writer,
    /// The decision, which becomes the profile's status: verified, rejected or pending.
    pub status: VerificationStatus,
    /// The profile's status before.
    pub previous_status: &'a str,
    /// Summary for the status history.
    pub summary: &'a str,
    /// The result, as answered to callers and sent in webhooks.
    pub result: &'a Value,
    /// The webhooks to send.
    pub deliveries: &'a [NewDelivery],
    /// The uploads that the media came from.
    pub uses: &'a [UploadUse],
}

#[derive(Deserialize)]
struct Written {
    id: RecordId,
}

impl PocketBase {
    /// Starts a check. One call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a flow token whose profile is decided, or
    /// for a profile that is redacted; else when PocketBase fails.
    pub async fn create_check(&self, writer: Writer, check: &NewCheck) -> Result<RecordId, Error> {
        let written: Written = self.create("checks", writer, check).await?;
        Ok(written.id)
    }

    /// Writes the outcome of a check, the entries in both histories, the profile's status and the webhooks in one
    /// transaction. One call.
    ///
    /// # Errors
    /// [`Error::UploadConflict`] when an upload is stored already, [`Error::Refused`] when the profile was decided or redacted
    /// in the meantime or the check has ended; else when PocketBase fails. Nothing is written then.
    pub async fn complete_check(&self, outcome: &CheckOutcome<'_>) -> Result<(), Error> {
        let CheckOutcome { check, profile, writer, status, .. } = *outcome;
        let verification = RecordId::random();
        let completed = json!({ "status": status, "result": outcome.result, "completed": timestamp(Utc::now()) });
        let in_verification_history =
            json!({ "id": verification, "profile": profile, "status": status, "check": check });
        let in_status_history = json!({
            "profile": profile,
            "verification": verification,
            "updated_by": self.account().await?.id,
            "previous_status": outcome.previous_status,
            "new_status": status,
            "notes": outcome.summary,
        });
        let mut writes = vec![
            Write::update("checks", check, Writer::Partner, &completed)?,
            Write::create("verification_history", writer, &in_verification_history)?,
            Write::create("status_history", writer, &in_status_history)?,
            // After the histories, whose rules require that the profile is still open.
            Write::update("profiles", profile, writer, &json!({ "verification_status": status }))?,
        ];
        for delivery in outcome.deliveries {
            writes.push(delivery.write()?);
        }
        self.transact_using(outcome.uses, writes).await.map(|_| ())
    }

    /// Ends a check without an outcome; `false` when it has ended already, in which case it is not changed. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn fail_check(&self, check: &RecordId, reason: &str, attempt: AttemptUse) -> Result<bool, Error> {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let mut failed = json!({ "status": CheckState::Failed, "reason": reason, "completed": timestamp(Utc::now()) });
        if let (AttemptUse::GivenBack, Some(failed)) = (attempt, failed.as_object_mut()) {
            failed.insert("flow_attempt".to_owned(), "".into());
        }
        match self.write(&Write::update("checks", check, Writer::Partner, &failed)?).await {
            Ok(_) => Ok(true),
            Err(Error::Refused) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Abandoned checks, the oldest first: their process must have died, since they have been processing for more than two
    /// minutes. At most 100. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn abandoned_checks(&self) -> Result<Vec<RecordId>, Error> {
        let filter = format!("status=\"processing\" && {}", created_before(Utc::now() - ABANDONED));
        let query =
            [("perPage", "100"), ("skipTotal", "1"), ("sort", "created"), ("filter", &*filter), ("fields", "id")];
        let checks: Vec<Written> = self.list("checks", &query).await?;
        Ok(checks.into_iter().map(|check| check.id).collect())
    }
}
