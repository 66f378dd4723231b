//! `profiles`: one record per person, and the view that joins each with its newest histories.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::usage::Charge;
use super::{FlowAction, UploadUse, flow_actions};
use crate::pocketbase::client::{
    Error, PocketBase, RecordFile, Write, Writer, equals, optional, or_default, typed, visible_to,
};
use crate::types::{
    Confidence, Day, Origin, RecordId, Team, Teams, Text, UserId, VerificationStatus, hex, leaves_open,
};

/// Key that identifies a person, so that an existing profile is reused. Unique in `profiles`; set on creation, and replaced
/// only by redaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DedupeKey(String);

impl DedupeKey {
    /// Key of a team and a `userID`.
    pub fn of_user(team: Option<&Team>, user: &UserId) -> Self {
        Self::hashed("user", team, [user.as_str()])
    }

    /// Key of a team and the identifier in open links, whose profiles are apart from those of [`Self::of_user`].
    pub fn of_open_link(team: Option<&Team>, user: &UserId) -> Self {
        Self::hashed("open", team, [user.as_str()])
    }

    /// Key of a team and a document. The parts of the document are trimmed and case-folded.
    pub fn of_document(team: Option<&Team>, document_type: &str, number: &str, country: &str) -> Self {
        let folded = [document_type, number, country].map(|part| caseless::default_case_fold_str(part.trim()));
        Self::hashed("document", team, folded.each_ref().map(String::as_str))
    }

    /// A hash has a fixed length and needs no escaping in a filter. No part can contain NUL, so NUL separates the parts.
    fn hashed<const N: usize>(kind: &str, team: Option<&Team>, parts: [&str; N]) -> Self {
        let mut hash = Sha256::new();
        hash.update(team.map_or("", Team::as_str));
        for part in parts {
            hash.update("\0");
            hash.update(part);
        }
        Self(format!("{kind}:{}", hex(hash.finalize())))
    }
}

/// A profile to be created. Absent fields are stored empty.
#[derive(Debug, Serialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct NewProfile {
    pub dedupe_key: DedupeKey,
    pub team: Option<Team>,
    pub user_id: Option<UserId>,
    pub name: Option<Text<255>>,
    pub document_type: Option<Text<64>>,
    pub document_number: Option<Text<128>>,
    pub country: Option<Text<128>>,
    pub phone_number: Option<Text<64>>,
    pub email: Option<Text<254>>,
    pub security_level: Option<Text<64>>,
    pub gender: Option<Text<32>>,
    pub ip_address: Option<Text<45>>,
    pub language: Option<Text<35>>,
    pub date_of_birth: Option<Day>,
    pub verification_status: VerificationStatus,
    /// [`Origin::Open`] for a profile of open links; else `None`.
    pub origin: Option<Origin>,
    pub look_alike: Option<String>,
}

impl NewProfile {
    /// A profile without a person's data.
    pub fn empty(dedupe_key: DedupeKey, team: Option<Team>) -> Self {
        Self {
            dedupe_key,
            team,
            user_id: None,
            name: None,
            document_type: None,
            document_number: None,
            country: None,
            phone_number: None,
            email: None,
            security_level: None,
            gender: None,
            ip_address: None,
            language: None,
            date_of_birth: None,
            verification_status: VerificationStatus::Unverified,
            origin: None,
            look_alike: None,
        }
    }

    /// A profile of a user, of the partner's backend or of signed links.
    pub fn of_user(team: Option<Team>, user: UserId) -> Self {
        let key = DedupeKey::of_user(team.as_ref(), &user);
        Self { look_alike: Some(user.look_alike_key()), user_id: Some(user), ..Self::empty(key, team) }
    }

    /// A profile of open links.
    pub fn of_open_link(team: Option<Team>, user: UserId) -> Self {
        let key = DedupeKey::of_open_link(team.as_ref(), &user);
        Self { dedupe_key: key, origin: Some(Origin::Open), ..Self::of_user(team, user) }
    }
}

/// Outcome of a request to create a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreatedProfile {
    /// The profile was created.
    Created(RecordId),
    /// The profile existed, and was not changed.
    Existing(RecordId),
}

impl CreatedProfile {
    /// Its id.
    pub fn into_id(self) -> RecordId {
        match self {
            Self::Created(id) | Self::Existing(id) => id,
        }
    }
}

/// A profile with its newest status history entry and verification.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct ProfileOverview {
    pub id: RecordId,
    #[serde(deserialize_with = "optional")]
    pub team: Option<Team>,
    pub name: String,
    pub document_type: String,
    pub document_number: String,
    pub country: String,
    pub language: String,
    pub security_level: String,
    pub created: String,
    pub document_front: String,
    pub document_back: String,
    pub facial_photo: String,
    pub document_name: String,
    /// The date of birth that the partner's backend declared.
    pub declared_birth: String,
    #[serde(flatten)]
    standing: Standing,
    #[serde(flatten)]
    verification: VerificationSummary,
    /// Verifications by flow token today.
    pub flow_attempts_today: u32,
    /// Face Liveness sessions by flow token today.
    pub flow_sessions_today: u32,
    /// Uploads by flow token today.
    pub flow_uploads_today: u32,
    /// Checks by flow token today.
    pub flow_checks_today: u32,
    /// Status history entries by flow token today.
    pub flow_statuses_today: u32,
    /// Document analyses by flow token today.
    pub flow_analyses_today: u32,
    /// Changes by flow token today.
    pub flow_updates_today: u32,
    look_alikes: u32,
    /// The partner's identifier of the person.
    pub user_id: String,
    /// The UTC day of these counts, as `YYYY-MM-DD`.
    pub today: String,
}

/// Where a profile stands between open and decided.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Standing {
    /// The profile's own status.
    verification_status: String,
    /// `rules` when the rules of a check set the profile's own status.
    decided_by: String,
    /// `open` for a profile of open links.
    origin: String,
    /// The newest entry of the status history, and its id.
    latest_status: String,
    latest_entry: String,
    /// Whether the rules of a check made that entry.
    #[serde(deserialize_with = "or_default")]
    latest_by_rules: bool,
}

impl Standing {
    /// The newest entry of the status history, else the profile's own status.
    pub(super) fn status(&self) -> &str {
        if self.latest_status.is_empty() { &self.verification_status } else { &self.latest_status }
    }

    /// Whether the profile is of open links, or of the partner's backend and its signed links.
    pub(super) fn origin(&self) -> Origin {
        if self.origin == "open" { Origin::Open } else { Origin::Backend }
    }

    /// Whether the profile is decided: it is verified or rejected, or the newest entry of its history is a word that decides. A profile
    /// of open links goes on after a rejection by the rules.
    pub(super) fn is_decided(&self) -> bool {
        let goes_on = |status: &str, by_rules: bool| {
            leaves_open(status) || (self.origin == "open" && by_rules && status.eq_ignore_ascii_case("rejected"))
        };
        !goes_on(&self.verification_status, self.decided_by == "rules")
            || !goes_on(&self.latest_status, self.latest_by_rules)
    }
}

/// The newest verification of a profile.
#[derive(Debug, Clone, Deserialize)]
#[allow(missing_docs)] // The names are the view's.
pub struct VerificationSummary {
    #[serde(rename = "verification_id")]
    pub id: String,
    #[serde(rename = "verification_record_status")]
    pub status: String,
    pub liveness_session_id: String,
    pub liveness_confidence: f64,
    pub liveness_status: String,
    #[serde(rename = "verification_document_type")]
    pub document_type: String,
    #[serde(rename = "verification_name")]
    pub name: String,
    #[serde(rename = "verification_document_number")]
    pub document_number: String,
    #[serde(rename = "verification_country")]
    pub country: String,
    #[serde(rename = "verification_created")]
    pub created: String,
    #[serde(rename = "verification_updated")]
    pub updated: String,
}

impl ProfileOverview {
    /// The newest entry of the status history, else the profile's own status.
    pub fn status(&self) -> &str {
        self.standing.status()
    }

    /// Where the profile stands: it differs after every decision.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The profile's own status.
    pub fn verification_status(&self) -> &str {
        &self.standing.verification_status
    }

    /// The newest verification, if there is any.
    pub fn verification(&self) -> Option<&VerificationSummary> {
        (!self.verification.id.is_empty()).then_some(&self.verification)
    }

    /// Whether flow tokens can no longer change the profile.
    pub fn is_decided(&self) -> bool {
        self.standing.is_decided()
    }

    /// Whether the profile is of open links, or of the partner's backend and its signed links.
    pub fn origin(&self) -> Origin {
        self.standing.origin()
    }

    /// Whether the team has another person whose identifier looks like this one's.
    pub fn has_look_alike(&self) -> bool {
        self.look_alikes > 0
    }
}

/// Changes of a profile, made in one write.
#[derive(Debug, Default, Serialize)]
#[serde(default)]
#[allow(missing_docs)] // The names are the collection's.
pub struct ProfileChanges {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_status: Option<VerificationStatus>,
    /// Empty, since the rules of a check do not decide here. Set with `verification_status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_type: Option<Text<64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_number: Option<Text<128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub document_name: Option<Text<255>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Text<128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_session_id: Option<Text<128>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_confidence: Option<Confidence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_status: Option<Text<64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub face_liveness_result: Option<Value>,
    /// Files by field.
    #[serde(skip)]
    pub files: Vec<(&'static str, RecordFile)>,
}

/// A profile after a change.
#[derive(Debug, Deserialize)]
#[allow(missing_docs)] // The names are the collection's.
pub struct ProfileRecord {
    pub id: RecordId,
    pub verification_status: String,
    pub document_type: String,
    pub document_number: String,
    pub document_name: String,
    pub country: String,
    pub document_front: String,
    pub document_back: String,
    pub facial_photo: String,
    pub facial_video: String,
    pub updated: String,
}

/// What a partner's backend declares of a person, and a check compares with the document.
const DECLARED: [&str; 5] = ["name", "document_type", "document_number", "country", "date_of_birth"];

impl PocketBase {
    /// Creates a profile, or finds the one with the same dedupe key. A unique index ensures that only one of several concurrent requests
    /// creates the record. A new profile is charged to a budget, where one is given. An existing profile gets what it lacks of the declared
    /// data, since a link may have created it first, unless it is decided; what it has is never changed. One call for a new profile, two
    /// for an existing one, three for one that lacks something.
    ///
    /// # Errors
    /// [`Error::BudgetUsedUp`] when a new profile is not within the budget; else when PocketBase fails.
    pub async fn create_profile(&self, profile: &NewProfile, charge: Option<&Charge>) -> Result<CreatedProfile, Error> {
        #[derive(Deserialize)]
        struct Found {
            id: RecordId,
            #[serde(flatten)]
            fields: Map<String, Value>,
        }
        let created: Result<Found, Error> = match charge {
            Some(charge) => self.create_charged("profiles", Writer::Partner, profile, charge).await,
            None => self.create("profiles", Writer::Partner, profile).await,
        };
        let existing = async || {
            let filter = equals("dedupe_key", &profile.dedupe_key.0);
            let fields = format!("id,verification_status,{}", DECLARED.join(","));
            let found = self.first::<Found>("profiles", &filter, &fields).await?;
            let Some(Found { id, fields }) = found else { return Ok(None) };
            // A decision was made without what is declared after it.
            let is_decided = ["verified", "rejected"]
                .iter()
                .any(|status| fields.get("verification_status").is_some_and(|own| own == status));
            if is_decided {
                return Ok(Some(id));
            }
            let given = serde_json::to_value(profile).map_err(|error| Error::BadAnswer(error.to_string()))?;
            let lacks = |field: &&&str| fields.get(**field).is_none_or(|stored| stored == "");
            let lacking = DECLARED.iter().filter(lacks);
            let lacking = lacking
                .filter_map(|field| given.get(*field).filter(|value| !value.is_null()).map(|value| (*field, value)));
            let changes: Map<_, _> = lacking.map(|(field, value)| (field.to_owned(), value.clone())).collect();
            if !changes.is_empty() {
                self.write(&Write::update("profiles", &id, Writer::Partner, &changes)?).await?;
            }
            Ok::<Option<RecordId>, Error>(Some(id))
        };
        match created {
            Ok(created) => Ok(CreatedProfile::Created(created.id)),
            Err(Error::NotUnique(field)) if field == "dedupe_key" => {
                let found =
                    existing().await?.ok_or_else(|| Error::BadAnswer("an existing profile is gone".to_owned()))?;
                Ok(CreatedProfile::Existing(found))
            }
            // The budget is charged first, and a person who is known needs none.
            Err(Error::BudgetUsedUp(budget)) => match existing().await? {
                Some(found) => Ok(CreatedProfile::Existing(found)),
                None => Err(Error::BudgetUsedUp(budget)),
            },
            Err(error) => Err(error),
        }
    }

    /// A profile that a caller sees, with its newest histories; `None` when it does not exist or belongs to another team. One
    /// call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn profile_overview(&self, id: &RecordId, teams: &Teams) -> Result<Option<ProfileOverview>, Error> {
        self.first("profile_overview", &visible_to(teams, &equals("id", id.as_str())), "").await
    }

    /// Changes a profile and marks the uploads that its files come from as used, in one transaction. `attempt` counts a change by flow
    /// token. One call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the attempt is taken, [`Error::Refused`] for a flow token once the profile is decided,
    /// [`Error::UploadConflict`] when an upload is stored already; else when PocketBase fails.
    pub async fn update_profile(
        &self,
        id: &RecordId,
        writer: Writer,
        changes: &ProfileChanges,
        uses: &[UploadUse],
        attempt: Option<&str>,
    ) -> Result<ProfileRecord, Error> {
        let counted = attempt.map(|attempt| flow_actions::write(id, FlowAction::Update, attempt)).transpose()?;
        let update = Write::update("profiles", id, writer, changes)?.with_files(&changes.files);
        let mut written = self.transact_using(uses, counted.into_iter().chain([update]).collect()).await?;
        typed(written.pop().ok_or_else(|| Error::BadAnswer("an empty batch".to_owned()))?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_key_of_a_document_ignores_case_and_padding_and_depends_on_the_team() {
        let team: Team = "a".parse().unwrap();
        let key = DedupeKey::of_document(Some(&team), "passport", "A123", "SG");
        assert_eq!(key, DedupeKey::of_document(Some(&team), " Passport", "a123 ", "sg"));
        assert_ne!(key, DedupeKey::of_document(None, "passport", "A123", "SG"));
        assert_ne!(key, DedupeKey::of_document(Some(&team), "passport", "A12", "3SG"));
        assert_eq!(DedupeKey::of_document(None, "x", "STRASSE", "y"), DedupeKey::of_document(None, "x", "straße", "y"));
    }

    #[test]
    fn the_key_of_a_user_is_case_sensitive_and_unique_per_team_and_user() {
        let (a, ab): (Team, Team) = ("a".parse().unwrap(), "ab".parse().unwrap());
        let user = |text: &str| text.parse::<UserId>().unwrap();
        assert_ne!(DedupeKey::of_user(Some(&a), &user("bc")), DedupeKey::of_user(Some(&ab), &user("c")));
        assert_ne!(DedupeKey::of_user(Some(&a), &user("x")), DedupeKey::of_user(Some(&a), &user("X")));
        assert_ne!(DedupeKey::of_user(Some(&a), &user("x")), DedupeKey::of_open_link(Some(&a), &user("x")));
    }
}
