//! Result of a check, as answered to callers and sent in webhooks.

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Map, Value, json};
use shared::http::Form;
use shared::pocketbase::records::NewDelivery;
use shared::types::{Decimal, Origin, RecordId, UserId, VerificationStatus};
use storage::{Bucket, check_key};

use crate::document::Document;
use crate::rules::{Decision, Level};
use crate::submission::Submission;

/// Result of a check. The same fields go to the caller and the webhook.
#[derive(Serialize)]
pub struct CheckResult {
    user_identifier: UserId,
    profile_id: RecordId,
    #[serde(flatten)]
    outcome: Outcome,
    /// What was read on the document.
    document: Document,
}

/// A check with its outcome.
pub struct Completed {
    pub result: CheckResult,
    pub deliveries: Vec<NewDelivery>,
}

/// Part of a result without the person's data, which the check's record keeps.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome {
    session_id: String,
    timestamp: String,
    origin: Origin,
    face_comparison: FaceComparison,
    verification_assessment: Assessment,
    status: VerificationStatus,
    /// `resubmit` when the person can mend all that is wrong.
    #[serde(rename = "next_step", skip_serializing_if = "Option::is_none")]
    next_step: Option<&'static str>,
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
    files: Value,
    #[serde(flatten)]
    result: &'a CheckResult,
}

impl CheckResult {
    pub fn new(
        submission: &Submission,
        decision: Decision,
        document: Document,
        method: &'static str,
        now: DateTime<Utc>,
    ) -> Self {
        // One decimal, since the comparison is not more precise.
        let score = (decision.score * 10.0).round() / 10.0;
        Self {
            user_identifier: submission.user.clone(),
            profile_id: submission.profile_id().clone(),
            outcome: Outcome {
                session_id: submission.check_id.clone(),
                timestamp: now.to_rfc3339_opts(SecondsFormat::Millis, true),
                origin: submission.origin,
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
                next_step: decision.can_be_mended.then_some("resubmit"),
            },
            document,
        }
    }

    pub fn verification_status(&self) -> VerificationStatus {
        self.outcome.status
    }

    pub fn status(&self) -> &'static str {
        self.outcome.status.as_str()
    }

    pub fn risk_factors(&self) -> &[&'static str] {
        &self.outcome.verification_assessment.risk_factors
    }

    /// The result as stored in the check's record, without the person's data.
    pub fn stored(&self) -> Value {
        json!(self.outcome)
    }

    /// What was read on the document, as stored in the check's record.
    pub fn stored_document(&self) -> Value {
        json!(self.document)
    }

    /// The fields of the document, by their names in the verification history.
    pub fn history_fields(&self) -> Value {
        let fields = &self.document.fields;
        json!({
            "document_type": fields.document_type,
            "document_number": fields.document_number,
            "country": fields.country,
            "name": fields.name,
            "address": fields.address,
            "gender": fields.gender,
            "date_of_birth": fields.date_of_birth,
        })
    }
}

impl<'a> SubmitView<'a> {
    pub async fn new(submission: &'a Submission, result: &'a CheckResult, form: &Form, bucket: &Bucket) -> Self {
        let check_id = submission.check_id.as_str();
        let time = Utc::now().timestamp_millis();
        let mut files = Map::new();
        for (field, name, short) in [
            ("selfie_video", "selfieVideo", "selfie"),
            ("id_photo", "idPhoto", "id"),
            ("id_photo_back", "idPhotoBack", "id_back"),
        ] {
            let Some(file) = form.files.get(field) else { continue };
            let key = check_key(submission.profile_id().as_str(), check_id, field);
            let file_name = format!("{check_id}_{short}_{time}.{}", file.file_type.extension);
            files.insert(name.to_owned(), json!({ "url": bucket.link(&key).await.ok(), "fileName": file_name }));
        }
        Self { success: true, check_id, result: ResultView { files: files.into(), result } }
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
