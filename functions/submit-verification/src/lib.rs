//! POST /verif/submit: compares a selfie video with the photo of an identity document, reads the document, decides, and sends webhooks.
//!
//! One transaction writes the outcome, both histories, the profile's status and the webhooks. If the process dies before it, the
//! sweep ends the check; if the process dies after it, the sweep delivers the webhooks.
//!
//! PocketBase calls: four, to load the profile (with a key one or two more, to create it first), to start the check, to load the profile
//! again, and to write the outcome; three more where evidence was used before, to look it up, load the profile and write again; one per
//! upload; once a minute one more for the subscriptions and, for a token of a partner, one for its budgets. S3 calls: three per upload and
//! one for all uploads, one per file of the request and per frame. Model calls with `openai_vision`: two, and one more for a photo of the
//! back, all at the same time. Rekognition calls, where it is configured: one per frame and one per photo, so six or seven; without a model
//! one more per photo.

mod check;
mod compare;
mod document;
mod examination;
mod failure;
mod instructions;
mod live_session;
mod media;
mod rules;
mod submission;
mod view;

use std::time::Instant;

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use shared::budgets::Budgets;
use shared::env::{Env, StartError};
use shared::file::Media;
use shared::http::{ApiError, FormFields, json_response, no_store, read_form};
use shared::profiles::{DailyLimit, Quota};
use shared::runtime::Backend;
use storage::Uploads;
use webhooks::{DeliveryQueue, Subscriptions};

use compare::Comparison;
use documents::Reader;
use live_session::Requirement;
use media::Ffmpeg;
use rules::Thresholds;
use view::{Completed, SubmitView};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    daily_limit: DailyLimit,
    budgets: Budgets,
    thresholds: Thresholds,
    liveness: Requirement,
    reader: Reader,
    uploads: Uploads,
    ffmpeg: Ffmpeg,
    comparison: Comparison,
    subscriptions: Subscriptions,
    queue: DeliveryQueue,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            daily_limit: DailyLimit::from_env(Quota::Checks, env)?,
            budgets: Budgets::default(),
            thresholds: Thresholds::from_env(env)?,
            liveness: Requirement::from_env(env)?,
            reader: Reader::default(),
            uploads: Uploads::from_env(env).await?,
            ffmpeg: Ffmpeg::from_env(env)?,
            comparison: Comparison::from_env(env).await?,
            subscriptions: Subscriptions::default(),
            queue: DeliveryQueue::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }
}

/// Fields of the form.
const FIELDS: FormFields = FormFields {
    texts: &["api_key", "user_identifier", "user_id", "user_email", "user_phone"],
    files: &[("selfie_video", Media::Video), ("id_photo", Media::Image), ("id_photo_back", Media::Image)],
};

/// Answers a request.
///
/// # Errors
/// 400 for a missing key, field or file, and for media that cannot be decoded; 401; 403 for a credential that is neither a secret key nor a
/// flow token, and for another person than a flow token's; 404 for a profile or an upload that is not the caller's; 409 for a flow token
/// once the profile is decided, and for an upload that cannot be used; 413; 415; 429 when the daily limit is reached, or the partner's
/// budget is used up; 500 when the faces could not be compared or the document could not be read; 501 when the comparison or the bucket is
/// not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let started = Instant::now();
    let headers = request.headers().clone();
    let mut form = read_form(request, &FIELDS).await?;
    let caller = submission::authenticate(state, &headers, &form).await?;
    let (submission, attempts) = submission::parse(state, &caller, &form).await?;
    let (check, claim) = check::start(state, &caller, &submission, attempts, &mut form).await?;
    let completed = check::process(state, &caller, &submission, &check, claim, &form, started).await;
    count(&completed);
    let Completed { result, deliveries } =
        completed.map_err(|error| error.with("check_id", submission.check_id.as_str()))?;
    state.queue.enqueue_all(&deliveries).await;
    let view = SubmitView::new(&submission, &result, &form, state.uploads.bucket()).await;
    Ok(no_store(json_response(StatusCode::OK, &view)))
}

/// Counts a check in the metric `Checks`, and what was found in `RiskFactors`.
fn count(completed: &Result<Completed, ApiError>) {
    let outcome = completed.as_ref().map_or("failed", |completed| completed.result.status());
    metrics::counter!("Checks", "Outcome" => outcome).increment(1);
    for factor in completed.iter().flat_map(|completed| completed.result.risk_factors()) {
        metrics::counter!("RiskFactors", "Factor" => *factor).increment(1);
    }
}
