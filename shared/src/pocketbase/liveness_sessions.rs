//! `liveness_sessions`: whose a Face Liveness session is and, once it is over, what AWS said. That is written once.

use bytes::Bytes;
use futures_util::future::{BoxFuture, try_join_all};
use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde::{Deserialize, Deserializer, Serialize};

use super::batch::bytes_part;
use super::filter::{equals, visible_to};
use super::session::optional_team;
use super::{Call, Error, Payload, PocketBase, Writer, typed};
use crate::types::{RecordId, SessionId, Team, Teams};

/// How far a session is, in AWS's words.
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
    /// Whether AWS has nothing more to say.
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Created | Self::InProgress)
    }
}

/// Where the face is, in parts of the image's width and height, as AWS names them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs)] // The names say it.
pub struct BoundingBox {
    pub width: f64,
    pub height: f64,
    pub left: f64,
    pub top: f64,
}

/// A frame of the session's video, a JPEG.
#[derive(Debug, Clone)]
pub struct LivenessImage {
    /// The image.
    pub bytes: Bytes,
    /// Where the face is, if AWS said so.
    pub bounding_box: Option<BoundingBox>,
}

/// What AWS said of a session that is over.
#[derive(Debug, Clone)]
pub struct LivenessOutcome {
    /// How it ended.
    pub status: LivenessStatus,
    /// How sure AWS is that the person is live, 0 to 100.
    pub confidence: Option<f64>,
    /// The best frame.
    pub reference_image: Option<LivenessImage>,
    /// Further frames, at most four.
    pub audit_images: Vec<LivenessImage>,
}

/// A session to be kept.
#[derive(Debug, Clone, Serialize)]
pub struct NewLivenessSession {
    /// AWS's id of it.
    pub session_id: SessionId,
    /// Whose it is.
    pub team: Option<Team>,
    /// The profile of the flow token that it is made with.
    pub profile: Option<RecordId>,
    /// `CREATED`.
    pub status: LivenessStatus,
    /// `<UTC day>#<n>` for a session made with a flow token: unique per profile, which makes a daily limit exact.
    pub flow_attempt: Option<String>,
}

/// A session as it is stored.
#[derive(Debug, Clone, Deserialize)]
pub struct LivenessSession {
    /// Its record's id.
    pub id: RecordId,
    /// AWS's id of it.
    pub session_id: SessionId,
    /// Whose it is.
    #[serde(deserialize_with = "optional_team")]
    pub team: Option<Team>,
    /// The profile of the flow token that it was made with.
    #[serde(deserialize_with = "optional_id")]
    pub profile: Option<RecordId>,
    /// How far it was when AWS was last asked.
    pub status: LivenessStatus,
    confidence: f64,
    reference_image: String,
    audit_images: Vec<String>,
    #[serde(deserialize_with = "or_none")]
    bounding_boxes: Vec<Option<BoundingBox>>,
}

/// A relation as collections hold it, where none is empty.
pub(super) fn optional_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<RecordId>, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

/// A JSON list, which is null while nothing has been stored.
fn or_none<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What PocketBase says of a record that was written.
#[derive(Deserialize)]
struct Written {
    #[serde(rename = "id")]
    _id: RecordId,
}

impl LivenessSession {
    /// AWS's score, of a session that succeeded.
    pub fn confidence(&self) -> Option<f64> {
        (self.status == LivenessStatus::Succeeded).then_some(self.confidence)
    }
}

impl PocketBase {
    /// Keeps whose a new session is. A session that is there already was made by the same request, sent again.
    ///
    /// # Errors
    /// [`Error::NotUnique`] when the `flow_attempt` is taken, [`Error::Refused`] for a flow token whose profile is decided; else
    /// when PocketBase fails.
    pub async fn create_liveness_session(&self, session: &NewLivenessSession) -> Result<(), Error> {
        let writer = if session.flow_attempt.is_some() { Writer::Flow } else { Writer::Partner };
        let fields = serde_json::to_value(session).map_err(|error| Error::BadAnswer(error.to_string()))?;
        match self.create::<Written>("liveness_sessions", writer, Payload::Json(&fields)).await {
            Err(Error::NotUnique(field)) if field == "session_id" => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// A session that a caller sees; with `profile`, only if it was made for that profile. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn liveness_session(
        &self,
        session_id: &SessionId,
        teams: &Teams,
        profile: Option<&RecordId>,
    ) -> Result<Option<LivenessSession>, Error> {
        // A session of somebody who has been deleted is gone, whatever AWS still knows of it.
        let filter = format!("redacted=false && {}", equals("session_id", session_id.as_str()));
        let mut filter = visible_to(teams, &filter);
        if let Some(profile) = profile {
            filter = format!("{filter} && {}", equals("profile", profile.as_str()));
        }
        self.first("liveness_sessions", &filter, "").await
    }

    /// Keeps what AWS said. One call; what is already kept stays.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn settle_liveness_session(&self, session: &RecordId, outcome: &LivenessOutcome) -> Result<(), Error> {
        let images: Vec<_> = outcome.reference_image.iter().chain(&outcome.audit_images).collect();
        let boxes: Vec<_> = images.iter().map(|image| image.bounding_box).collect();
        let fields = serde_json::json!({
            "status": outcome.status, "confidence": outcome.confidence, "bounding_boxes": boxes,
        });
        let make_form = || -> BoxFuture<'_, Result<Form, Error>> {
            let form = Form::new().text("@jsonPayload", fields.to_string());
            let form =
                outcome.reference_image.iter().fold(form, |form, image| form.part("reference_image", part(image)));
            let form = outcome.audit_images.iter().fold(form, |form, image| form.part("audit_images", part(image)));
            Box::pin(async { Ok(form) })
        };
        let path = format!("/api/collections/liveness_sessions/records/{session}");
        let call = Call { method: Method::PATCH, path, query: &[], payload: Payload::Form(&make_form) };
        match self.send(&call).await?.into_success().and_then(typed::<Written>) {
            // The rule lets nobody write an outcome again: another request was faster.
            Err(Error::Refused) => Ok(()),
            outcome => outcome.map(|_| ()),
        }
    }

    /// What AWS said of a session, as it was kept. One call per image, all at once, and one for a file token every 90 s.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn liveness_outcome(&self, session: &LivenessSession) -> Result<LivenessOutcome, Error> {
        let has_reference = !session.reference_image.is_empty();
        let names: Vec<_> =
            has_reference.then_some(&session.reference_image).into_iter().chain(&session.audit_images).collect();
        if !names.is_empty() {
            // Once, and not by each of the downloads that then begin together.
            self.file_token().await?;
        }
        let images = names.iter().enumerate().map(async |(place, name)| {
            let response = self.download(&format!("/api/files/liveness_sessions/{}/{name}", session.id)).await?;
            let bytes = response.bytes().await.map_err(|error| super::Broken::from(error).error)?;
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

fn part(image: &LivenessImage) -> Part {
    bytes_part(&image.bytes, "face.jpg".to_owned())
}
