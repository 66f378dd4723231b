//! `checks`: comparisons of a selfie video with an ID photo, and the transaction that writes their outcome.

use chrono::{TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Charge, Evidence, EvidenceOwner, NewDelivery, UploadUse};
use crate::pocketbase::client::{Error, PocketBase, Write, Writer, created_before, timestamp};
use crate::types::{Origin, RecordId, Team, Text, UserId, VerificationStatus};

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
    /// Who opened the link.
    pub origin: Origin,
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
    /// Object key of the photo of the back, if there is one.
    pub id_photo_back: Option<String>,
    /// `<UTC day>#<n>` for a check by flow token: unique per profile, which makes the daily limit exact.
    pub flow_attempt: Option<String>,
}

/// Whether a failed check counts towards the daily limit of attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptUse {
    /// The attempt does not count, since the sender did not cause the failure. Two attempts of a profile and day can be given back. From
    /// the third on they count, because a file that makes a service fail would cost without end.
    GivenBack,
    /// The attempt counts.
    Kept,
}

/// How many attempts of a profile are given back per day.
const GIVEN_BACK_PER_DAY: u32 = 2;

/// A check that a process works on.
#[derive(Debug, Clone, Deserialize)]
pub struct ProcessingCheck {
    /// Its record.
    pub id: RecordId,
    /// `<UTC day>#<n>`; empty for a check without a flow token.
    flow_attempt: String,
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
    /// The result, as answered to callers and sent in webhooks, without the document.
    pub result: &'a Value,
    /// What was read on the document: fields, checks and agreement with what was declared.
    pub document: &'a Value,
    /// Fields of the document for the verification history, by their names there.
    pub fields: &'a Value,
    /// Number of the compared frames, which are kept.
    pub frames: usize,
    /// Evidence that nobody used before.
    pub evidence: &'a [Evidence],
    /// Who the evidence belongs to from now on.
    pub owner: &'a EvidenceOwner,
    /// Key that look-alike identifiers share.
    pub look_alike: &'a str,
    /// The webhooks to send.
    pub deliveries: &'a [NewDelivery],
    /// The uploads that the media came from.
    pub uses: &'a [UploadUse],
}

impl PocketBase {
    /// Starts a check, and charges it to a budget. One call.
    ///
    /// # Errors
    /// [`Error::BudgetUsedUp`] when the budget is used up, [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a
    /// flow token whose profile is decided, or for a profile that is redacted; else when PocketBase fails.
    pub async fn create_check(
        &self,
        writer: Writer,
        check: &NewCheck,
        charge: &Charge,
    ) -> Result<ProcessingCheck, Error> {
        self.create_charged("checks", writer, check, charge).await
    }

    /// Writes the outcome of a check, the entries in both histories, the profile's status and the webhooks in one
    /// transaction. One call.
    ///
    /// # Errors
    /// [`Error::UploadConflict`] when an upload is stored already, [`Error::Refused`] when the profile was decided or redacted
    /// in the meantime or the check has ended, [`Error::NotUnique`] of `id` when a concurrent request has stored the same evidence; else
    /// when PocketBase fails. Nothing is written then.
    pub async fn complete_check(&self, outcome: &CheckOutcome<'_>) -> Result<(), Error> {
        let CheckOutcome { check, profile, writer, status, .. } = *outcome;
        let verification = RecordId::random();
        let completed = json!({
            "status": status,
            "result": outcome.result,
            "document": outcome.document,
            "frames": outcome.frames,
            "completed": timestamp(Utc::now()),
        });
        let mut in_verification_history = outcome.fields.clone();
        if let Some(fields) = in_verification_history.as_object_mut() {
            let own = json!({ "id": verification, "profile": profile, "status": status, "check": check });
            fields.extend(own.as_object().cloned().unwrap_or_default());
        }
        let in_status_history = json!({
            "profile": profile,
            "verification": verification,
            "updated_by": self.account().await?.id,
            "previous_status": outcome.previous_status,
            "new_status": status,
            "notes": outcome.summary,
            "by_rules": true,
        });
        let decided_by = if status.is_decided() { "rules" } else { "" };
        let standing =
            json!({ "verification_status": status, "decided_by": decided_by, "look_alike": outcome.look_alike });
        let mut writes = vec![
            Write::update("checks", check, Writer::Partner, &completed)?,
            Write::create("verification_history", writer, &in_verification_history)?,
            Write::create("status_history", writer, &in_status_history)?,
            // After the histories, whose rules require that the profile is still open.
            Write::update("profiles", profile, writer, &standing)?,
        ];
        for evidence in outcome.evidence {
            writes.push(evidence.write(outcome.owner)?);
        }
        for delivery in outcome.deliveries {
            writes.push(delivery.write()?);
        }
        self.transact_using(outcome.uses, writes).await.map(|_| ())
    }

    /// Ends a check without an outcome; `false` when it has ended already, in which case it is not changed. One call, and one more for each
    /// attempt that was given back today.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn fail_check(&self, check: &ProcessingCheck, reason: &str, attempt: AttemptUse) -> Result<bool, Error> {
        let reason: String = reason.chars().take(MAX_REASON).collect();
        let failed = json!({ "status": CheckState::Failed, "reason": reason, "completed": timestamp(Utc::now()) });
        let day = match attempt {
            AttemptUse::GivenBack => check.flow_attempt.split_once('#').map(|(day, _)| day),
            AttemptUse::Kept => None,
        };
        let given_back = day.into_iter().flat_map(|day| (1..=GIVEN_BACK_PER_DAY).map(move |n| format!("{day}~{n}")));
        for name in given_back.map(Some).chain([None]) {
            let mut failed = failed.clone();
            if let (Some(name), Some(failed)) = (name, failed.as_object_mut()) {
                failed.insert("flow_attempt".to_owned(), name.into());
            }
            match self.write(&Write::update("checks", &check.id, Writer::Partner, &failed)?).await {
                Ok(_) => return Ok(true),
                Err(Error::NotUnique(field)) if field == "flow_attempt" => {}
                Err(Error::Refused) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Err(Error::BadAnswer("a check cannot be ended".to_owned()))
    }

    /// Abandoned checks, the oldest first: their process must have died, since they have been processing for more than two
    /// minutes. At most 100. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn abandoned_checks(&self) -> Result<Vec<ProcessingCheck>, Error> {
        let filter = format!("status=\"processing\" && {}", created_before(Utc::now() - ABANDONED));
        let query = [
            ("perPage", "100"),
            ("skipTotal", "1"),
            ("sort", "created"),
            ("filter", &*filter),
            ("fields", "id,flow_attempt"),
        ];
        self.list("checks", &query).await
    }
}
