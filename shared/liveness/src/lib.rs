//! Amazon Rekognition Face Liveness: sessions, their results, and the threshold of a live person.
//!
//! AWS deletes a session three minutes after its creation. The result of an ended session is therefore stored in PocketBase
//! (`liveness_sessions`) when it is first read.

mod error;
mod http;

use aws_sdk_rekognition::Client;
use aws_sdk_rekognition::config::Builder;
use aws_sdk_rekognition::operation::get_face_liveness_session_results::GetFaceLivenessSessionResultsOutput;
use aws_sdk_rekognition::types::{
    AuditImage, ChallengePreference, ChallengeType, CreateFaceLivenessSessionRequestSettings, LivenessSessionStatus,
};
use shared::aws;
use shared::env::{ConfigError, Env};
use shared::pocketbase::PocketBase;
use shared::pocketbase::records::{BoundingBox, LivenessImage, LivenessOutcome, LivenessSession, LivenessStatus};
use shared::types::SessionId;

pub use error::Error;

/// The challenge of a session: the most accurate one, according to AWS.
pub const CHALLENGE: &str = "FaceMovementAndLightChallenge";

/// Settings of Face Liveness.
#[derive(Clone, Copy)]
pub struct Settings {
    /// `FACE_LIVENESS_THRESHOLD`: confidence from which a session counts as live, 0 to 100, 75 by default.
    pub threshold: f64,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the threshold is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { threshold: env.number("FACE_LIVENESS_THRESHOLD", 75.0, 0.0..=100.0)? })
    }
}

/// Client of Face Liveness. Built once per execution environment.
pub struct Liveness {
    client: Option<Client>,
    settings: Settings,
}

impl Liveness {
    /// Reads the settings. Without a long-term key and a role for browsers, every call fails as not configured.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let settings = aws::Settings::from_env(env)?;
        let client = match settings.is_configured() {
            true => {
                let config = aws::config(&settings, "REKOGNITION").await;
                Some(Client::from_conf(Builder::from(&config).interceptor(aws::CountCalls("Rekognition")).build()))
            }
            false => None,
        };
        Ok(Self { client, settings: Settings::from_env(env)? })
    }

    fn client(&self) -> Result<&Client, aws::Error> {
        self.client.as_ref().ok_or(aws::Error::NotConfigured)
    }

    /// Creates a session. The same `request_token` (at most 64 characters of `A-Z a-z 0-9 _ -`) returns the same session again.
    /// `audit_images`: number of frames that AWS keeps beside the reference image, 0 to 4. One call.
    ///
    /// # Errors
    /// When AWS is not configured, or fails.
    pub async fn create_session(&self, request_token: &str, audit_images: i32) -> Result<SessionId, aws::Error> {
        let challenge = ChallengePreference::builder().r#type(ChallengeType::from(CHALLENGE)).build();
        let challenge = challenge.map_err(aws::Error::bad_answer)?;
        let settings = CreateFaceLivenessSessionRequestSettings::builder()
            .audit_images_limit(audit_images)
            .challenge_preferences(challenge)
            .build();
        let request = self.client()?.create_face_liveness_session().settings(settings);
        // No `note_change`: a repeated request gets the same session.
        let created = request.client_request_token(request_token).send().await?;
        created.session_id().parse().map_err(aws::Error::bad_answer)
    }

    /// Reads the result of a session, and stores it when the session has ended; `None` when AWS does not know the session or has
    /// deleted it. One call of AWS and, for an ended session, one of PocketBase.
    ///
    /// # Errors
    /// When AWS is not configured, or AWS or PocketBase fails.
    pub async fn read(
        &self,
        pocketbase: &PocketBase,
        session: &LivenessSession,
    ) -> Result<Option<LivenessOutcome>, Error> {
        let request = self.client()?.get_face_liveness_session_results().session_id(session.session_id.as_str());
        let outcome = match request.send().await {
            Ok(answer) => outcome(answer)?,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_session_not_found_exception()) => {
                return Ok(None);
            }
            Err(error) => return Err(aws::Error::from(error).into()),
        };
        if outcome.status.is_over() {
            pocketbase.store_liveness_result(&session.id, &outcome).await?;
            self.count(&outcome);
        }
        Ok(Some(outcome))
    }

    /// Counts an ended session in the metric `LivenessSessions`.
    fn count(&self, outcome: &LivenessOutcome) {
        let name = match outcome.status {
            LivenessStatus::Succeeded if self.is_live(outcome.status, outcome.confidence) => "live",
            LivenessStatus::Succeeded => "not_live",
            LivenessStatus::Failed => "failed",
            _ => "expired",
        };
        metrics::counter!("LivenessSessions", "Outcome" => name).increment(1);
    }

    /// Whether a session shows a live person: it succeeded, and its confidence reaches the threshold.
    pub fn is_live(&self, status: LivenessStatus, confidence: Option<f64>) -> bool {
        status == LivenessStatus::Succeeded
            && confidence.is_some_and(|confidence| confidence >= self.settings.threshold)
    }
}

fn outcome(answer: GetFaceLivenessSessionResultsOutput) -> Result<LivenessOutcome, aws::Error> {
    let status = match answer.status {
        LivenessSessionStatus::Created => LivenessStatus::Created,
        LivenessSessionStatus::InProgress => LivenessStatus::InProgress,
        LivenessSessionStatus::Succeeded => LivenessStatus::Succeeded,
        LivenessSessionStatus::Failed => LivenessStatus::Failed,
        LivenessSessionStatus::Expired => LivenessStatus::Expired,
        _ => return Err(aws::Error::bad_answer("an unknown status")),
    };
    let confidence = answer.confidence.map(decimal);
    if status == LivenessStatus::Succeeded && !confidence.is_some_and(|confidence| (0.0..=100.0).contains(&confidence))
    {
        return Err(aws::Error::bad_answer("a success without a score from 0 to 100"));
    }
    Ok(LivenessOutcome {
        status,
        confidence,
        reference_image: answer.reference_image.and_then(image),
        audit_images: answer.audit_images.unwrap_or_default().into_iter().filter_map(image).take(4).collect(),
    })
}

fn image(image: AuditImage) -> Option<LivenessImage> {
    let bounding_box = image.bounding_box.map(|bounds| BoundingBox {
        width: bounds.width.map(decimal).unwrap_or_default(),
        height: bounds.height.map(decimal).unwrap_or_default(),
        left: bounds.left.map(decimal).unwrap_or_default(),
        top: bounds.top.map(decimal).unwrap_or_default(),
    });
    let bytes = image.bytes?.into_inner();
    (!bytes.is_empty()).then(|| LivenessImage { bytes: bytes.into(), bounding_box })
}

/// The decimal number that AWS sent, such as 95.51. A cast of the `f32` to `f64` would give 95.51000213623047.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_outside_0_to_100_is_refused() {
        assert!(Settings::from_env(&Env::from([("FACE_LIVENESS_THRESHOLD", "101")])).is_err());
    }
}
