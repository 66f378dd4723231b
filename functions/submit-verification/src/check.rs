//! Life cycle of a check: its start, its processing, and its outcome or failure.

use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::{join_all, try_join3};
use shared::auth::Caller;
use shared::file::{Content, File};
use shared::http::{ApiError, Form};
use shared::pocketbase::Error;
use shared::pocketbase::records::{
    AttemptUse, CheckOutcome, CheckState, Evidence, EvidenceKind, KnownEvidence, NewCheck, NewDelivery,
    ProcessingCheck, Subscriber, UploadUse, WebhookEvent,
};
use shared::profiles::{self, Attempts};
use shared::runtime::Backend;
use shared::types::{Origin, RecordId};
use storage::{CopyPurpose, UploadClaim, check_key};
use webhooks::status_changed;

use crate::State;
use crate::document::{self, Document};
use crate::examination::{Examination, examine, frame_name};
use crate::failure::Failure;
use crate::instructions::holds_instructions;
use crate::media::FRAMES;
use crate::rules::{self, Decision, Findings};
use crate::submission::Submission;
use crate::view::{CheckResult, Completed, webhook_payload};

/// Time limit of a decision. A request has 27 s, in which the outcome must be written as well.
const DECISION_TIME: Duration = Duration::from_secs(25);

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
    let mut known = match submission.origin {
        // Those of open links are looked up, since they yield to evidence that is not stored with them.
        Origin::Open => pocketbase.known_evidence(examined.evidence.clone(), &owner).await?,
        Origin::Backend | Origin::Signed => KnownEvidence { new: examined.evidence.clone(), of_others: Vec::new() },
    };
    for _ in 0..EVIDENCE_ATTEMPTS {
        let verdict = decide(state, caller, submission, &examined, &known).await?;
        match write_outcome(state, caller, submission, check, verdict, &subscribers, uses).await {
            Err(Conflict::Evidence) => known = pocketbase.known_evidence(examined.evidence.clone(), &owner).await?,
            Err(Conflict::Other(failure)) => return Err(*failure),
            Ok(completed) => return Ok(completed),
        }
    }
    Err(Failure::of_processing("the evidence is being stored by other requests", AttemptUse::GivenBack))
}

/// How often an outcome is written. The second time follows a look-up; a third is needed when a concurrent request stores the same
/// evidence after it.
const EVIDENCE_ATTEMPTS: usize = 3;

/// A decision, and what is written with it.
struct Verdict<'a> {
    decision: Decision,
    document: Document,
    previous_status: String,
    frames: usize,
    new_evidence: &'a [Evidence],
}

/// Looks up whether the partner has decided in the meantime, and decides.
async fn decide<'a>(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    examined: &Examination,
    known: &'a KnownEvidence,
) -> Result<Verdict<'a>, Failure> {
    let profile = profiles::load_open(&state.backend.pocketbase, submission.profile_id(), caller).await?;
    // A decision of the partner during its own check stands as well.
    if profile.is_decided() && profile.standing() != submission.profile.standing() {
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
    Ok(Verdict {
        decision: rules::decide(&findings, &state.thresholds),
        document: judged.document,
        previous_status: profile.status().to_owned(),
        frames: examined.frames,
        // Evidence belongs to whom it shows, so that a sheet of paper with a number takes no document from its holder.
        new_evidence: if rules::shows_the_holder(&findings, &state.thresholds) { &known.new } else { &[] },
    })
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

/// Reason why an outcome was not written.
enum Conflict {
    /// The evidence was used before.
    Evidence,
    Other(Box<Failure>),
}

/// Writes the outcome, the histories, the profile's status, the evidence and the webhooks in one transaction.
async fn write_outcome(
    state: &State,
    caller: &Caller,
    submission: &Submission,
    check: &ProcessingCheck,
    verdict: Verdict<'_>,
    subscribers: &[Subscriber],
    uses: &[UploadUse],
) -> Result<Completed, Conflict> {
    let Verdict { decision, document, previous_status, frames, new_evidence } = verdict;
    let now: DateTime<Utc> = Utc::now();
    let summary = decision.summary;
    let result = CheckResult::new(submission, decision, document, state.comparison.name(), now);
    let deliveries = deliveries(submission, &check.id, &previous_status, &result, subscribers, now);
    let outcome = CheckOutcome {
        check: &check.id,
        profile: submission.profile_id(),
        writer: caller.writer(),
        status: result.verification_status(),
        previous_status: &previous_status,
        summary,
        result: &result.stored(),
        document: &result.stored_document(),
        fields: &result.history_fields(),
        frames,
        evidence: new_evidence,
        owner: &submission.owner(),
        look_alike: &submission.user.look_alike_key(),
        deliveries: &deliveries,
        uses,
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
    Err(Conflict::Other(Box::new(Failure { maybe_written, ..error.into() })))
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
