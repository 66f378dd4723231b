//! POST /verif/submit: compares a selfie video with the photo of an identity document, decides, and tells the partner by webhook.
//!
//! The outcome, both histories, the profile's status and the webhooks are one transaction: whoever dies before it leaves a check that
//! the sweep ends, and whoever dies after it leaves webhooks that the sweep delivers.
//!
//! PocketBase calls: four and one for each upload: the profile (with a key two, when it is there already), the check, the profile once more
//! before the outcome, the outcome; and once a minute the partners to tell. S3 calls: three for each upload, one for each file of the
//! request. One of the model's, and three of Rekognition's where that is configured.

mod check;
mod compare;
mod media;
mod rules;
mod submission;
mod view;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, HeaderValue};
use lambda_http::{Body, Request, Response};
use shared::backend::Backend;
use shared::config::{AttemptSettings, DecisionSettings, Env, MediaSettings};
use shared::http::{ApiError, FormFields, Media, StartError, json_response, read_form};
use storage::Uploads;
use webhooks::{Announcer, Subscriptions};

use check::Done;
use compare::Comparison;
use media::Ffmpeg;
use view::SubmitView;

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
    let caller = submission::caller(state, &headers, &form).await?;
    let submission = submission::of(state, &caller, &form).await?;
    let check = check::begin(state, &caller, &submission, &form).await?;
    let done = check::process(state, &caller, &submission, &check, &mut form, started).await;
    let Done { result, deliveries } = done.map_err(|error| error.with("check_id", submission.check_id.as_str()))?;
    join_all(deliveries.iter().map(|delivery| state.announcer.announce(&delivery.id, Duration::ZERO))).await;
    let view = SubmitView::new(&submission.check_id, &submission.user, &result, state.uploads.bucket()).await;
    let mut response = json_response(StatusCode::OK, &view);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}
