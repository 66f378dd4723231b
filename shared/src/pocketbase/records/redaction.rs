//! Redaction: removal of a person's data from the records of a profile. The records stay, marked as redacted, and a row in
//! `audit` names the caller.

use futures_util::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pocketbase::client::{Error, PocketBase, Write, Writer, equals, optional, visible_to};
use crate::types::{RecordId, Team, Teams};

/// How many records are redacted at the same time. PocketBase serialises the writes.
const PAGE: &str = "50";

/// Treatment of a collection's records when the person is redacted.
pub enum RedactionOf {
    /// These fields are emptied.
    Fields(fn() -> Value),
    /// The records are deleted.
    Records,
}

/// Every collection with a relation to `profiles`, and what redaction does to its records. A test compares the list with the
/// schema, so that no new collection is missing.
pub const PROFILE_COLLECTIONS: &[(&str, RedactionOf)] = &[
    ("liveness_sessions", RedactionOf::Fields(session)),
    ("verification_history", RedactionOf::Fields(verification)),
    ("status_history", RedactionOf::Fields(status)),
    ("checks", RedactionOf::Fields(check)),
    ("webhook_deliveries", RedactionOf::Fields(delivery)),
    ("uploads", RedactionOf::Records),
    ("flow_actions", RedactionOf::Records),
    ("evidence", RedactionOf::Records),
];

/// A record to be redacted.
#[derive(Deserialize)]
struct Found {
    id: RecordId,
}

/// A profile, redacted or not.
#[derive(Deserialize)]
struct Subject {
    #[serde(deserialize_with = "optional")]
    team: Option<Team>,
    redacted: bool,
}

impl PocketBase {
    /// Redacts a profile that a caller sees, with all records that belong to it; `false` when there is no such profile.
    /// Idempotent: a call that was interrupted is completed by the next.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn redact_profile(&self, id: &RecordId, teams: &Teams, actor: &str) -> Result<bool, Error> {
        let filter = visible_to(teams, &equals("id", id.as_str()));
        let Some(profile) = self.first::<Subject>("profiles", &filter, "team,redacted").await? else {
            return Ok(false);
        };
        let row = json!({ "action": "profile.redacted", "subject": id, "team": profile.team, "actor": actor });
        match self.create::<Found>("audit", Writer::Partner, &row).await {
            Ok(_) | Err(Error::NotUnique(_)) => {}
            Err(error) => return Err(error),
        }
        if !profile.redacted {
            // The profile comes first, since PocketBase's rules add nothing to a redacted profile.
            self.redact("profiles", id, &profile_without_person(id)).await?;
        }
        let of_profile = equals("profile", id.as_str());
        for (collection, redaction) in PROFILE_COLLECTIONS {
            let filter = match *collection {
                // A session that a backend created belongs to the profile only through a verification.
                "liveness_sessions" => {
                    format!("({of_profile} || verification_history_via_liveness_session.{of_profile})")
                }
                _ => of_profile.clone(),
            };
            match redaction {
                RedactionOf::Fields(emptied) => self.redact_all(collection, &filter, &emptied()).await?,
                RedactionOf::Records => self.delete_every(collection, &filter).await?,
            }
        }
        Ok(true)
    }

    /// Deletes all records that match a filter.
    async fn delete_every(&self, collection: &str, filter: &str) -> Result<(), Error> {
        loop {
            match self.delete_page(collection, filter).await {
                Ok(0) => return Ok(()),
                // Refused: a concurrent request has deleted one of them.
                Ok(_) | Err(Error::Refused) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Redacts all records that match a filter.
    async fn redact_all(&self, collection: &str, filter: &str, emptied: &Value) -> Result<(), Error> {
        let filter = format!("redacted=false && {filter}");
        let query = [("perPage", PAGE), ("skipTotal", "1"), ("filter", &filter), ("fields", "id")];
        let mut first = None;
        loop {
            let left: Vec<Found> = self.list(collection, &query).await?;
            let Some(next) = left.first().map(|record| record.id.clone()) else { return Ok(()) };
            if first.replace(next.clone()) == Some(next) {
                return Err(Error::BadAnswer(format!("a record of {collection} cannot be redacted")));
            }
            try_join_all(left.iter().map(|record| self.redact(collection, &record.id, emptied))).await?;
        }
    }

    async fn redact(&self, collection: &str, id: &RecordId, emptied: &Value) -> Result<(), Error> {
        let write = Write::update(collection, id, Writer::Partner, emptied)?;
        match self.write(&write).await {
            // The rules refuse a second redaction: a concurrent request was faster.
            Err(Error::Refused) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }
}

/// Fields of a redacted profile. The dedupe key is replaced too: it is derived from the person's data, and the same person can
/// get a new profile.
fn profile_without_person(id: &RecordId) -> Value {
    json!({
        "redacted": true,
        "dedupe_key": format!("redacted:{id}"),
        "user_id": "",
        // The earlier service's field, ignored where it does not exist.
        "userID": "",
        "name": "",
        "document_number": "",
        "document_name": "",
        "country": "",
        "phone_number": "",
        "email": "",
        "gender": "",
        "ip_address": "",
        "language": "",
        "date_of_birth": "",
        "look_alike": "",
        "face_liveness_session_id": "",
        "face_liveness_result": null,
        "document_front": "",
        "document_back": "",
        "facial_photo": "",
        "facial_video": "",
    })
}

fn verification() -> Value {
    json!({
        "redacted": true,
        "document_number": "",
        "country": "",
        "name": "",
        "address": "",
        "gender": "",
        "date_of_birth": "",
        "fingerprint": null,
        "fingerprint_verdict": null,
        "ip_address": "",
        "facial_photo": "",
        "document_front": "",
        "document_back": "",
    })
}

fn session() -> Value {
    json!({ "redacted": true, "reference_image": "", "audit_images": "", "bounding_boxes": null })
}

fn status() -> Value {
    json!({ "redacted": true, "notes": "" })
}

fn check() -> Value {
    json!({
        "redacted": true,
        "user_identifier": "",
        "user_email": "",
        "user_phone": "",
        "selfie_video": "",
        "id_photo": "",
        "id_photo_back": "",
        "document": null,
    })
}

/// Fields of a redacted delivery: the body and the endpoint's answers are removed. A pending delivery is no longer sent, since
/// the queue skips redacted ones.
fn delivery() -> Value {
    json!({ "redacted": true, "payload": null, "attempts": null })
}
