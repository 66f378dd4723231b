//! Taking a person's data out of the records of a profile. The records stay, marked as redacted, and so does a row in `audit`.

use futures_util::future::try_join_all;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::filter::{equals, visible_to};
use super::session::optional_team;
use super::{Call, Error, Payload, PocketBase, Writer, typed};
use crate::types::{RecordId, Team, Teams};

/// How many records are redacted at once. PocketBase writes them one after the other anyway.
const PAGE: &str = "50";

/// A record that is to be redacted.
#[derive(Deserialize)]
struct Found {
    id: RecordId,
}

/// A profile, redacted or not.
#[derive(Deserialize)]
struct Subject {
    #[serde(deserialize_with = "optional_team")]
    team: Option<Team>,
    redacted: bool,
}

impl PocketBase {
    /// Takes a person's data out of a profile that a caller sees and out of all that belongs to it; `false` where there is no such
    /// profile. Done again it does what is left, so that one that was interrupted is finished by the next.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn redact_profile(&self, id: &RecordId, teams: &Teams, actor: &str) -> Result<bool, Error> {
        let filter = visible_to(teams, &equals("id", id.as_str()));
        let Some(profile) = self.first::<Subject>("profiles", &filter, "team,redacted").await? else {
            return Ok(false);
        };
        let row = json!({ "action": "profile.redacted", "subject": id, "team": profile.team, "actor": actor });
        match self.create::<Found>("audit", Writer::Partner, Payload::Json(&row)).await {
            Ok(_) | Err(Error::NotUnique(_)) => {}
            Err(error) => return Err(error),
        }
        if !profile.redacted {
            // First the profile: from then on nothing is added to it.
            self.redact("profiles", id, &profile_without_person(id)).await?;
        }
        let of_profile = equals("profile", id.as_str());
        let of_verification = format!("verification_history_via_liveness_session.{of_profile}");
        self.redact_all("liveness_sessions", &format!("({of_profile} || {of_verification})"), &session()).await?;
        self.redact_all("verification_history", &of_profile, &verification()).await?;
        self.redact_all("status_history", &of_profile, &json!({ "redacted": true, "notes": "" })).await?;
        self.redact_all("checks", &of_profile, &check()).await?;
        self.redact_all("webhook_deliveries", &of_profile, &delivery()).await?;
        loop {
            match self.delete_all("uploads", &of_profile).await {
                Ok(0) => break,
                // Another request was faster with one of them.
                Ok(_) | Err(Error::Refused) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

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
        let path = format!("/api/collections/{collection}/records/{id}");
        let call = Call { method: Method::PATCH, path, query: &[], payload: Payload::Json(emptied) };
        match self.send(&call).await?.into_success().and_then(typed::<Found>) {
            // The rules let nobody do it again: another request was faster.
            Err(Error::Refused) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }
}

/// A profile of nobody. Its dedupe key goes too: it is made from the person, who may come again as somebody new.
fn profile_without_person(id: &RecordId) -> Value {
    json!({
        "redacted": true,
        "dedupe_key": format!("redacted:{id}"),
        "user_id": "",
        // The earlier service's name of it, which is passed over where there is no such field.
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

fn check() -> Value {
    json!({ "redacted": true, "user_identifier": "", "user_email": "", "user_phone": "", "selfie_video": "", "id_photo": "" })
}

/// What was told, and what the endpoint said to it. One that is not delivered yet never will be.
fn delivery() -> Value {
    json!({ "redacted": true, "payload": null, "attempts": null })
}
