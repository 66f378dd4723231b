//! `evidence`: videos, photos, documents and device events, each of which serves one person of a team.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::pocketbase::client::{Error, PocketBase, Write, Writer, equals};
use crate::types::{RecordId, Team};

/// Kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// The video of a check.
    Video,
    /// A photo of a check.
    Photo,
    /// A document, by its number and country.
    Document,
    /// An event of Fingerprint.
    DeviceEvent,
}

impl EvidenceKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Photo => "photo",
            Self::Document => "document",
            Self::DeviceEvent => "device_event",
        }
    }
}

/// A piece of evidence. Its id is derived from its digest, so that it exists once per team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    id: RecordId,
    team: Option<Team>,
    /// Its kind.
    pub kind: EvidenceKind,
    is_stored: bool,
}

/// Person and profile that use evidence.
#[derive(Debug, Clone)]
pub struct EvidenceOwner {
    /// The profile.
    pub profile: RecordId,
    /// The partner's identifier of the person; the id of the profile where there is none. The same person can have two profiles.
    pub person: String,
}

impl EvidenceOwner {
    /// The owner for a profile of a person.
    pub fn new(profile: &RecordId, user_id: &str) -> Self {
        let person = if user_id.is_empty() { profile.as_str() } else { user_id };
        Self { profile: profile.clone(), person: person.to_owned() }
    }
}

#[derive(Deserialize)]
struct Known {
    id: RecordId,
    person: String,
}

impl Evidence {
    /// Evidence of a team by its digest, or by other text that identifies it.
    pub fn new(team: Option<&Team>, kind: EvidenceKind, digest: &str) -> Self {
        let id = RecordId::derived(&[team.map_or("", Team::as_str), kind.as_str(), digest]);
        Self { id, team: team.cloned(), kind, is_stored: true }
    }

    /// Evidence of a profile of open links, which is apart from that of other profiles.
    pub fn of_open_link(team: Option<&Team>, kind: EvidenceKind, digest: &str) -> Self {
        let id = RecordId::derived(&[team.map_or("", Team::as_str), "open", kind.as_str(), digest]);
        Self { id, ..Self::new(team, kind, digest) }
    }

    /// The same evidence, which is looked up and not stored.
    pub fn only_looked_up(self) -> Self {
        Self { is_stored: false, ..self }
    }

    pub(super) fn write(&self, owner: &EvidenceOwner) -> Result<Write<'static>, Error> {
        let fields = json!({
            "id": self.id, "team": self.team, "kind": self.kind, "profile": owner.profile, "person": owner.person,
        });
        Write::create("evidence", Writer::Partner, &fields)
    }
}

/// Evidence, divided by who used it before.
#[derive(Debug, Default)]
pub struct KnownEvidence {
    /// Used by nobody before.
    pub new: Vec<Evidence>,
    /// Used by another person.
    pub of_others: Vec<EvidenceKind>,
}

impl PocketBase {
    /// Looks up who used evidence before. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn known_evidence(&self, evidence: Vec<Evidence>, owner: &EvidenceOwner) -> Result<KnownEvidence, Error> {
        if evidence.is_empty() {
            return Ok(KnownEvidence::default());
        }
        let ids: Vec<_> = evidence.iter().map(|evidence| equals("id", evidence.id.as_str())).collect();
        let filter = ids.join(" || ");
        let query = [("perPage", "30"), ("skipTotal", "1"), ("filter", &*filter), ("fields", "id,person")];
        let known: Vec<Known> = self.list("evidence", &query).await?;
        let mut found = KnownEvidence::default();
        for evidence in evidence {
            match known.iter().find(|known| known.id == evidence.id) {
                None if evidence.is_stored => found.new.push(evidence),
                None => {}
                Some(known) if known.person != owner.person => found.of_others.push(evidence.kind),
                Some(_) => {}
            }
        }
        Ok(found)
    }
}
