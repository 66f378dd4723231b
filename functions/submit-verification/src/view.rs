//! Result of a check, as answered to callers and sent in webhooks.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use shared::types::{Decimal, UserId, VerificationStatus};
use storage::{Bucket, check_key};

use crate::rules::{Decision, Level};
use crate::submission::Submission;

/// Result of a check. The same fields go to the caller, the webhook and the check's record.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    #[serde(skip)]
    profile: String,
    session_id: String,
    timestamp: String,
    face_comparison: FaceComparison,
    verification_assessment: Assessment,
    status: VerificationStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FaceComparison {
    is_identical: bool,
    /// 0 to 1.
    confidence: Decimal,
    /// 0 to 100.
    similarity_score: Decimal,
    method: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Assessment {
    /// 0 to 100.
    overall_score: Decimal,
    verification_status: VerificationStatus,
    confidence_level: Level,
    risk_factors: Vec<&'static str>,
    summary: &'static str,
}

/// Answer to a submission.
#[derive(Serialize)]
pub struct SubmitView<'a> {
    success: bool,
    check_id: &'a str,
    result: ResultView<'a>,
}

#[derive(Serialize)]
struct ResultView<'a> {
    user_identifier: &'a str,
    files: Value,
    #[serde(flatten)]
    result: &'a CheckResult,
}

impl CheckResult {
    pub fn new(submission: &Submission, decision: Decision, method: &'static str, now: DateTime<Utc>) -> Self {
        // One decimal, since the comparison is not more precise.
        let score = (decision.score * 10.0).round() / 10.0;
        Self {
            profile: submission.profile.to_string(),
            session_id: submission.check_id.clone(),
            timestamp: now.to_rfc3339_opts(SecondsFormat::Millis, true),
            face_comparison: FaceComparison {
                is_identical: decision.is_identical,
                confidence: Decimal((score * 10.0).round() / 1_000.0),
                similarity_score: Decimal(score),
                method,
            },
            verification_assessment: Assessment {
                overall_score: Decimal(score),
                verification_status: decision.status,
                confidence_level: decision.level,
                risk_factors: decision.risk_factors,
                summary: decision.summary,
            },
            status: decision.status,
        }
    }

    pub fn verification_status(&self) -> VerificationStatus {
        self.status
    }

    pub fn status(&self) -> &'static str {
        self.status.as_str()
    }

    pub fn risk_factors(&self) -> &[&'static str] {
        &self.verification_assessment.risk_factors
    }

    /// The result as stored in the check's record.
    pub fn stored(&self) -> Value {
        json!(self)
    }
}

impl<'a> SubmitView<'a> {
    pub async fn new(check_id: &'a str, user: &'a UserId, result: &'a CheckResult, bucket: &Bucket) -> Self {
        let file = async |field: &str| {
            let key = check_key(&result.profile, check_id, field);
            json!({ "url": bucket.link(&key).await.ok(), "fileName": format!("{check_id}_{field}") })
        };
        let files = json!({ "selfieVideo": file("selfie_video").await, "idPhoto": file("id_photo").await });
        Self { success: true, check_id, result: ResultView { user_identifier: user.as_str(), files, result } }
    }
}

/// Webhook payload. The media URLs are added with each delivery attempt.
pub fn webhook_payload(submission: &Submission, result: &CheckResult, now: DateTime<Utc>) -> Value {
    json!({
        "check_id": submission.check_id,
        "user_identifier": submission.user,
        "verification_result": result,
        "completed_at": now.to_rfc3339_opts(SecondsFormat::Millis, true),
    })
}
