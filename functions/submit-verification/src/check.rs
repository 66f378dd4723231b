//! A check, from its beginning to its outcome.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join, try_join3};
use lambda_http::http::StatusCode;
use shared::auth::Caller;
use shared::backend::Backend;
use shared::http::{ApiError, Content, File, Form};
use shared::pocketbase::{
    CHECK_COMPLETED, CheckAttempt, Error, NewCheck, NewDelivery, Outcome, STATUS_CHANGED, Subscriber, UploadUse, Writer,
};
use shared::types::RecordId;
use storage::{Copies, check_key};
use webhooks::status_changed;

use crate::State;
use crate::compare::CompareError;
use crate::media::MediaError;
use crate::rules::{self, Decision};
use crate::submission::{Submission, too_many_attempts};
use crate::view::{CheckResult, webhook_payload};

/// How long a decision may take, of the 29 s that a request has: what it came to has to be written as well.
const DECISION_TIME: Duration = Duration::from_secs(25);

/// What a submission came to.
pub struct Done {
    pub result: CheckResult,
    pub deliveries: Vec<NewDelivery>,
}

/// Why a submission came to nothing.
struct Failure {
    error: ApiError,
    attempt: CheckAttempt,
    /// What may have been written all the same: the answer that would say so is lost.
    perhaps: Option<Box<Done>>,
}

impl From<ApiError> for Failure {
    /// What the sender can help uses up an attempt, and what we or others failed in does not.
    fn from(error: ApiError) -> Self {
        let is_senders = error.status().is_client_error() && error.status() != StatusCode::TOO_MANY_REQUESTS;
        let attempt = if is_senders { CheckAttempt::Kept } else { CheckAttempt::GivenBack };
        Self { error, attempt, perhaps: None }
    }
}

/// Begins the check, as one of those that a person has in a day.
pub async fn begin(state: &State, caller: &Caller, submission: &Submission, form: &Form) -> Result<RecordId, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let key = |field| check_key(submission.profile.as_str(), &submission.check_id, field);
    let mut check = NewCheck {
        check_id: submission.check_id.clone(),
        team: submission.team.clone(),
        partner: caller.partner().map(str::to_owned),
        profile: submission.profile.clone(),
        user_identifier: submission.user.clone(),
        user_email: form.get("user_email")?,
        user_phone: form.get("user_phone")?,
        status: "processing",
        selfie_video: key("selfie_video"),
        id_photo: key("id_photo"),
        flow_attempt: None,
    };
    if submission.writer == Writer::Partner {
        return pocketbase.create_check(&check).await.map_err(|error| match error {
            // The person has been forgotten meanwhile.
            Error::Refused => ApiError::profile_not_found(),
            error => error.into(),
        });
    }
    for attempt in &submission.attempts {
        check.flow_attempt = Some(attempt.clone());
        match pocketbase.create_check(&check).await {
            Err(Error::NotUnique(field)) if field == "flow_attempt" => continue,
            outcome => return outcome.map_err(|error| ApiError::of_write(error, true)),
        }
    }
    Err(too_many_attempts())
}

/// Stores the media, compares the faces, and writes what it came to; or ends the check.
pub async fn process(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &RecordId,
    form: &mut Form,
    started: Instant,
) -> Result<Done, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let copies = Copies::OfCheck(&submission.check_id);
    let taken = state.uploads.take(pocketbase, authenticator, caller, Some(&submission.profile), copies, form).await;
    let taken = match taken {
        Ok(taken) => taken,
        Err(error) => {
            let (outcome, _) = end(state, check, error.into()).await;
            return outcome;
        }
    };
    let (outcome, keeps_media) = match attempt(state, caller, submission, check, form, &taken.uses, started).await {
        Ok(done) => (Ok(done), true),
        Err(failure) => end(state, check, failure).await,
    };
    if keeps_media && outcome.is_err() {
        // The outcome may stand, and its webhook lead to them.
        return outcome;
    }
    if outcome.is_err() {
        let inline = form.files.iter().filter(|(_, file)| matches!(file.content, Content::Inline(_)));
        let keys = inline.map(|(field, _)| check_key(submission.profile.as_str(), &submission.check_id, field));
        // What is left is deleted with the rest, after some days.
        let _ = state.uploads.bucket().delete(keys).await;
    }
    state.uploads.settle(taken, outcome).await
}

/// Ends a check that failed, unless it turns out to be decided; and whether its media stay.
async fn end(state: &State, check: &RecordId, failure: Failure) -> (Result<Done, ApiError>, bool) {
    let Failure { error, attempt, perhaps } = failure;
    let reason = error.cause().or(error.text("message")).unwrap_or("refused").to_owned();
    match (state.backend.pocketbase.fail_check(check, &reason, attempt).await, perhaps) {
        // It is over, and nobody else ends checks that soon: the outcome was written, and only the answer lost.
        (Ok(false), Some(done)) => (Ok(*done), true),
        (Ok(_), _) => (Err(error), false),
        (Err(cause), perhaps) => {
            tracing::warn!(%cause, "a failed check is left to the sweep");
            (Err(error), perhaps.is_some())
        }
    }
}

/// One try to come to an outcome.
async fn attempt(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &RecordId,
    form: &Form,
    uses: &[UploadUse],
    started: Instant,
) -> Result<Done, Failure> {
    let pocketbase = &state.backend.pocketbase;
    let time_left = DECISION_TIME.saturating_sub(started.elapsed());
    let stored = async {
        let files = form.files.iter().map(|(field, file)| store(state, submission, field, file));
        join_all(files).await.into_iter().collect::<Result<(), ApiError>>().map_err(Failure::from)
    };
    let subscribers = async {
        let subscribers = state.subscriptions.of(pocketbase, submission.team.as_ref()).await;
        subscribers.map_err(|error| ApiError::from(error).into())
    };
    let decided = async {
        let decided = tokio::time::timeout(time_left, decide(state, form)).await;
        decided.unwrap_or_else(|_| Err(failed("not decided in 25 s").into()))
    };
    let ((), subscribers, decision) = try_join3(stored, subscribers, decided).await?;
    // In all that time the partner may have decided.
    let overview = pocketbase.profile_overview(&submission.profile, caller.teams()).await.map_err(ApiError::from)?;
    let overview = overview.ok_or_else(ApiError::profile_not_found)?;
    if caller.is_flow() && overview.is_decided() {
        return Err(ApiError::already_decided().into());
    }
    complete(state, submission, check, overview.status(), decision, &subscribers, uses).await
}

/// Puts a file of the request into the bucket; what was uploaded is there already.
async fn store(state: &State, submission: &Submission, field: &str, file: &File) -> Result<(), ApiError> {
    match &file.content {
        Content::Inline(bytes) => {
            let key = check_key(submission.profile.as_str(), &submission.check_id, field);
            state.uploads.bucket().put(&key, file.media_type, bytes.clone()).await
        }
        Content::Stored(_) => Ok(()),
    }
}

async fn decide(state: &State, form: &Form) -> Result<Decision, Failure> {
    let file = |field: &str| form.files.get(field).ok_or_else(|| ApiError::internal("a form without its files"));
    let (video, photo) = (file("selfie_video")?, file("id_photo")?);
    let frames = async { state.ffmpeg.frames(video).await.map_err(|error| undecodable("selfie_video", error)) };
    let photo = async { state.ffmpeg.photo(photo).await.map_err(|error| undecodable("id_photo", error)) };
    let (frames, photo) = try_join(frames, photo).await?;
    let findings = state.comparison.compare(&frames, &photo).await.map_err(|error| match error {
        CompareError::NotConfigured(which) => {
            ApiError::new(StatusCode::NOT_IMPLEMENTED, &format!("{which} not configured")).because(error).into()
        }
        // It is what was sent that the model will not look at.
        CompareError::Model(openai::Error::Refused(_) | openai::Error::BadImage(_)) => {
            Failure { attempt: CheckAttempt::Kept, ..failed(error).into() }
        }
        error => Failure::from(failed(error)),
    })?;
    Ok(rules::decide(&findings, &state.decisions))
}

fn undecodable(field: &str, error: MediaError) -> ApiError {
    match error {
        MediaError::Undecodable(_) => {
            ApiError::invalid_field(field, "cannot be decoded; take it again").because(format!("{field} {error}"))
        }
        MediaError::Unread(error) => error.into(),
        MediaError::Failed(_) => failed(error),
    }
}

/// The contract's answer to all that keeps faces from being compared.
fn failed(cause: impl std::fmt::Display) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Verification processing failed")
        .message("Nothing is decided; send the same submission again")
        .because(cause)
}

/// Writes the outcome and all that follows from it.
async fn complete(
    state: &State,
    submission: &Submission,
    check: &RecordId,
    previous_status: &str,
    decision: Decision,
    subscribers: &[Subscriber],
    uses: &[UploadUse],
) -> Result<Done, Failure> {
    let now: DateTime<Utc> = Utc::now();
    let summary = decision.summary;
    let result = CheckResult::new(submission, decision, state.comparison.method(), now);
    let mut deliveries = Vec::new();
    for subscriber in subscribers {
        let (profile, stream) = (&submission.profile, &submission.check_id);
        if subscriber.wants(CHECK_COMPLETED) {
            let payload = webhook_payload(submission, &result, now);
            let mut delivery = NewDelivery::new(subscriber, profile.clone(), stream.clone(), CHECK_COMPLETED, payload);
            delivery.check = Some(check.clone());
            deliveries.push(delivery);
        }
        if subscriber.wants(STATUS_CHANGED) {
            let user = submission.user.as_str();
            let payload = status_changed(now, profile, user, previous_status, result.status());
            deliveries.push(NewDelivery::new(subscriber, profile.clone(), stream.clone(), STATUS_CHANGED, payload));
        }
    }
    let outcome = Outcome {
        check,
        profile: &submission.profile,
        writer: submission.writer,
        status: result.verification_status(),
        previous_status,
        summary,
        result: &result.stored(),
        deliveries: &deliveries,
        uses,
    };
    let is_flow = submission.writer == Writer::Flow;
    let Err(error) = state.backend.pocketbase.complete_check(&outcome).await else {
        return Ok(Done { result, deliveries });
    };
    let is_lost = matches!(error, Error::Unreachable(_) | Error::TimedOut | Error::BadAnswer(_));
    let error = match error {
        // A key may check a decided profile again; what it may not is bring back somebody who has been forgotten.
        Error::Refused if !is_flow => ApiError::profile_not_found(),
        error => ApiError::of_write(error, is_flow),
    };
    Err(Failure { perhaps: is_lost.then(|| Box::new(Done { result, deliveries })), ..error.into() })
}
