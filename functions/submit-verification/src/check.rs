//! Life cycle of a check: its start, its processing, and its outcome or failure.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join, try_join3};
use lambda_http::http::StatusCode;
use shared::auth::Caller;
use shared::aws;
use shared::file::{Content, File};
use shared::http::{ApiError, Form};
use shared::pocketbase::Error;
use shared::pocketbase::records::{
    AttemptUse, CheckOutcome, CheckState, NewCheck, NewDelivery, Subscriber, UploadUse, WebhookEvent,
};
use shared::profiles::{self, Attempts};
use shared::runtime::Backend;
use shared::types::RecordId;
use storage::{CopyPurpose, check_key};
use webhooks::status_changed;

use crate::State;
use crate::compare::CompareError;
use crate::media::MediaError;
use crate::rules::{self, Decision};
use crate::submission::Submission;
use crate::view::{CheckResult, webhook_payload};

/// Time limit of a decision. A request has 27 s, in which the outcome must be written as well.
const DECISION_TIME: Duration = Duration::from_secs(25);

/// A check with its outcome.
pub struct Completed {
    pub result: CheckResult,
    pub deliveries: Vec<NewDelivery>,
}

/// Failure of a check.
struct Failure {
    /// What the caller is told.
    error: Box<ApiError>,
    /// Reason for the check's record. It contains no message of AWS, which may name roles and accounts.
    reason: String,
    /// Whether the attempt counts towards the daily limit.
    attempt: AttemptUse,
    /// The outcome, if it may have been written although the answer to the write was lost.
    maybe_written: Option<Box<Completed>>,
}

impl Failure {
    fn new(reason: String, error: ApiError, attempt: AttemptUse) -> Self {
        Self { error: Box::new(error), reason, attempt, maybe_written: None }
    }

    /// A failure that the sender can correct. The attempt counts.
    fn of_sender<E: std::fmt::Display + Into<ApiError>>(error: E) -> Self {
        Self::new(error.to_string(), error.into(), AttemptUse::Kept)
    }

    /// A failure of this service, of its operator or of an upstream service. The attempt does not count.
    fn of_service<E: std::fmt::Display + Into<ApiError>>(error: E) -> Self {
        Self::new(error.to_string(), error.into(), AttemptUse::GivenBack)
    }

    /// A failure to compare the faces: 500 with the text of the API contract.
    fn of_processing(cause: impl std::fmt::Display, attempt: AttemptUse) -> Self {
        let error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Verification processing failed")
            .message("Nothing is decided; send the same submission again")
            .with_cause(&cause);
        Self::new(cause.to_string(), error, attempt)
    }
}

impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        match &error {
            storage::Error::Aws(cause) => {
                let reason = format!("S3: {}", cause.kind());
                Self { reason, ..Self::of_service(error) }
            }
            _ if error.is_senders() => Self::of_sender(error),
            _ => Self::of_service(error),
        }
    }
}

impl From<profiles::Error> for Failure {
    fn from(error: profiles::Error) -> Self {
        match error {
            profiles::Error::PocketBase(error) => error.into(),
            error => Self::of_sender(error),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::UploadConflict => Self::of_sender(error),
            error => Self::of_service(error),
        }
    }
}

/// Creates the record of a check. With a flow token, the check takes one of the profile's attempts of the day.
pub async fn start(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    attempts: Option<Attempts>,
    form: &Form,
) -> Result<RecordId, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let key = |field| check_key(submission.profile.as_str(), &submission.check_id, field);
    let check = NewCheck {
        check_id: submission.check_id.clone(),
        team: submission.team.clone(),
        partner: caller.partner().map(str::to_owned),
        profile: submission.profile.clone(),
        user_identifier: submission.user.clone(),
        user_email: form.get("user_email")?,
        user_phone: form.get("user_phone")?,
        status: CheckState::Processing,
        selfie_video: key("selfie_video"),
        id_photo: key("id_photo"),
        flow_attempt: None,
    };
    let writer = caller.writer();
    let Some(attempts) = attempts else {
        let created = pocketbase.create_check(writer, &check).await;
        return created.map_err(redacted_if_refused).map_err(ApiError::from);
    };
    let store = |attempt| {
        let check = NewCheck { flow_attempt: Some(attempt), ..check.clone() };
        async move { pocketbase.create_check(writer, &check).await }
    };
    Ok(attempts.store(store).await?)
}

/// Error for a refused write of a partner's backend. A backend may check a decided profile again, so a refusal means that the
/// profile is redacted.
fn redacted_if_refused(error: Error) -> profiles::Error {
    match error {
        Error::Refused => profiles::Error::NotFound,
        error => error.into(),
    }
}

/// Stores the media, compares the faces and writes the outcome. A check that fails is ended without an outcome.
pub async fn process(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &RecordId,
    form: &mut Form,
    started: Instant,
) -> Result<Completed, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let purpose = CopyPurpose::CheckMedia(&submission.check_id);
    let claim = state.uploads.claim(pocketbase, authenticator, caller, Some(&submission.profile), purpose, form).await;
    let claim = match claim {
        Ok(claim) => claim,
        Err(error) => {
            let (outcome, _) = end(state, check, error.into()).await;
            return outcome;
        }
    };
    let (outcome, keeps_media) =
        match decide_and_write(state, caller, submission, check, form, &claim.uses, started).await {
            Ok(completed) => (Ok(completed), true),
            Err(failure) => end(state, check, failure).await,
        };
    if keeps_media && outcome.is_err() {
        // The outcome may have been written, and its webhooks link to the media.
        return outcome;
    }
    if outcome.is_err() {
        let inline = form.files.iter().filter(|(_, file)| matches!(file.content, Content::Inline(_)));
        let keys = inline.map(|(field, _)| check_key(submission.profile.as_str(), &submission.check_id, field));
        // The retention job deletes what is left.
        let _ = state.uploads.bucket().delete(keys).await;
    }
    state.uploads.finish(claim, outcome).await
}

/// Ends a failed check, unless its outcome was written after all. Also returns whether the media must be kept.
async fn end(state: &State, check: &RecordId, failure: Failure) -> (Result<Completed, ApiError>, bool) {
    let Failure { error, reason, attempt, maybe_written } = failure;
    match (state.backend.pocketbase.fail_check(check, &reason, attempt).await, maybe_written) {
        // The check has ended already. Nothing else ends a check this early, so the outcome was written and only PocketBase's
        // answer was lost.
        (Ok(false), Some(completed)) => (Ok(*completed), true),
        (Ok(_), _) => (Err(*error), false),
        (Err(cause), maybe_written) => {
            tracing::warn!(%cause, "a failed check is left to the sweep");
            (Err(*error), maybe_written.is_some())
        }
    }
}

/// Stores the media and decides at the same time, and then writes the outcome.
async fn decide_and_write(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &RecordId,
    form: &Form,
    uses: &[UploadUse],
    started: Instant,
) -> Result<Completed, Failure> {
    let pocketbase = &state.backend.pocketbase;
    let time_left = DECISION_TIME.saturating_sub(started.elapsed());
    let stored = async {
        let files = form.files.iter().map(|(field, file)| store(state, submission, field, file));
        join_all(files).await.into_iter().collect::<Result<(), storage::Error>>().map_err(Failure::from)
    };
    let subscribers = async {
        let subscribers = state.subscriptions.of(pocketbase, submission.team.as_ref()).await;
        subscribers.map_err(Failure::from)
    };
    let decision = async {
        let decision = tokio::time::timeout(time_left, decide(state, form)).await;
        decision.unwrap_or_else(|_| Err(Failure::of_processing("not decided in 25 s", AttemptUse::GivenBack)))
    };
    let ((), subscribers, decision) = try_join3(stored, subscribers, decision).await?;
    // The partner may have decided in the meantime.
    let profile = profiles::load_open(pocketbase, &submission.profile, caller).await?;
    write_outcome(state, caller, submission, check, profile.status(), decision, &subscribers, uses).await
}

/// Stores a file of the request in the bucket. The copies of claimed uploads are there already.
async fn store(state: &State, submission: &Submission, field: &str, file: &File) -> Result<(), storage::Error> {
    match &file.content {
        Content::Inline(bytes) => {
            let key = check_key(submission.profile.as_str(), &submission.check_id, field);
            state.uploads.bucket().put(&key, file.file_type.media_type, bytes.clone()).await
        }
        Content::Stored(_) => Ok(()),
    }
}

/// Decodes the media, compares the faces and applies the rules.
async fn decide(state: &State, form: &Form) -> Result<Decision, Failure> {
    let file = |field: &str| {
        let file = form.files.get(field);
        file.ok_or_else(|| Failure::of_processing("the form has no file", AttemptUse::GivenBack))
    };
    let (video, photo) = (file("selfie_video")?, file("id_photo")?);
    let frames = async { state.ffmpeg.frames(video).await.map_err(|error| media_failure("selfie_video", error)) };
    let photo = async { state.ffmpeg.photo(photo).await.map_err(|error| media_failure("id_photo", error)) };
    let (frames, photo) = try_join(frames, photo).await?;
    let findings = state.comparison.compare(&frames, &photo).await.map_err(comparison_failure)?;
    Ok(rules::decide(&findings, &state.thresholds))
}

fn media_failure(field: &str, error: MediaError) -> Failure {
    match error {
        MediaError::Undecodable(_) => {
            let reason = format!("{field} {error}");
            let error = ApiError::invalid_field(field, "cannot be decoded; take it again").with_cause(&reason);
            Failure::new(reason, error, AttemptUse::Kept)
        }
        MediaError::Unreadable(error) => Failure::of_service(error),
        MediaError::Failed(_) => Failure::of_processing(error, AttemptUse::GivenBack),
    }
}

fn comparison_failure(error: CompareError) -> Failure {
    match &error {
        CompareError::NotConfigured(service) => {
            let answer = ApiError::new(StatusCode::NOT_IMPLEMENTED, &format!("{service} not configured"));
            Failure::new(error.to_string(), answer.with_cause(&error), AttemptUse::GivenBack)
        }
        // The model refuses the sender's media.
        CompareError::Model(openai::Error::Refused(_) | openai::Error::BadImage(_)) => {
            Failure::of_processing(error, AttemptUse::Kept)
        }
        // A changed secret may hold another key, for the next submission.
        CompareError::Model(openai::Error::KeyRefused) => {
            let failure = Failure::of_processing(error, AttemptUse::GivenBack);
            Failure { error: Box::new(failure.error.retry_after_secret_reload()), ..failure }
        }
        CompareError::Rekognition(cause) => {
            let reason = format!("Rekognition: {}", cause.kind());
            let is_refusal = matches!(cause, aws::Error::Refused(_));
            let failure = Failure::of_processing(error, AttemptUse::GivenBack);
            let error = if is_refusal { Box::new(failure.error.retry_after_secret_reload()) } else { failure.error };
            Failure { reason, error, ..failure }
        }
        _ => Failure::of_processing(error, AttemptUse::GivenBack),
    }
}

/// Writes the outcome, the histories, the profile's status and the webhooks in one transaction.
#[allow(clippy::too_many_arguments)] // The parts of one transaction.
async fn write_outcome(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &RecordId,
    previous_status: &str,
    decision: Decision,
    subscribers: &[Subscriber],
    uses: &[UploadUse],
) -> Result<Completed, Failure> {
    let now: DateTime<Utc> = Utc::now();
    let summary = decision.summary;
    let result = CheckResult::new(submission, decision, state.comparison.method(), now);
    let deliveries = deliveries(submission, check, previous_status, &result, subscribers, now);
    let outcome = CheckOutcome {
        check,
        profile: &submission.profile,
        writer: caller.writer(),
        status: result.verification_status(),
        previous_status,
        summary,
        result: &result.stored(),
        deliveries: &deliveries,
        uses,
    };
    let Err(error) = state.backend.pocketbase.complete_check(&outcome).await else {
        return Ok(Completed { result, deliveries });
    };
    let answer_is_lost = matches!(error, Error::Unreachable(_) | Error::TimedOut | Error::BadAnswer(_));
    let error =
        if caller.is_flow() { profiles::Error::of_write(error, caller.writer()) } else { redacted_if_refused(error) };
    let maybe_written = answer_is_lost.then(|| Box::new(Completed { result, deliveries }));
    Err(Failure { maybe_written, ..error.into() })
}

/// The webhooks for an outcome.
fn deliveries(
    submission: &Submission,
    check: &RecordId,
    previous_status: &str,
    result: &CheckResult,
    subscribers: &[Subscriber],
    now: DateTime<Utc>,
) -> Vec<NewDelivery> {
    let mut deliveries = Vec::new();
    for subscriber in subscribers {
        let mut add = |event, payload| {
            let (profile, stream) = (submission.profile.clone(), submission.check_id.clone());
            let mut delivery = NewDelivery::new(subscriber, profile, stream, event, payload);
            delivery.check = (event == WebhookEvent::CheckCompleted).then(|| check.clone());
            deliveries.push(delivery);
        };
        if subscriber.is_subscribed_to(WebhookEvent::CheckCompleted) {
            add(WebhookEvent::CheckCompleted, webhook_payload(submission, result, now));
        }
        if subscriber.is_subscribed_to(WebhookEvent::StatusChanged) {
            let (profile, user) = (&submission.profile, submission.user.as_str());
            add(WebhookEvent::StatusChanged, status_changed(now, profile, user, previous_status, result.status()));
        }
    }
    deliveries
}
