//! POST /api/verification_history/{id}: adds a verification, with its files, to a profile.
//!
//! Claimed liveness values are compared with the result of the AWS session, if there is one, and device data with Fingerprint's
//! event. Files that the request does not contain are streamed from the profile. The verification is one write.
//!
//! PocketBase calls: three, to load the profile and the session at the same time and to write, and those for copied files; one per upload;
//! with a flow token one more, to check that the profile is still open; one to store a session's result that is read first here; two or
//! three for an event of Fingerprint that was sent before. AWS calls: one in that case. S3 calls: three per upload, and one for all.
//! Fingerprint calls: one, with device data.

mod crosscheck;
mod fingerprint;

use std::net::IpAddr;

use futures_util::future::join;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use liveness::Liveness;
use serde::Serialize;
use serde_json::{Value, json};
use shared::auth::{Caller, Scope};
use shared::env::{Env, StartError};
use shared::file::Media;
use shared::http::{ApiError, Form, FormFields, credentials, path_parameter, read_form, source_ip, success};
use shared::pocketbase::records::{
    Evidence, EvidenceKind, EvidenceOwner, LivenessSession, NewVerification, ProfileOverview, UploadUse,
    VerificationRecord,
};
use shared::pocketbase::{Error, RecordFile};
use shared::profiles::{self, DailyLimit, Quota};
use shared::runtime::Backend;
use shared::types::{Decimal, RecordId, Text, VerificationStatus};
use storage::{CopyPurpose, Uploads};

use crosscheck::session_conflict;
use fingerprint::Fingerprint;

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    daily_limit: DailyLimit,
    liveness: Liveness,
    fingerprint: Fingerprint,
    uploads: Uploads,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            daily_limit: DailyLimit::from_env(Quota::Verifications, env)?,
            liveness: Liveness::from_env(env).await?,
            fingerprint: Fingerprint::from_env(env)?,
            uploads: Uploads::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// Fields of the form.
const FIELDS: FormFields = FormFields {
    texts: &[
        "liveness_session_id",
        "liveness_confidence",
        "document_type",
        "liveness_status",
        "document_number",
        "country",
        "name",
        "address",
        "gender",
        "date_of_birth",
        "fingerprint",
        "ip_address",
    ],
    files: &[("facial_photo", Media::Image), ("document_front", Media::Image), ("document_back", Media::Image)],
};

/// Required text fields.
const REQUIRED: [&str; 4] = ["liveness_session_id", "liveness_confidence", "document_type", "liveness_status"];

#[derive(Serialize)]
struct VerificationView<'a> {
    id: &'a RecordId,
    profile: &'a RecordId,
    liveness_session_id: &'a str,
    liveness_confidence: Decimal,
    document_type: &'a str,
    document_number: &'a str,
    facial_photo: &'a str,
    document_front: &'a str,
    document_back: &'a str,
    country: &'a str,
    liveness_status: &'a str,
    name: &'a str,
    address: &'a str,
    created: &'a str,
    updated: &'a str,
}

/// Answers a request.
///
/// # Errors
/// 400 for a bad field or file, or with a list of all missing ones; 401; 403 for a missing scope or another profile than a flow
/// token's; 404; 409 for a flow token once the profile is decided, for a liveness session that is another profile's, has been
/// used, has not ended, or contradicts the request, and for an upload that cannot be used; 413; 415; 429 when the daily limit of a
/// flow token is reached; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let id = path_parameter(&request, "id");
    let caller = authenticator.authenticate(credentials(request.headers()), pocketbase).await?;
    caller.require_for(Scope::VerificationHistoryWrite, &id)?;
    let id = profiles::parse_id(&id)?;
    let source_ip = source_ip(&request);
    let mut form = read_form(request, &FIELDS).await?;
    let claimed: Text<128> = form.get("liveness_session_id")?.unwrap_or_default();
    let profile = profiles::load_open(pocketbase, &id, &caller);
    let session = crosscheck::session(pocketbase, &caller, &id, &claimed);
    let (profile, session) = join(profile, session).await;
    let profile = profile?;
    if caller.is_flow() {
        state.daily_limit.attempts(&profile)?;
    }
    require_all(&form, &profile)?;
    let verification = verification(id.clone(), &form, source_ip, &caller)?;
    let purpose = CopyPurpose::Transient;
    let claim = state.uploads.claim(pocketbase, authenticator, &caller, Some(&id), purpose, &mut form).await?;
    let files = files(form, &profile);
    // A caller of all teams sees all sessions, but a session can confirm only profiles of its own team.
    let session = session?.filter(|session| session.team == profile.team);
    let record = record(state, &caller, &profile, session.as_ref(), verification, &files, &claim.uses).await;
    let record = state.uploads.finish(claim, record).await?;
    Ok(success(StatusCode::CREATED, Some("Verification history record created"), VerificationView::from(&record)))
}

/// Checks liveness values and device data, and adds the record.
async fn record(
    state: &State,
    caller: &Caller,
    profile: &ProfileOverview,
    session: Option<&LivenessSession>,
    mut verification: NewVerification,
    files: &[(&'static str, RecordFile)],
    uses: &[UploadUse],
) -> Result<VerificationRecord, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let liveness = crosscheck::compare(&state.liveness, pocketbase, session, caller.is_flow(), &verification);
    let device = state.fingerprint.check(verification.fingerprint.as_ref());
    let (liveness, mut verdict) = join(liveness, device).await;
    if let Some(liveness) = liveness? {
        liveness.apply_to(&mut verification);
    }
    let owner = EvidenceOwner::new(&verification.profile, &profile.user_id);
    let event = fingerprint::event_id(verification.fingerprint.as_ref());
    let event = event.filter(|_| verdict.as_ref().is_some_and(fingerprint::Verdict::is_found));
    let event = event.map(|event| Evidence::new(profile.team.as_ref(), EvidenceKind::DeviceEvent, event));
    verification.fingerprint_verdict = verdict.as_ref().map(|verdict| json!(verdict));
    let write = |verification, evidence| store(state, caller, verification, files, uses, evidence);
    let written = write(verification.clone(), event.as_ref().map(|event| (event, &owner))).await;
    match (written, event.clone()) {
        // An event serves one person, and this one was sent before.
        (Err(profiles::Error::PocketBase(Error::NotUnique(field))), Some(event)) if field == "id" => {
            let known = pocketbase.known_evidence(vec![event], &owner).await?;
            if let (false, Some(verdict)) = (known.of_others.is_empty(), &mut verdict) {
                verdict.fail_as_anothers();
            }
            verification.fingerprint_verdict = verdict.map(|verdict| json!(verdict));
            write(verification, None).await.map_err(write_error)
        }
        (outcome, _) => outcome.map_err(write_error),
    }
}

/// Adds the record. With a flow token, it takes one of the profile's attempts of the day.
async fn store(
    state: &State,
    caller: &Caller,
    verification: NewVerification,
    files: &[(&'static str, RecordFile)],
    uses: &[UploadUse],
    evidence: Option<(&Evidence, &EvidenceOwner)>,
) -> Result<VerificationRecord, profiles::Error> {
    let pocketbase = &state.backend.pocketbase;
    let writer = caller.writer();
    if !caller.is_flow() {
        return Ok(pocketbase.create_verification(writer, &verification, files, uses, evidence).await?);
    }
    // The partner may have decided during the checks, which can take seconds.
    let profile = profiles::load_open(pocketbase, &verification.profile, caller).await?;
    let store = |attempt| {
        let verification = NewVerification { flow_attempt: Some(attempt), ..verification.clone() };
        async move { pocketbase.create_verification(writer, &verification, files, uses, evidence).await }
    };
    state.daily_limit.attempts(&profile)?.store(store).await
}

/// Error for a failed write: 409 for a session that another verification uses, since a unique index accepts it once.
fn write_error(error: profiles::Error) -> ApiError {
    match error {
        profiles::Error::PocketBase(Error::NotUnique(field)) if field == "liveness_session" => session_conflict(
            "This session has been used for a verification already: the profile shows it. Or create another session",
        ),
        error => error.into(),
    }
}

/// Refuses a request with missing fields or files, and lists all of them.
fn require_all(form: &Form, profile: &ProfileOverview) -> Result<(), ApiError> {
    let document_type = form.get::<Text<64>>("document_type")?;
    let is_passport = document_type.as_ref().is_some_and(|kind| kind.as_str().eq_ignore_ascii_case("passport"));
    let needs_back = document_type.is_some() && !is_passport;
    let mut required = REQUIRED.to_vec();
    required.extend(["facial_photo", "document_front"]);
    required.extend(needs_back.then_some("document_back"));
    let is_stored = |name: &str| stored(profile).iter().any(|(field, file)| *field == name && !file.is_empty());
    let is_there = |name: &str| form.has(name) || form.has_file(name) || is_stored(name);
    let missing: Vec<_> = required.iter().copied().filter(|name| !is_there(name)).collect();
    if missing.is_empty() { Ok(()) } else { Err(ApiError::missing_fields(&required, &missing)) }
}

/// Files of a profile that a verification copies when the request does not contain them.
fn stored(profile: &ProfileOverview) -> [(&'static str, &str); 3] {
    [
        ("facial_photo", &profile.facial_photo),
        ("document_front", &profile.document_front),
        ("document_back", &profile.document_back),
    ]
}

/// The files and their sources.
fn files(mut form: Form, profile: &ProfileOverview) -> Vec<(&'static str, RecordFile)> {
    let files = stored(profile).into_iter().filter_map(|(field, stored)| match form.files.remove(field) {
        Some(file) => Some((field, RecordFile::Sent(file))),
        None if stored.is_empty() => None,
        None => Some((field, RecordFile::OfProfile(profile.id.clone(), stored.to_owned()))),
    });
    files.collect()
}

fn verification(
    profile: RecordId,
    form: &Form,
    source_ip: Option<String>,
    caller: &Caller,
) -> Result<NewVerification, ApiError> {
    let absent = |field: &str| ApiError::missing_fields(&REQUIRED, &[field]);
    let claimed_ip: Option<Text<45>> = form.get("ip_address")?;
    let ip_address = match claimed_ip {
        // An address that a browser claims is ignored.
        Some(_) if caller.is_flow() => source_ip,
        Some(claimed) => match claimed.as_str().parse::<IpAddr>() {
            Ok(address) => Some(address.to_string()),
            Err(_) => return Err(ApiError::invalid_field("ip_address", "must be an IPv4 or IPv6 address")),
        },
        None => source_ip,
    };
    Ok(NewVerification {
        profile,
        status: VerificationStatus::Pending,
        liveness_session_id: form.get("liveness_session_id")?.ok_or_else(|| absent("liveness_session_id"))?,
        liveness_confidence: form.get("liveness_confidence")?.ok_or_else(|| absent("liveness_confidence"))?,
        liveness_status: form.get("liveness_status")?.ok_or_else(|| absent("liveness_status"))?,
        // The values are claims until they are compared with the session's result.
        liveness_verified: false,
        liveness_session: None,
        document_type: form.get("document_type")?.ok_or_else(|| absent("document_type"))?,
        document_number: form.get("document_number")?,
        country: form.get("country")?,
        name: form.get("name")?,
        address: form.get("address")?,
        gender: form.get("gender")?,
        date_of_birth: form.get("date_of_birth")?,
        fingerprint: fingerprint(form)?,
        fingerprint_verdict: None,
        ip_address,
        flow_attempt: None,
    })
}

/// Visitor data of the Fingerprint agent as JSON. Text that is no JSON is a plain id, and is stored as a string.
fn fingerprint(form: &Form) -> Result<Option<Value>, ApiError> {
    match form.get_json("fingerprint") {
        Ok(data) => Ok(data),
        Err(_) => Ok(form.get::<Text<128>>("fingerprint")?.map(|id| Value::from(id.as_str()))),
    }
}

impl<'a> From<&'a VerificationRecord> for VerificationView<'a> {
    fn from(record: &'a VerificationRecord) -> Self {
        Self {
            id: &record.id,
            profile: &record.profile,
            liveness_session_id: &record.liveness_session_id,
            liveness_confidence: Decimal(record.liveness_confidence),
            document_type: &record.document_type,
            document_number: &record.document_number,
            facial_photo: &record.facial_photo,
            document_front: &record.document_front,
            document_back: &record.document_back,
            country: &record.country,
            liveness_status: &record.liveness_status,
            name: &record.name,
            address: &record.address,
            created: &record.created,
            updated: &record.updated,
        }
    }
}
