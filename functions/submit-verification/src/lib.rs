//! POST /verif/submit: compares a selfie video with the photo of an identity document, decides, and tells the partner by webhook.
//!
//! The outcome, both histories, the profile's status and the webhooks are one transaction: whoever dies before it leaves a check that
//! the sweep ends, and whoever dies after it leaves webhooks that the sweep delivers.
//!
//! PocketBase calls: with a flow token three and one for each upload: the profile, the check, the outcome, and once a minute the partners to
//! tell; with a key
//! one or two more, to make the profile or find it. S3 calls: three for each upload, one for each file of the request. One of the
//! model's, and three of Rekognition's where that is configured.

mod compare;
mod media;
mod rules;
mod view;

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join, try_join3};
use lambda_http::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue};
use lambda_http::http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request, Response};
use shared::auth::{Caller, Scope};
use shared::backend::Backend;
use shared::config::{AttemptSettings, DecisionSettings, Env, MediaSettings};
use shared::http::{ApiError, Content, File, Form, FormFields, Media, StartError, json_response, read_form};
use shared::pocketbase::{
    CHECK_COMPLETED, CheckAttempt, Error, NewCheck, NewDelivery, NewProfile, Outcome, STATUS_CHANGED, Subscriber,
    UploadUse, Writer,
};
use shared::types::{RecordId, Team, Text, UserId};
use storage::{Copies, Uploads, check_key};
use uuid::Uuid;
use webhooks::{Announcer, Subscriptions, status_changed};

use compare::{CompareError, Comparison};
use media::{Ffmpeg, MediaError};
use rules::Decision;
use view::{CheckResult, SubmitView, webhook_payload};

/// How long a decision may take, of the 29 s that a request has: what it came to has to be written as well.
const DECISION_TIME: Duration = Duration::from_secs(25);

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    attempts: AttemptSettings,
    decisions: DecisionSettings,
    uploads: Uploads,
    ffmpeg: Ffmpeg,
    comparison: Comparison,
    subscriptions: Subscriptions,
    announcer: Announcer,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            attempts: AttemptSettings::from_env(env)?,
            decisions: DecisionSettings::from_env(env)?,
            uploads: Uploads::from_env(env).await?,
            ffmpeg: Ffmpeg::new(MediaSettings::from_env(env)),
            comparison: Comparison::from_env(env).await?,
            subscriptions: Subscriptions::default(),
            announcer: Announcer::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// What the form may hold.
const FIELDS: FormFields = FormFields {
    texts: &["api_key", "user_identifier", "user_id", "user_email", "user_phone"],
    files: &[("selfie_video", Media::Video), ("id_photo", Media::Image)],
};

/// A submission that has been read: of whom it is, and who sent it.
struct Submission {
    check_id: String,
    user: UserId,
    profile: RecordId,
    team: Option<Team>,
    writer: Writer,
    /// What the checks are called that a person may still ask for today; none for a partner, who may ask for any number.
    attempts: Vec<String>,
}

/// Answers a request.
///
/// # Errors
/// 400 for a missing key, field or file, and for media that cannot be decoded; 401; 403 for a credential that is neither a secret key nor a flow
/// token, and for another person than a flow token's; 404 for a profile or an upload that is not the caller's; 409 for a flow token once the
/// profile is decided, and for an upload that cannot be used; 413; 415; 429 when a person has used up the checks of a day; 500 when the
/// faces could not be compared; 501 where that, or the bucket, is not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let started = Instant::now();
    let headers = request.headers().clone();
    let mut form = read_form(request, &FIELDS).await?;
    let caller = caller(state, &headers, &form).await?;
    let submission = submission(state, &caller, &form).await?;
    let check = begin(state, &caller, &submission, &form).await?;
    let done = process(state, &caller, &submission, &check, &mut form, started).await;
    let Done { result, deliveries } = done.map_err(|error| error.with("check_id", submission.check_id.as_str()))?;
    join_all(deliveries.iter().map(|delivery| state.announcer.announce(&delivery.id, Duration::ZERO))).await;
    let view = SubmitView::new(&submission.check_id, &submission.user, &result, state.uploads.bucket()).await;
    let mut response = json_response(StatusCode::OK, &view);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What a submission came to.
struct Done {
    result: CheckResult,
    deliveries: Vec<NewDelivery>,
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

/// Who is calling: a flow token as bearer, or a secret key in the header or the form.
async fn caller(state: &State, headers: &HeaderMap, form: &Form) -> Result<Caller, ApiError> {
    let key: Option<Text<256>> = form.get("api_key")?;
    let Backend { authenticator, pocketbase } = &state.backend;
    let is_key = !headers.contains_key(AUTHORIZATION);
    let judged = authenticator.any(headers, key.as_ref().map(Text::as_str), pocketbase).await;
    let caller = judged.map_err(|error| match error.status() {
        StatusCode::UNAUTHORIZED if is_key => ApiError::invalid_page_key(),
        _ => error,
    })?;
    let caller = caller.ok_or_else(ApiError::missing_page_key)?;
    let is_secret_key = caller.is_key() && !caller.is_publishable();
    if is_secret_key || caller.is_flow() {
        Ok(caller)
    } else {
        Err(ApiError::insufficient_scope(Scope::VerificationHistoryWrite)
            .message("Send a secret API key or a flow token"))
    }
}

/// Whom it is of: a flow token's own profile; with a key the one of the team and the identifier, made or reused.
async fn submission(state: &State, caller: &Caller, form: &Form) -> Result<Submission, ApiError> {
    let given = match form.get::<UserId>("user_identifier")? {
        Some(user) => Some(user),
        None => form.get::<UserId>("user_id")?,
    };
    if given.is_none() && !caller.is_flow() {
        return Err(missing_user());
    }
    // Before anything is written.
    if !form.has_file("selfie_video") || !form.has_file("id_photo") {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Both selfie video and ID photo are required"));
    }
    match caller.flow_profile() {
        Some(profile) => of_token(state, caller, profile, given).await,
        None => of_key(state, caller, given.ok_or_else(missing_user)?, form).await,
    }
}

async fn of_token(
    state: &State,
    caller: &Caller,
    profile: &RecordId,
    given: Option<UserId>,
) -> Result<Submission, ApiError> {
    let overview = state.backend.pocketbase.profile_overview(profile, caller.teams()).await?;
    let overview = overview.ok_or_else(ApiError::profile_not_found)?;
    if overview.is_decided() {
        return Err(ApiError::already_decided());
    }
    let own: Option<UserId> = overview.user_id.parse().ok();
    if given.is_some() && given != own {
        return Err(ApiError::insufficient_scope(Scope::VerificationHistoryWrite)
            .with("field", "user_identifier")
            .message("A flow token is one person's, and user_identifier names another"));
    }
    let attempts: Vec<_> = overview.checks_left(state.attempts.verifications_per_day).collect();
    if attempts.is_empty() {
        return Err(too_many_attempts());
    }
    Ok(Submission {
        check_id: Uuid::new_v4().to_string(),
        user: own.ok_or_else(missing_user)?,
        profile: overview.id,
        team: overview.team,
        writer: Writer::Flow,
        attempts,
    })
}

async fn of_key(state: &State, caller: &Caller, user: UserId, form: &Form) -> Result<Submission, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let team = caller.own_team().cloned();
    let (email, phone) = (form.get("user_email")?, form.get("user_phone")?);
    let profile = NewProfile::of_user(team.clone(), user.clone(), email, phone);
    let (profile, _) = pocketbase.create_profile(&profile).await?;
    let check_id = Uuid::new_v4().to_string();
    Ok(Submission { check_id, user, profile, team, writer: Writer::Partner, attempts: Vec::new() })
}

fn too_many_attempts() -> ApiError {
    ApiError::too_many_today(
        "Too many verification attempts",
        "This profile has used up its verification attempts for today; try again tomorrow (UTC)",
    )
}

fn missing_user() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "User identifier is required")
}

/// Begins the check, as one of those that a person has in a day.
async fn begin(state: &State, caller: &Caller, submission: &Submission, form: &Form) -> Result<RecordId, ApiError> {
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
async fn process(
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
