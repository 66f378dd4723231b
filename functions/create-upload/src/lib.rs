//! POST /api/uploads: leave to send one file to the bucket, past the API, which carries no large ones.
//!
//! PocketBase calls: one to keep whose the upload is; with a flow token, or for a profile that is named, one before it to see the
//! profile. AWS is not asked: the form's policy is signed here.

use std::collections::BTreeMap;

use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, HeaderValue};
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::auth::{Caller, Scope};
use shared::backend::Backend;
use shared::config::{AttemptSettings, Env};
use shared::http::{ApiError, Media, StartError, json_response, parse_json, read_json};
use shared::pocketbase::{Error, NewUpload, ProfileOverview, Upload};
use shared::types::{RecordId, Text};
use storage::{POST_TTL, Uploads};

/// The largest image, in bytes.
const MAX_IMAGE: u64 = 15 * 1024 * 1024;

/// The largest video, in bytes.
const MAX_VIDEO: u64 = 50 * 1024 * 1024;

/// The file fields of all routes, and what they take.
const FIELDS: [(&str, Media); 6] = [
    ("document_front", Media::Image),
    ("document_back", Media::Image),
    ("facial_photo", Media::Image),
    ("facial_video", Media::Video),
    ("id_photo", Media::Image),
    ("selfie_video", Media::Video),
];

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    attempts: AttemptSettings,
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
            uploads: Uploads::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// The body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announced {
    field: Text<64>,
    content_type: Text<128>,
    size: u64,
    profile_id: Option<String>,
}

/// What the route requires.
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
/// not the caller's; 409 for a flow token once the profile is decided; 413 for a file larger than its field takes; 429 when a person
/// has used up the uploads of a day; 501 where there is no bucket; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.bearer_or_key(request.headers(), pocketbase).await?;
    caller.require(Scope::UploadsWrite)?;
    let body = read_json(&request)?;
    let missing: Vec<_> = REQUIRED.into_iter().filter(|field| body.get(field).is_none_or(Value::is_null)).collect();
    if !missing.is_empty() {
        return Err(ApiError::missing_fields(&REQUIRED, &missing));
    }
    let given: Announced = parse_json(body)?;
    let (field, content_type) = announced(&given)?;
    let profile = profile_of(&caller, given.profile_id.as_deref())?;
    let overview = match &profile {
        Some(profile) => Some(state.open(&caller, profile).await?),
        None => None,
    };
    let mut upload = NewUpload {
        team: caller.own_team().cloned(),
        owner: Uploads::owner(authenticator, &caller)?,
        profile,
        field,
        content_type,
        size: given.size,
        flow_attempt: None,
    };
    // A caller of all teams uploads for the profile's team.
    if let Some(overview) = &overview {
        upload.team.clone_from(&overview.team);
    }
    let kept = match overview.filter(|_| caller.is_flow()) {
        Some(overview) => state.keep_numbered(&overview, &mut upload).await?,
        None => pocketbase.create_upload(&upload).await?,
    };
    let post = state.uploads.bucket().presigned_post(&Uploads::key(&kept), &upload.content_type, upload.size).await?;
    let view = UploadView {
        success: true,
        upload_id: kept.id,
        url: post.url,
        fields: post.fields,
        expires_in: POST_TTL.as_secs(),
    };
    let mut response = json_response(StatusCode::CREATED, &view);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The field and the media type, if the one takes the other and this much of it.
fn announced(given: &Announced) -> Result<(&'static str, String), ApiError> {
    let known = FIELDS.into_iter().find(|(field, _)| *field == given.field.as_str());
    let names = FIELDS.map(|(field, _)| field).join(", ");
    let (field, media) = known.ok_or_else(|| ApiError::invalid_field("field", format!("must be one of {names}")))?;
    // A browser names codecs as well.
    let content_type = given.content_type.as_str().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Phones call it by the name of its codec.
    let is_taken =
        media.types().contains(&content_type.as_str()) || (media == Media::Image && content_type == "image/heic");
    if !is_taken {
        let types = media.types().join(", ");
        return Err(ApiError::invalid_field("contentType", format!("must be one of {types}")));
    }
    let most = if media == Media::Video { MAX_VIDEO } else { MAX_IMAGE };
    match given.size {
        0 => Err(ApiError::invalid_field("size", "must be the file's size in bytes")),
        size if size > most => {
            Err(ApiError::too_large(format!("{field} takes at most {most} bytes")).with("field", "size"))
        }
        _ => Ok((field, content_type)),
    }
}

/// The profile that an upload is for: a flow token's own, else the one that is named.
fn profile_of(caller: &Caller, named: Option<&str>) -> Result<Option<RecordId>, ApiError> {
    let named = named.filter(|named| !named.is_empty());
    if let Some(named) = named {
        caller.require_for(Scope::UploadsWrite, named)?;
    }
    let named = named.map(|named| named.parse().map_err(|_| ApiError::profile_not_found())).transpose()?;
    Ok(named.or_else(|| caller.flow_profile().cloned()))
}

impl State {
    /// The profile, if this caller may upload for it.
    async fn open(&self, caller: &Caller, profile: &RecordId) -> Result<ProfileOverview, ApiError> {
        let overview = self.backend.pocketbase.profile_overview(profile, caller.teams()).await?;
        let overview = overview.ok_or_else(ApiError::profile_not_found)?;
        if caller.is_flow() && overview.is_decided() {
            return Err(ApiError::already_decided());
        }
        Ok(overview)
    }

    /// Keeps an upload as one of those that a person has in a day.
    async fn keep_numbered(&self, profile: &ProfileOverview, upload: &mut NewUpload) -> Result<Upload, ApiError> {
        for attempt in profile.uploads_left(self.attempts.uploads_per_day) {
            upload.flow_attempt = Some(attempt);
            match self.backend.pocketbase.create_upload(upload).await {
                Err(Error::NotUnique(field)) if field == "flow_attempt" => continue,
                outcome => return outcome.map_err(|error| ApiError::of_write(error, true)),
            }
        }
        let message = "This profile has used up its uploads for today; try again tomorrow (UTC)";
        Err(ApiError::too_many_today("Too many uploads", message))
    }
}
