//! `checks`: a person's video and photo, compared; and the transaction that writes the outcome with all that follows from it.

use chrono::Utc;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::batch::{Failed, Write};
use super::deliveries::NewDelivery;
use super::{Error, Payload, PocketBase, UploadUse, Writer, timestamp};
use crate::types::{RecordId, Team, Text, UserId, VerificationStatus};

/// The longest reason that is kept, in characters.
const MAX_REASON: usize = 255;

/// A check that begins.
#[derive(Debug, Clone, Serialize)]
pub struct NewCheck {
    /// What callers know it by.
    pub check_id: String,
    /// Whose it is.
    pub team: Option<Team>,
    /// The partner whose key asked for it.
    pub partner: Option<String>,
    /// Whom it is of.
    pub profile: RecordId,
    /// The partner's own name for that person.
    pub user_identifier: UserId,
    /// As the request gave it.
    pub user_email: Option<Text<254>>,
    /// As the request gave it.
    pub user_phone: Option<Text<64>>,
    /// `processing`.
    pub status: &'static str,
    /// Where its video is in the bucket.
    pub selfie_video: String,
    /// Where its photo is in the bucket.
    pub id_photo: String,
    /// `<UTC day>#<n>` for one asked for with a flow token: unique per profile, which makes a daily limit exact.
    pub flow_attempt: Option<String>,
}

/// What becomes of the place that a failed check has among those of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckAttempt {
    /// The person may ask once more: it was not their fault.
    GivenBack,
    /// It is used up.
    Kept,
}

/// What a check came to.
#[derive(Debug)]
pub struct Outcome<'a> {
    /// The check.
    pub check: &'a RecordId,
    /// Whom it is of.
    pub profile: &'a RecordId,
    /// Who asked for it.
    pub writer: Writer,
    /// What was decided, and what the profile becomes: verified, rejected or pending.
    pub status: VerificationStatus,
    /// What the profile's status was.
    pub previous_status: &'a str,
    /// In words, for the history.
    pub summary: &'a str,
    /// What was found.
    pub result: &'a Value,
    /// The webhooks that tell of it.
    pub deliveries: &'a [NewDelivery],
    /// The uploads that the media came from.
    pub uses: &'a [UploadUse],
}

#[derive(Deserialize)]
struct Written {
    id: RecordId,
}

impl PocketBase {
    /// Begins a check. One call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a flow token whose profile is decided, or for a
    /// profile that has been redacted; else when PocketBase fails.
    pub async fn create_check(&self, check: &NewCheck) -> Result<RecordId, Error> {
        let writer = if check.flow_attempt.is_some() { Writer::Flow } else { Writer::Partner };
        let fields = serde_json::to_value(check).map_err(|error| Error::BadAnswer(error.to_string()))?;
        let written: Written = self.create("checks", writer, Payload::Json(&fields)).await?;
        Ok(written.id)
    }

    /// Writes the outcome of a check, the entries in both histories, the profile's status and the webhooks in one transaction.
    /// One call.
    ///
    /// # Errors
    /// [`Error::UploadTaken`] when an upload has been stored before, [`Error::Refused`] when the profile has been decided or redacted
    /// meanwhile, or the check is over; else when PocketBase fails. Then nothing is written.
    pub async fn complete_check(&self, outcome: &Outcome<'_>) -> Result<(), Error> {
        let Outcome { check, profile, writer, status, .. } = *outcome;
        let verification = RecordId::random();
        let mut writes = outcome.uses.iter().map(UploadUse::write).collect::<Result<Vec<_>, _>>()?;
        let completed = json!({ "status": status, "result": outcome.result, "completed": timestamp(Utc::now()) });
        writes.push(Write::update("checks", check, Writer::Partner, &completed)?);
        let entry = json!({ "id": verification, "profile": profile, "status": status, "check": check });
        writes.push(Write::create("verification_history", writer, &entry)?);
        let entry = json!({
            "profile": profile,
            "verification": verification,
            "updated_by": self.account().await?.id,
            "previous_status": outcome.previous_status,
            "new_status": status,
            "notes": outcome.summary,
        });
        writes.push(Write::create("status_history", writer, &entry)?);
        // Last: the rules of what stands before it want a profile that is still open.
        writes.push(Write::update("profiles", profile, writer, &json!({ "verification_status": status }))?);
        for delivery in outcome.deliveries {
            writes.push(delivery.write()?);
        }
        match self.transact(&writes).await {
            Ok(_) => Ok(()),
            Err(Failed { place: Some(place), error: Error::Refused }) if place < outcome.uses.len() => {
                Err(Error::UploadTaken)
            }
            Err(Failed { error, .. }) => Err(error),
        }
    }

    /// Ends a check that came to nothing; `false` for one that is over already, which stays as it is. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn fail_check(&self, check: &RecordId, reason: &str, attempt: CheckAttempt) -> Result<bool, Error> {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let mut failed = json!({ "status": "failed", "reason": reason, "completed": timestamp(Utc::now()) });
        if let (CheckAttempt::GivenBack, Some(failed)) = (attempt, failed.as_object_mut()) {
            failed.insert("flow_attempt".to_owned(), "".into());
        }
        match self.write(Write::update("checks", check, Writer::Partner, &failed)?, &[]).await {
            Ok(_) => Ok(true),
            Err(Error::Refused) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Checks that have been processed for more than two minutes: whoever did that is gone. At most 100. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn abandoned_checks(&self) -> Result<Vec<RecordId>, Error> {
        let before = timestamp(Utc::now() - chrono::TimeDelta::minutes(2));
        let filter = format!("status=\"processing\" && created<{}", Value::from(before));
        let query =
            [("perPage", "100"), ("skipTotal", "1"), ("sort", "created"), ("filter", &*filter), ("fields", "id")];
        let checks: Vec<Written> = self.list("checks", &query).await?;
        Ok(checks.into_iter().map(|check| check.id).collect())
    }
}
