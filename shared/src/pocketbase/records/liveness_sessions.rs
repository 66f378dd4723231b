//! `liveness_sessions`: Face Liveness sessions, their owner and, once they have ended, their result. The result is written once.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use crate::pocketbase::client::{
    Broken, Error, PocketBase, RecordFile, Write, Writer, equals, optional, or_default, timestamp, visible_to,
};
use crate::types::{RecordId, SessionId, Team, Teams};

/// Status of a session, as AWS names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)] // The names say it.
pub enum LivenessStatus {
    Created,
    InProgress,
    Succeeded,
    Failed,
    Expired,
}

impl LivenessStatus {
    /// Whether the status is final.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Created | Self::InProgress)
    }
}

/// Position of the face, as ratios of the image's width and height; names as in AWS.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // The names say it.
pub struct BoundingBox {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub top: f64,
}

/// A frame of the session's video, as JPEG.
#[derive(Debug, Clone)]
pub struct LivenessImage {
    /// The image.
    pub bytes: Bytes,
    /// Position of the face, if AWS gave it.
    pub bounding_box: Option<BoundingBox>,
}

/// Result of a session, as AWS gave it.
#[derive(Debug, Clone)]
pub struct LivenessOutcome {
    /// The status.
    pub status: LivenessStatus,
    /// Confidence that the person is live, 0 to 100.
    pub confidence: Option<f64>,
    /// The best frame.
    pub reference_image: Option<LivenessImage>,
    /// Further frames, at most four.
    pub audit_images: Vec<LivenessImage>,
}

/// A session to be stored.
#[derive(Debug, Clone, Serialize)]
pub struct NewLivenessSession {
    /// AWS's id of the session.
    pub session_id: SessionId,
    /// Its team.
    pub team: Option<Team>,
    /// The profile of the flow token that created it.
    pub profile: Option<RecordId>,
    /// `CREATED`.
    pub status: LivenessStatus,
    /// `<UTC day>#<n>` for a session by flow token: unique per profile, which makes the daily limit exact.
    pub flow_attempt: Option<String>,
}

/// A stored session.
#[derive(Debug, Clone, Deserialize)]
pub struct LivenessSession {
    /// Its record's id.
    pub id: RecordId,
    /// AWS's id of the session.
    pub session_id: SessionId,
    /// Its team.
    #[serde(deserialize_with = "optional")]
    pub team: Option<Team>,
    /// The profile of the flow token that created it.
    #[serde(deserialize_with = "optional")]
    pub profile: Option<RecordId>,
    /// The stored status: `CREATED` until the result is stored, then the final status.
    pub status: LivenessStatus,
    confidence: f64,
    reference_image: String,
    audit_images: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    bounding_boxes: Vec<Option<BoundingBox>>,
}

#[derive(Deserialize)]
struct Written {
    #[serde(rename = "id")]
    _id: RecordId,
}

impl LivenessSession {
    /// AWS's confidence score of a session that succeeded.
    pub fn confidence(&self) -> Option<f64> {
        (self.status == LivenessStatus::Succeeded).then_some(self.confidence)
    }
}

impl PocketBase {
    /// Stores a new session with its owner. A session that exists already was created by the same request, sent again. One
    /// call.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a flow token whose profile is decided; else
    /// when PocketBase fails.
    pub async fn create_liveness_session(&self, writer: Writer, session: &NewLivenessSession) -> Result<(), Error> {
        match self.create::<Written>("liveness_sessions", writer, session).await {
            Err(Error::NotUnique(field)) if field == "session_id" => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// A session that a caller sees; with `profile`, only if it was created for that profile. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn liveness_session(
        &self,
        session_id: &SessionId,
        teams: &Teams,
        profile: Option<&RecordId>,
    ) -> Result<Option<LivenessSession>, Error> {
        // The session of a redacted person is not found, even if AWS still has it.
        let filter = format!("redacted=false && {}", equals("session_id", session_id.as_str()));
        let mut filter = visible_to(teams, &filter);
        if let Some(profile) = profile {
            filter = format!("{filter} && {}", equals("profile", profile.as_str()));
        }
        self.first("liveness_sessions", &filter, "").await
    }

    /// The newest sessions of a profile that succeeded, created since a time; at most five. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn succeeded_sessions(
        &self,
        profile: &RecordId,
        since: DateTime<Utc>,
    ) -> Result<Vec<LivenessSession>, Error> {
        let since = serde_json::Value::from(timestamp(since));
        let of_profile = equals("profile", profile.as_str());
        let filter = format!("redacted=false && status=\"SUCCEEDED\" && created>={since} && {of_profile}");
        let query = [("perPage", "5"), ("skipTotal", "1"), ("sort", "-created"), ("filter", &*filter)];
        self.list("liveness_sessions", &query).await
    }

    /// Loads the reference image of a session; `None` without one. One call, and one for a file token every 90 s.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn reference_image(&self, session: &LivenessSession) -> Result<Option<Bytes>, Error> {
        if session.reference_image.is_empty() {
            return Ok(None);
        }
        let path = format!("/api/files/liveness_sessions/{}/{}", session.id, session.reference_image);
        let response = self.download(&path).await?;
        Ok(Some(response.bytes().await.map_err(|error| Broken::from(error).error)?))
    }

    /// Stores the result of a session. A stored result is never replaced. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn store_liveness_result(&self, session: &RecordId, outcome: &LivenessOutcome) -> Result<(), Error> {
        let images: Vec<_> = outcome.reference_image.iter().chain(&outcome.audit_images).collect();
        let boxes: Vec<_> = images.iter().map(|image| image.bounding_box).collect();
        let fields = serde_json::json!({
            "status": outcome.status, "confidence": outcome.confidence, "bounding_boxes": boxes,
        });
        let file = |field| move |image: &LivenessImage| (field, RecordFile::Jpeg(image.bytes.clone()));
        let mut files: Vec<_> = outcome.reference_image.iter().map(file("reference_image")).collect();
        files.extend(outcome.audit_images.iter().map(file("audit_images")));
        let write = Write::update("liveness_sessions", session, Writer::Partner, &fields)?;
        match self.write(&write.with_files(&files)).await {
            // The rules refuse a second result: a concurrent request was faster.
            Err(Error::Refused) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// Loads the stored result of a session. One call per image, all at the same time, and one for a file token every 90 s.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn liveness_outcome(&self, session: &LivenessSession) -> Result<LivenessOutcome, Error> {
        let has_reference = !session.reference_image.is_empty();
        let names: Vec<_> =
            has_reference.then_some(&session.reference_image).into_iter().chain(&session.audit_images).collect();
        if !names.is_empty() {
            // Concurrent downloads would otherwise each get a token of their own.
            self.file_token().await?;
        }
        let images = names.iter().enumerate().map(async |(place, name)| {
            let response = self.download(&format!("/api/files/liveness_sessions/{}/{name}", session.id)).await?;
            let bytes = response.bytes().await.map_err(|error| Broken::from(error).error)?;
            Ok::<_, Error>(LivenessImage { bytes, bounding_box: session.bounding_boxes.get(place).copied().flatten() })
        });
        let mut images = try_join_all(images).await?.into_iter();
        Ok(LivenessOutcome {
            status: session.status,
            confidence: session.confidence(),
            reference_image: if has_reference { images.next() } else { None },
            audit_images: images.collect(),
        })
    }
}
