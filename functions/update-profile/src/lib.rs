//! PATCH /api/profiles/{id}: changes fields of a profile and stores its files.
//!
//! All changes are one write to PocketBase, so that the profile is never changed in part. PocketBase calls: two, to load the profile
//! and to write; one more for the session that a flow token names, and one per upload. S3 calls: three per upload, and one for all.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::Value;
use shared::auth::{self, Scope};
use shared::env::{Env, StartError};
use shared::file::Media;
use shared::http::{ApiError, Form, FormFields, credentials, path_parameter, read_form, success};
use shared::pocketbase::RecordFile;
use shared::pocketbase::records::{ProfileChanges, ProfileRecord};
use shared::profiles::{self, DailyLimit, Quota};
use shared::runtime::Backend;
use shared::types::{RecordId, Text};
use storage::{CopyPurpose, Uploads};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    daily_limit: DailyLimit,
    uploads: Uploads,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            daily_limit: DailyLimit::from_env(Quota::Updates, env)?,
            uploads: Uploads::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// Fields of the form.
const FIELDS: FormFields = FormFields {
    texts: &[
        "verification_status",
        "document_type",
        "document_number",
        "document_name",
        "country",
        "face_liveness_session_id",
        "face_liveness_confidence",
        "face_liveness_status",
        "face_liveness_result",
    ],
    files: &[
        ("document_front", Media::Image),
        ("document_back", Media::Image),
        ("facial_photo", Media::Image),
        ("facial_video", Media::Video),
    ],
};

/// The only text field that a flow token may set: the Face Liveness session, whose result AWS confirms.
const FLOW_TEXT: &str = "face_liveness_session_id";

#[derive(Serialize)]
struct ProfileView<'a> {
    id: &'a RecordId,
    status: &'a str,
    document_type: &'a str,
    document_number: &'a str,
    document_name: &'a str,
    country: &'a str,
    document_front: &'a str,
    document_back: &'a str,
    facial_photo: &'a str,
    facial_video: &'a str,
    updated: &'a str,
}

/// Answers a request.
///
/// # Errors
/// 400 for a bad field, a bad file, or nothing to update; 401; 403 for a missing scope, another profile than a flow token's,
/// or a field that a flow token may not set; 404; 409 for a flow token once the profile is decided, for a flow token that names
/// another profile's liveness session, and for an upload that cannot be used; 413; 415; 429 when the daily
/// limit of changes by flow token is reached; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let id = path_parameter(&request, "id");
    let caller = authenticator.authenticate(credentials(request.headers()), pocketbase).await?;
    caller.require_for(Scope::ProfilesWrite, &id)?;
    let id = profiles::parse_id(&id)?;
    let mut form = read_form(request, &FIELDS).await?;
    if caller.is_flow()
        && let Some(field) = FIELDS.texts.iter().find(|field| **field != FLOW_TEXT && form.has(field))
    {
        return Err(ApiError::from(auth::Error::InsufficientScope(Scope::ProfilesWrite))
            .with("field", *field)
            .message(format!("A flow token cannot set {field}")));
    }
    if form.files.is_empty() && form.uploads.is_empty() && !FIELDS.texts.iter().any(|field| form.has(field)) {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Nothing to update")
            .message("Send at least one field or file to change"));
    }
    let mut changes = changes(&form)?;
    let profile = profiles::load_open(pocketbase, &id, &caller).await?;
    let attempts = match caller.is_flow() {
        true => Some(state.daily_limit.attempts(&profile)?),
        false => None,
    };
    if let (Some(own), Some(session)) = (caller.flow_profile(), &changes.face_liveness_session_id) {
        let session_id = session.as_str().parse().ok();
        let session = match &session_id {
            Some(session_id) => pocketbase.liveness_session(session_id, caller.teams(), Some(own)).await?,
            None => None,
        };
        session.ok_or_else(|| {
            ApiError::conflict("Face Liveness session conflict", "This session was not made for this profile")
        })?;
    }
    let purpose = CopyPurpose::Transient;
    let claim = state.uploads.claim(pocketbase, authenticator, &caller, Some(&id), purpose, &mut form).await?;
    changes.files = form.files.into_iter().map(|(field, file)| (field, RecordFile::Sent(file))).collect();
    let update = async |attempt: Option<String>| {
        pocketbase.update_profile(&id, caller.writer(), &changes, &claim.uses, attempt.as_deref()).await
    };
    let record = match attempts {
        Some(attempts) => attempts.store(|attempt| update(Some(attempt))).await,
        None => update(None).await.map_err(profiles::Error::from),
    };
    let record = state.uploads.finish(claim, record).await?;
    Ok(success(StatusCode::OK, Some("Record updated successfully"), ProfileView::from(&record)))
}

/// Changes in the text fields of a form.
fn changes(form: &Form) -> Result<ProfileChanges, ApiError> {
    let verification_status = form.get("verification_status")?;
    Ok(ProfileChanges {
        decided_by: verification_status.map(|_| ""),
        verification_status,
        document_type: form.get("document_type")?,
        document_number: form.get("document_number")?,
        document_name: form.get("document_name")?,
        country: form.get("country")?,
        face_liveness_session_id: form.get("face_liveness_session_id")?,
        face_liveness_confidence: form.get("face_liveness_confidence")?,
        face_liveness_status: form.get("face_liveness_status")?,
        face_liveness_result: liveness_result(form)?,
        files: Vec::new(),
    })
}

/// The full result of Face Liveness: JSON, or a plain text.
fn liveness_result(form: &Form) -> Result<Option<Value>, ApiError> {
    match form.get_json("face_liveness_result") {
        Ok(result) => Ok(result),
        Err(_) => Ok(form.get::<Text<5000>>("face_liveness_result")?.map(|text| Value::from(text.as_str()))),
    }
}

impl<'a> From<&'a ProfileRecord> for ProfileView<'a> {
    fn from(record: &'a ProfileRecord) -> Self {
        Self {
            id: &record.id,
            status: &record.verification_status,
            document_type: &record.document_type,
            document_number: &record.document_number,
            document_name: &record.document_name,
            country: &record.country,
            document_front: &record.document_front,
            document_back: &record.document_back,
            facial_photo: &record.facial_photo,
            facial_video: &record.facial_video,
            updated: &record.updated,
        }
    }
}
