//! Amazon Rekognition Face Liveness: sessions at AWS, and when somebody is taken to be live.
//!
//! AWS forgets a session three minutes after it was made, so what it says of one that is over is kept in PocketBase when
//! it is first read (`liveness_sessions`).

use aws_sdk_rekognition::Client;
use aws_sdk_rekognition::operation::get_face_liveness_session_results::GetFaceLivenessSessionResultsOutput;
use aws_sdk_rekognition::types::{
    AuditImage, ChallengePreference, ChallengeType, CreateFaceLivenessSessionRequestSettings, LivenessSessionStatus,
};
use shared::aws;
use shared::config::{AwsSettings, ConfigError, Env, LivenessSettings};
use shared::http::ApiError;
use shared::pocketbase::{BoundingBox, LivenessImage, LivenessOutcome, LivenessSession, LivenessStatus, PocketBase};
use shared::types::SessionId;

/// The challenge that a person is put before: the one that AWS calls most accurate.
pub const CHALLENGE: &str = "FaceMovementAndLightChallenge";

/// A client of Face Liveness. Made once in a process's life.
pub struct Liveness {
    client: Option<Client>,
    settings: LivenessSettings,
}

impl Liveness {
    /// A client, which answers 501 where AWS is not configured.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let aws = AwsSettings::from_env(env)?;
        let client = match aws.is_configured() {
            true => Some(Client::new(&aws::config(&aws, "REKOGNITION").await)),
            false => None,
        };
        Ok(Self { client, settings: LivenessSettings::from_env(env)? })
    }

    fn client(&self) -> Result<&Client, ApiError> {
        self.client.as_ref().ok_or_else(aws::not_configured)
    }

    /// A new session; the same one again for the same `request_token` (at most 64 of `A-Z a-z 0-9 _ -`).
    /// `audit_images`: how many frames, 0 to 4, are wanted beside the best one.
    ///
    /// # Errors
    /// 501 where AWS is not configured; AWS's failures.
    pub async fn create_session(&self, request_token: &str, audit_images: i32) -> Result<SessionId, ApiError> {
        let challenge = ChallengePreference::builder().r#type(ChallengeType::from(CHALLENGE)).build();
        let challenge = challenge.map_err(ApiError::internal)?;
        let settings = CreateFaceLivenessSessionRequestSettings::builder()
            .audit_images_limit(audit_images)
            .challenge_preferences(challenge)
            .build();
        let request = self.client()?.create_face_liveness_session().settings(settings);
        let made = request.client_request_token(request_token).send().await.map_err(|error| aws::failure(&error))?;
        made.session_id().parse().map_err(aws::bad_answer)
    }

    /// What AWS says of a session now, kept when the session is over; `None` for one that AWS does not know (any more).
    /// One call of AWS and, for a session that is over, one of PocketBase.
    ///
    /// # Errors
    /// 501 where AWS is not configured; AWS's and PocketBase's failures.
    pub async fn read(
        &self,
        pocketbase: &PocketBase,
        session: &LivenessSession,
    ) -> Result<Option<LivenessOutcome>, ApiError> {
        let request = self.client()?.get_face_liveness_session_results().session_id(session.session_id.as_str());
        let outcome = match request.send().await {
            Ok(answer) => outcome(answer)?,
            Err(error) if error.as_service_error().is_some_and(|error| error.is_session_not_found_exception()) => {
                return Ok(None);
            }
            Err(error) => return Err(aws::failure(&error)),
        };
        if outcome.status.is_over() {
            pocketbase.settle_liveness_session(&session.id, &outcome).await?;
        }
        Ok(Some(outcome))
    }

    /// Whether a session shows somebody live: it succeeded, with enough confidence.
    pub fn is_live(&self, status: LivenessStatus, confidence: Option<f64>) -> bool {
        status == LivenessStatus::Succeeded
            && confidence.is_some_and(|confidence| confidence >= self.settings.threshold)
    }
}

fn outcome(answer: GetFaceLivenessSessionResultsOutput) -> Result<LivenessOutcome, ApiError> {
    let status = match answer.status {
        LivenessSessionStatus::Created => LivenessStatus::Created,
        LivenessSessionStatus::InProgress => LivenessStatus::InProgress,
        LivenessSessionStatus::Succeeded => LivenessStatus::Succeeded,
        LivenessSessionStatus::Failed => LivenessStatus::Failed,
        LivenessSessionStatus::Expired => LivenessStatus::Expired,
        _ => return Err(aws::bad_answer("an unknown status")),
    };
    let confidence = answer.confidence.map(decimal);
    if status == LivenessStatus::Succeeded && !confidence.is_some_and(|confidence| (0.0..=100.0).contains(&confidence))
    {
        return Err(aws::bad_answer("a success without a score from 0 to 100"));
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

/// The number that AWS wrote: 95.51 and not the 95.51000213623047 that its nearest `f32` would be as `f64`.
fn decimal(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}
