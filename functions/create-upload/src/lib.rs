//! POST /api/uploads: announces an upload, and returns a form with which the file is sent to the bucket directly.
//!
//! PocketBase calls: one to store the upload and to charge the partner's budget; with a flow token, or for a named profile, one before it
//! to load the profile; for a token of a partner, once a minute at the same time another, for its budgets. AWS is not called: the form is
//! signed here.

use std::collections::BTreeMap;

use futures_util::future::try_join;
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::auth::{Caller, Scope};
use shared::budgets::Budgets;
use shared::env::{Env, StartError};
use shared::file::Media;
use shared::http::{ApiError, credentials, json_response, no_store, parse_json, read_json};
use shared::pocketbase::records::NewUpload;
use shared::profiles::{self, DailyLimit, Quota};
use shared::runtime::Backend;
use shared::types::{Budget, RecordId, Text};
use storage::{POST_TTL, Uploads};

/// The file fields of all routes, and what they accept.
const FIELDS: [(&str, Media); 7] = [
    ("document_front", Media::Image),
    ("document_back", Media::Image),
    ("facial_photo", Media::Image),
    ("facial_video", Media::Video),
    ("id_photo", Media::Image),
    ("id_photo_back", Media::Image),
    ("selfie_video", Media::Video),
];

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    daily_limit: DailyLimit,
    uploads: Uploads,
    budgets: Budgets,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            daily_limit: DailyLimit::from_env(Quota::Uploads, env)?,
            uploads: Uploads::from_env(env).await?,
            budgets: Budgets::default(),
            backend: Backend::from_env(env).await?,
        })
    }
}

/// Request body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    field: Text<64>,
    content_type: Text<128>,
    size: u64,
    profile_id: Option<String>,
}

/// Required fields.
const REQUIRED: [&str; 3] = ["field", "contentType", "size"];

#[derive(Serialize)]
struct UploadView {
    success: bool,
    upload_id: RecordId,
    url: String,
    fields: BTreeMap<&'static str, String>,
    /// In seconds.
    expires_in: u64,
}

/// Answers a request.
///
/// # Errors
/// 400 for missing or invalid fields; 401; 403 for a missing scope or another profile than a flow token's; 404 for a profile that is
/// not the caller's; 409 for a flow token once the profile is decided; 413 for a file larger than its field accepts; 415; 429 when
/// the daily limit of uploads is reached, or the partner's budget is used up; 501 when no bucket is configured; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate(credentials(request.headers()), pocketbase).await?;
    caller.require(Scope::UploadsWrite)?;
    let body = read_json(&request)?;
    let missing: Vec<_> = REQUIRED.into_iter().filter(|field| body.get(field).is_none_or(Value::is_null)).collect();
    if !missing.is_empty() {
        return Err(ApiError::missing_fields(&REQUIRED, &missing));
    }
    let given: Announced = parse_json(body)?;
    let (field, content_type) = announced(&given)?;
    let profile = profile_of(&caller, given.profile_id.as_deref())?;
    let overview = async {
        match &profile {
            Some(profile) => profiles::load_open(pocketbase, profile, &caller).await.map(Some),
            None => Ok(None),
        }
        .map_err(ApiError::from)
    };
    let charge = async {
        let charge = state.budgets.charge(pocketbase, &caller, caller.origin(), Budget::UploadBytes, given.size).await;
        charge.map_err(ApiError::from)
    };
    let (overview, charge) = try_join(overview, charge).await?;
    let mut upload = NewUpload {
        team: caller.own_team().cloned(),
        owner: Uploads::owner(authenticator, &caller)?,
        profile,
        field,
        content_type,
        size: given.size,
        flow_attempt: None,
    };
    // An upload for a profile belongs to the profile's team, also when a caller of all teams announces it.
    if let Some(overview) = &overview {
        upload.team.clone_from(&overview.team);
    }
    let writer = caller.writer();
    let stored = match overview.filter(|_| caller.is_flow()) {
        Some(profile) => {
            let store = |attempt| {
                let upload = NewUpload { flow_attempt: Some(attempt), ..upload.clone() };
                let charge = &charge;
                async move { pocketbase.create_upload(writer, &upload, charge).await }
            };
            state.daily_limit.attempts(&profile)?.store(store).await?
        }
        None => pocketbase.create_upload(writer, &upload, &charge).await?,
    };
    let post = state.uploads.bucket().presigned_post(&Uploads::key(&stored), &upload.content_type, upload.size).await?;
    let view = UploadView {
        success: true,
        upload_id: stored.id,
        url: post.url,
        fields: post.fields,
        expires_in: POST_TTL.as_secs(),
    };
    Ok(no_store(json_response(StatusCode::CREATED, &view)))
}

/// The field and the media type, if the field accepts the type and the size.
fn announced(given: &Announced) -> Result<(&'static str, String), ApiError> {
    let known = FIELDS.into_iter().find(|(field, _)| *field == given.field.as_str());
    let names = FIELDS.map(|(field, _)| field).join(", ");
    let (field, media) = known.ok_or_else(|| ApiError::invalid_field("field", format!("must be one of {names}")))?;
    // Browsers append codecs to the type.
    let content_type = given.content_type.as_str().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Phones send `image/heic`, the codec, instead of the container's `image/heif`.
    let is_taken =
        media.types().contains(&content_type.as_str()) || (media == Media::Image && content_type == "image/heic");
    if !is_taken {
        let types = media.types().join(", ");
        return Err(ApiError::invalid_field("contentType", format!("must be one of {types}")));
    }
    let most = media.max_size();
    match given.size {
        0 => Err(ApiError::invalid_field("size", "must be the file's size in bytes")),
        size if size > most => {
            Err(ApiError::too_large(format!("{field} takes at most {most} bytes")).with("field", "size"))
        }
        _ => Ok((field, content_type)),
    }
}

/// Profile of the upload: the flow token's own, else the named one.
fn profile_of(caller: &Caller, named: Option<&str>) -> Result<Option<RecordId>, ApiError> {
    let named = named.filter(|named| !named.is_empty());
    if let Some(named) = named {
        caller.require_for(Scope::UploadsWrite, named)?;
    }
    let named = named.map(profiles::parse_id).transpose()?;
    Ok(named.or_else(|| caller.flow_profile().cloned()))
}
