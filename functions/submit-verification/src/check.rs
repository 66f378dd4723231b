//! Life cycle of a check: its start, its processing, and its outcome or failure.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use documents::Reading;
use futures_util::future::{join_all, try_join_all, try_join3, try_join4};
use lambda_http::http::StatusCode;
use shared::auth::Caller;
use shared::aws;
use shared::file::{Content, File};
use shared::http::{ApiError, Form};
use shared::pocketbase::Error;
use shared::pocketbase::records::{
    AttemptUse, CheckOutcome, CheckState, Evidence, EvidenceKind, EvidenceOwner, KnownEvidence, NewCheck, NewDelivery,
    ProcessingCheck, Subscriber, UploadUse, WebhookEvent,
};
use shared::profiles::{self, Attempts};
use shared::runtime::Backend;
use shared::types::{RecordId, VerificationStatus};
use storage::{CopyPurpose, UploadClaim, check_key};
use webhooks::status_changed;

use crate::compare::CompareError;
use crate::document::{self, Document, Photos};
use crate::instructions::holds_instructions;
use crate::media::{FRAMES, MediaError};
use crate::rules::{self, Decision, FaceFindings, Findings, LivenessFinding};
use crate::submission::Submission;
use crate::view::{CheckResult, webhook_payload};
use crate::{State, live_session};

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

    /// A failure to examine the media: 500 with the text of the API contract.
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

/// Resolves the uploads, and creates the record of a check. With a flow token, the check takes one of the profile's attempts of the day,
/// so that uploads that do not exist use up none.
pub async fn start(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    attempts: Option<Attempts>,
    form: &mut Form,
) -> Result<(ProcessingCheck, UploadClaim), ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let purpose = CopyPurpose::CheckMedia(&submission.check_id);
    let profile = Some(submission.profile_id());
    let claim = state.uploads.claim(pocketbase, authenticator, caller, profile, purpose, form).await?;
    match create(state, caller, submission, attempts, form).await {
        Ok(check) => Ok((check, claim)),
        Err(error) => state.uploads.finish(claim, Err(error)).await,
    }
}

/// Creates the record of a check.
async fn create(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    attempts: Option<Attempts>,
    form: &Form,
) -> Result<ProcessingCheck, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let key = |field| check_key(submission.profile_id().as_str(), &submission.check_id, field);
    let check = NewCheck {
        check_id: submission.check_id.clone(),
        team: submission.profile.team.clone(),
        partner: caller.partner().map(str::to_owned),
        profile: submission.profile_id().clone(),
        user_identifier: submission.user.clone(),
        origin: submission.origin,
        user_email: form.get("user_email")?,
        user_phone: form.get("user_phone")?,
        status: CheckState::Processing,
        selfie_video: key("selfie_video"),
        id_photo: key("id_photo"),
        id_photo_back: form.files.contains_key("id_photo_back").then(|| key("id_photo_back")),
        flow_attempt: None,
    };
    let (writer, charge) = (caller.writer(), &submission.charge);
    let Some(attempts) = attempts else {
        let created = pocketbase.create_check(writer, &check, charge).await;
        return created.map_err(redacted_if_refused).map_err(ApiError::from);
    };
    let store = |attempt| {
        let check = NewCheck { flow_attempt: Some(attempt), ..check.clone() };
        async move { pocketbase.create_check(writer, &check, charge).await }
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

/// Stores the media, examines them and writes the outcome. A check that fails is ended without an outcome.
pub async fn process(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &ProcessingCheck,
    claim: UploadClaim,
    form: &Form,
    started: Instant,
) -> Result<Completed, ApiError> {
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
        let names = inline.map(|(field, _)| (*field).to_owned()).chain((1..=FRAMES).map(frame_name));
        let keys = names.map(|name| check_key(submission.profile_id().as_str(), &submission.check_id, &name));
        // The retention job deletes what is left.
        let _ = state.uploads.bucket().delete(keys).await;
    }
    state.uploads.finish(claim, outcome).await
}

/// Name of a compared frame in the bucket, from 1.
fn frame_name(number: usize) -> String {
    format!("frame_{number}.jpg")
}

/// Ends a failed check, unless its outcome was written after all. Also returns whether the media must be kept.
async fn end(state: &State, check: &ProcessingCheck, failure: Failure) -> (Result<Completed, ApiError>, bool) {
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

/// Stores the media and examines them at the same time, and then decides and writes the outcome.
async fn decide_and_write(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &ProcessingCheck,
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
        let subscribers = state.subscriptions.of(pocketbase, submission.profile.team.as_ref()).await;
        subscribers.map_err(Failure::from)
    };
    let examined = async {
        let examined = tokio::time::timeout(time_left, examine(state, submission, form)).await;
        examined.unwrap_or_else(|_| Err(Failure::of_processing("not decided in 25 s", AttemptUse::GivenBack)))
    };
    let ((), subscribers, examined) = try_join3(stored, subscribers, examined).await?;
    // Most evidence was never used before, and storing it succeeds. Where it fails, the evidence is looked up, and the outcome is decided
    // and written again.
    let owner = submission.owner();
    let mut known = KnownEvidence { new: examined.evidence.clone(), of_others: Vec::new() };
    for _ in 0..EVIDENCE_ATTEMPTS {
        let outcome = weigh_and_write(state, caller, submission, check, &examined, &known, &subscribers, uses).await;
        match outcome {
            Err(Conflict::Evidence) => known = pocketbase.known_evidence(examined.evidence.clone(), &owner).await?,
            Err(Conflict::Other(failure)) => return Err(failure),
            Ok(completed) => return Ok(completed),
        }
    }
    Err(Failure::of_processing("the evidence is being stored by other requests", AttemptUse::GivenBack))
}

/// How often an outcome is written. The second time follows a look-up; a third is needed when a concurrent request stores the same
/// evidence after it.
const EVIDENCE_ATTEMPTS: usize = 3;

/// Reason why an outcome was not written.
enum Conflict {
    /// The evidence was used before.
    Evidence,
    Other(Failure),
}

impl<E: Into<Failure>> From<E> for Conflict {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// What the media of a check show.
struct Examination {
    faces: FaceFindings,
    reading: Reading,
    liveness: LivenessFinding,
    evidence: Vec<Evidence>,
    frames: usize,
}

/// Looks up whether the partner has decided in the meantime, decides, and writes the outcome.
#[allow(clippy::too_many_arguments)] // The parts of one decision.
async fn weigh_and_write(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &ProcessingCheck,
    examined: &Examination,
    known: &KnownEvidence,
    subscribers: &[Subscriber],
    uses: &[UploadUse],
) -> Result<Completed, Conflict> {
    let pocketbase = &state.backend.pocketbase;
    let profile = profiles::load_open(pocketbase, submission.profile_id(), caller).await?;
    // A decision of the partner during its own check stands as well.
    if profile.is_decided() && profile.status() != submission.profile.status() {
        return Err(profiles::Error::Decided.into());
    }
    // What the partner declared in the meantime counts.
    let judged = document::judge(&examined.reading, &profile, Utc::now().date_naive());
    let of_others = |kind: &EvidenceKind| known.of_others.contains(kind);
    let findings = Findings {
        instructions: examined.faces.instructions
            || [&examined.faces.id_text, &examined.faces.selfie_text, &examined.reading.text()]
                .into_iter()
                .any(|text| holds_instructions(text)),
        media_of_others: of_others(&EvidenceKind::Video) || of_others(&EvidenceKind::Photo),
        document_of_others: of_others(&EvidenceKind::Document),
        has_look_alike: profile.has_look_alike(),
        liveness: examined.liveness,
        faces: examined.faces.clone(),
        document: judged.findings,
    };
    let decision = rules::decide(&findings, &state.thresholds);
    // A rejected check proves nothing, and must not take documents from their holders.
    let is_rejected = decision.status == VerificationStatus::Rejected;
    let writing = Writing {
        check,
        previous_status: profile.status(),
        document: judged.document,
        frames: examined.frames,
        new_evidence: if is_rejected { &[] } else { &known.new },
        owner: &submission.owner(),
        uses,
    };
    write_outcome(state, caller, submission, decision, subscribers, writing).await
}

/// Stores a file of the request in the bucket. The copies of claimed uploads are there already.
async fn store(state: &State, submission: &Submission, field: &str, file: &File) -> Result<(), storage::Error> {
    match &file.content {
        Content::Inline(bytes) => {
            let key = check_key(submission.profile_id().as_str(), &submission.check_id, field);
            state.uploads.bucket().put(&key, file.file_type.media_type, bytes.clone()).await
        }
        Content::Stored(_) => Ok(()),
    }
}

/// Decodes the media, compares the faces and reads the document. The frames that are compared are stored.
async fn examine(state: &State, submission: &Submission, form: &Form) -> Result<Examination, Failure> {
    let file = |field: &str| {
        let file = form.files.get(field);
        file.ok_or_else(|| Failure::of_processing("the form has no file", AttemptUse::GivenBack))
    };
    // One after the other, since each run of ffmpeg may take most of the memory.
    let photo = async |field: &str| {
        let photo = state.ffmpeg.photo(file(field)?).await;
        photo.map_err(|error| media_failure(field, error))
    };
    let front = photo("id_photo").await?;
    let back = if form.files.contains_key("id_photo_back") { Some(photo("id_photo_back").await?) } else { None };
    let video = state.ffmpeg.video(file("selfie_video")?).await;
    let video = video.map_err(|error| media_failure("selfie_video", error))?;
    let frames = async {
        let frames = video.frames.iter().enumerate().map(|(place, frame)| {
            let key = check_key(submission.profile_id().as_str(), &submission.check_id, &frame_name(place + 1));
            async move { state.uploads.bucket().put(&key, "image/jpeg", frame.clone()).await }
        });
        try_join_all(frames).await.map_err(Failure::from)
    };
    let photos = Photos { front: front.jpeg, back: back.as_ref().map(|back| back.jpeg.clone()) };
    let pocketbase = &state.backend.pocketbase;
    let today = Utc::now().date_naive();
    let faces = async { state.comparison.compare(&video.frames, &photos).await.map_err(comparison_failure) };
    let reading = async {
        let reading = document::read(&state.comparison, &state.reader, &photos, today).await;
        reading.map_err(comparison_failure)
    };
    let liveness = async {
        let (profile, same_from) = (submission.profile_id(), state.thresholds.compare_faces_from);
        let finding = state.liveness.examine(pocketbase, &state.comparison, profile, &photos.front, same_from).await;
        finding.map_err(|error| match error {
            live_session::Error::PocketBase(error) => error.into(),
            live_session::Error::Compare(error) => comparison_failure(error),
        })
    };
    let (_, faces, reading, liveness) = try_join4(frames, faces, reading, liveness).await?;
    let team = submission.profile.team.as_ref();
    let mut evidence = vec![
        Evidence::new(team, EvidenceKind::Video, &video.digest),
        Evidence::new(team, EvidenceKind::Photo, &front.digest),
    ];
    evidence.extend(back.map(|back| Evidence::new(team, EvidenceKind::Photo, &back.digest)));
    evidence.extend(document::identity(&reading).map(|number| Evidence::new(team, EvidenceKind::Document, &number)));
    evidence.dedup();
    Ok(Examination { faces, reading, liveness, evidence, frames: video.frames.len() })
}

fn media_failure(field: &str, error: MediaError) -> Failure {
    match error {
        MediaError::Undecodable(_) => {
            let reason = format!("{field} {error}");
            let error = ApiError::invalid_field(field, "cannot be decoded; take it again").with_cause(&reason);
            Failure::new(reason, error, AttemptUse::Kept)
        }
        MediaError::Unsuitable(reason) => {
            Failure::new(format!("{field} {reason}"), ApiError::invalid_field(field, reason), AttemptUse::Kept)
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

/// The parts of the transaction that writes an outcome.
struct Writing<'a> {
    check: &'a ProcessingCheck,
    previous_status: &'a str,
    document: Document,
    frames: usize,
    new_evidence: &'a [Evidence],
    owner: &'a EvidenceOwner,
    uses: &'a [UploadUse],
}

/// Writes the outcome, the histories, the profile's status, the evidence and the webhooks in one transaction.
async fn write_outcome(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    decision: Decision,
    subscribers: &[Subscriber],
    writing: Writing<'_>,
) -> Result<Completed, Conflict> {
    let now: DateTime<Utc> = Utc::now();
    let summary = decision.summary;
    let result = CheckResult::new(submission, decision, writing.document, state.comparison.name(), now);
    let deliveries = deliveries(submission, &writing.check.id, writing.previous_status, &result, subscribers, now);
    let outcome = CheckOutcome {
        check: &writing.check.id,
        profile: submission.profile_id(),
        writer: caller.writer(),
        status: result.verification_status(),
        previous_status: writing.previous_status,
        summary,
        result: &result.stored(),
        document: &result.stored_document(),
        fields: &result.history_fields(),
        frames: writing.frames,
        evidence: writing.new_evidence,
        owner: writing.owner,
        look_alike: &submission.user.look_alike_key(),
        deliveries: &deliveries,
        uses: writing.uses,
    };
    let Err(error) = state.backend.pocketbase.complete_check(&outcome).await else {
        return Ok(Completed { result, deliveries });
    };
    if matches!(&error, Error::NotUnique(field) if field == "id") {
        return Err(Conflict::Evidence);
    }
    let answer_is_lost = matches!(error, Error::Unreachable(_) | Error::TimedOut | Error::BadAnswer(_));
    let error =
        if caller.is_flow() { profiles::Error::of_write(error, caller.writer()) } else { redacted_if_refused(error) };
    let maybe_written = answer_is_lost.then(|| Box::new(Completed { result, deliveries }));
    Err(Conflict::Other(Failure { maybe_written, ..error.into() }))
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
            let (profile, stream) = (submission.profile_id().clone(), submission.check_id.clone());
            let mut delivery = NewDelivery::new(subscriber, profile, stream, event, payload);
            delivery.check = (event == WebhookEvent::CheckCompleted).then(|| check.clone());
            deliveries.push(delivery);
        };
        if subscriber.is_subscribed_to(WebhookEvent::CheckCompleted) {
            add(WebhookEvent::CheckCompleted, webhook_payload(submission, result, now));
        }
        if subscriber.is_subscribed_to(WebhookEvent::StatusChanged) {
            let (profile, user) = (submission.profile_id(), submission.user.as_str());
            add(
                WebhookEvent::StatusChanged,
                status_changed(now, profile, user, submission.origin, previous_status, result.status()),
            );
        }
    }
    deliveries
}
