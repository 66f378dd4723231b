//! POST /api/verification_history/{id}: adds a verification, with its files, to a profile.
//!
//! Liveness is what AWS said of the session, where that can be known, and a device is checked with Fingerprint. Files that the
//! request does not bring are copied from the profile, through this process but not into it. Everything is written at once.
//!
//! PocketBase calls: three, two at once to see the profile and the session and one to write, and those for the files copied; one for each upload that stands for a file; with
//! a flow token one more, to see that the profile is still open.
//! AWS is asked once, and the answer kept, when nobody has read the session's result yet; Fingerprint once.

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
use shared::backend::Backend;
use shared::config::{AttemptSettings, Env, FingerprintSettings};
use shared::http::{ApiError, Form, FormFields, Media, StartError, path_id, profile_id, read_form, source_ip, success};
use shared::pocketbase::{
    Error, LivenessSession, NewVerification, ProfileOverview, RecordFile, UploadUse, VerificationRecord,
};
use shared::types::{RecordId, Text};
use storage::{Copies, Uploads};

use fingerprint::Fingerprint;

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    attempts: AttemptSettings,
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
            attempts: AttemptSettings::from_env(env)?,
            liveness: Liveness::from_env(env).await?,
            fingerprint: Fingerprint::new(FingerprintSettings::from_env(env)?)?,
            uploads: Uploads::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// What the form may hold.
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

/// The text fields that the route requires.
const REQUIRED: [&str; 4] = ["liveness_session_id", "liveness_confidence", "document_type", "liveness_status"];

#[derive(Serialize)]
struct VerificationView<'a> {
    id: &'a RecordId,
    profile: &'a RecordId,
    liveness_session_id: &'a str,
    liveness_confidence: f64,
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
/// 400 for a bad field or file, or listing all that is missing; 401; 403 for a missing scope or another profile than a flow
/// token's; 404; 409 for a flow token once the profile is decided, and for a liveness session that is another profile's, has
/// been used, is not over, or says something else than the request; 413; 415; 429 when a flow token has used up its attempts;
/// PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let id = path_id(&request);
    let caller = authenticator.bearer_or_key(request.headers(), pocketbase).await?;
    caller.require_for(Scope::VerificationHistoryWrite, &id)?;
    let id = profile_id(&id)?;
    let source_ip = source_ip(&request);
    let mut form = read_form(request, &FIELDS).await?;
    let claimed: Text<128> = form.get("liveness_session_id")?.unwrap_or_default();
    let profile = pocketbase.profile_overview(&id, caller.teams());
    let session = crosscheck::session(pocketbase, &caller, &id, &claimed);
    let (profile, session) = join(profile, session).await;
    let profile = state.open(&caller, profile?)?;
    require_all(&form, &profile)?;
    let verification = verification(id.clone(), &form, source_ip, caller.is_flow())?;
    let taken = state.uploads.take(pocketbase, authenticator, &caller, Some(&id), Copies::Passing, &mut form).await?;
    let files = files(form, &profile);
    // A caller of all teams sees the sessions of all, but one team's session says nothing of another's person.
    let session = session?.filter(|session| session.team == profile.team);
    let record = record(state, &caller, session.as_ref(), verification, &files, &taken.uses).await;
    let record = state.uploads.settle(taken, record).await?;
    Ok(success(StatusCode::CREATED, Some("Verification history record created"), VerificationView::from(&record)))
}

/// Asks the others what they know of it, and adds the record.
async fn record(
    state: &State,
    caller: &Caller,
    session: Option<&LivenessSession>,
    mut verification: NewVerification,
    files: &[(&'static str, RecordFile)],
    uses: &[UploadUse],
) -> Result<VerificationRecord, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let liveness = crosscheck::compare(&state.liveness, pocketbase, session, caller.is_flow(), &verification);
    let device = state.fingerprint.check(verification.fingerprint.as_ref());
    let (liveness, verdict) = join(liveness, device).await;
    if let Some(liveness) = liveness? {
        liveness.put_into(&mut verification);
    }
    verification.fingerprint_verdict = verdict.map(|verdict| json!(verdict));
    if !caller.is_flow() {
        return pocketbase.create_verification(&verification, files, uses).await.map_err(of_write);
    }
    // Asking others may have taken seconds, in which the partner may have decided.
    let profile = pocketbase.profile_overview(&verification.profile, caller.teams()).await?;
    let profile = state.open(caller, profile)?;
    // It is one of the attempts that a person has in a day.
    for attempt in profile.verifications_left(state.attempts.verifications_per_day) {
        verification.flow_attempt = Some(attempt);
        match pocketbase.create_verification(&verification, files, uses).await {
            Err(Error::NotUnique(field)) if field == "flow_attempt" => continue,
            Err(Error::Refused) => return Err(ApiError::already_decided()),
            outcome => return outcome.map_err(of_write),
        }
    }
    Err(too_many_attempts())
}

impl State {
    /// The profile, if this caller may add to it.
    fn open(&self, caller: &Caller, profile: Option<ProfileOverview>) -> Result<ProfileOverview, ApiError> {
        let profile = profile.ok_or_else(ApiError::profile_not_found)?;
        if caller.is_flow() && profile.is_decided() {
            return Err(ApiError::already_decided());
        }
        if caller.is_flow() && profile.verifications_left(self.attempts.verifications_per_day).next().is_none() {
            return Err(too_many_attempts());
        }
        Ok(profile)
    }
}

/// A session vouches once: an index lets no second record have it.
fn of_write(error: Error) -> ApiError {
    match error {
        Error::NotUnique(field) if field == "liveness_session" => ApiError::session_conflict(
            "This session has been used for a verification already: the profile shows it. Or create another session",
        ),
        error => error.into(),
    }
}

/// Refuses, in one error, what lacks a field or a file.
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

/// The files of a profile that a verification copies when the request does not bring them.
fn stored(profile: &ProfileOverview) -> [(&'static str, &str); 3] {
    [
        ("facial_photo", &profile.facial_photo),
        ("document_front", &profile.document_front),
        ("document_back", &profile.document_back),
    ]
}

/// Where each file comes from.
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
    is_flow: bool,
) -> Result<NewVerification, ApiError> {
    let absent = |field: &str| ApiError::missing_fields(&REQUIRED, &[field]);
    let claimed_ip: Option<Text<45>> = form.get("ip_address")?;
    let ip_address = match claimed_ip {
        // A browser's address is the one that it comes from, whatever it says.
        Some(_) if is_flow => source_ip,
        Some(claimed) => match claimed.as_str().parse::<IpAddr>() {
            Ok(address) => Some(address.to_string()),
            Err(_) => return Err(ApiError::invalid_field("ip_address", "must be an IPv4 or IPv6 address")),
        },
        None => source_ip,
    };
    Ok(NewVerification {
        profile,
        status: "pending",
        liveness_session_id: form.get("liveness_session_id")?.ok_or_else(|| absent("liveness_session_id"))?,
        liveness_confidence: form.get("liveness_confidence")?.ok_or_else(|| absent("liveness_confidence"))?,
        liveness_status: form.get("liveness_status")?.ok_or_else(|| absent("liveness_status"))?,
        // A claim, until it has been compared with what AWS said of the session.
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

/// FingerprintJS's visitor data, which is JSON; a bare visitor or event id is kept as a string.
fn fingerprint(form: &Form) -> Result<Option<Value>, ApiError> {
    match form.get_json("fingerprint") {
        Ok(data) => Ok(data),
        Err(_) => Ok(form.get::<Text<128>>("fingerprint")?.map(|id| Value::from(id.as_str()))),
    }
}

fn too_many_attempts() -> ApiError {
    let message = "This profile has used up its attempts for today; try again tomorrow (UTC)";
    ApiError::too_many_today("Too many verification attempts", message)
}

impl<'a> From<&'a VerificationRecord> for VerificationView<'a> {
    fn from(record: &'a VerificationRecord) -> Self {
        Self {
            id: &record.id,
            profile: &record.profile,
            liveness_session_id: &record.liveness_session_id,
            liveness_confidence: record.liveness_confidence,
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
