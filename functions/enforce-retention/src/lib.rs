//! Schedule, every day: deletes media, faces and uploads that are older than `RETENTION_DAYS`. Decisions stay.
//!
//! Deleted are objects in the bucket, images of Face Liveness sessions and records of uploads. They are selected by age, so that
//! the next run completes an interrupted one. The bucket's lifecycle rule is the backstop.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::env::Env;
use shared::pocketbase::{self, Error, PocketBase};
use shared::runtime::{EventError, StartError, Tick};
use storage::{Bucket, RetentionSettings};

/// After this time no further page is started, of the function's 15 minutes.
const TIME_BUDGET: Duration = Duration::from_secs(12 * 60);

/// How long after a redaction objects of the person can still appear: a form is valid for ten minutes, and a run can fail.
const AFTER_REDACTION: TimeDelta = TimeDelta::days(2);

/// State built once per execution environment.
pub struct State {
    pocketbase: PocketBase,
    bucket: Bucket,
    retention: RetentionSettings,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            retention: RetentionSettings::from_env(env)?,
            bucket: Bucket::from_env(env).await?,
            pocketbase: PocketBase::start(pocketbase::Settings::from_env(env)?).await?,
        })
    }
}

/// Number of deleted items.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Objects of the bucket.
    pub objects: usize,
    /// Checks whose media are gone.
    pub checks: usize,
    /// Face Liveness sessions whose images are gone.
    pub liveness_sessions: usize,
    /// Records of uploads.
    pub uploads: usize,
}

/// Runs once.
///
/// # Errors
/// When PocketBase or AWS fails. Items that were deleted until then stay deleted.
pub async fn handle(state: &State, _: Tick) -> Result<Deleted, EventError> {
    let State { pocketbase, bucket, retention } = state;
    let started = Instant::now();
    let before: DateTime<Utc> = Utc::now() - TimeDelta::days(i64::from(retention.days));
    let mut deleted = Deleted::default();
    // A failure is reported at the end, so that it does not keep the rest from being done.
    let mut failures = Vec::new();
    match objects(pocketbase, bucket, before).await {
        Ok(count) => deleted.objects = count,
        Err(failure) => failures.push(failure),
    }
    for (kind, count) in [
        (Kind::CheckMedia, &mut deleted.checks),
        (Kind::LivenessImages, &mut deleted.liveness_sessions),
        (Kind::Uploads, &mut deleted.uploads),
    ] {
        match all(pocketbase, kind, before, started).await {
            Ok(done) => *count = done,
            Err(error) => failures.push(error.into()),
        }
    }
    let Deleted { objects, checks, liveness_sessions, uploads } = deleted;
    tracing::info!(objects, checks, liveness_sessions, uploads, "retention enforced");
    match failures.pop() {
        Some(failure) => Err(failure),
        None => Ok(deleted),
    }
}

/// Deletes objects of the bucket, and returns how many.
async fn objects(pocketbase: &PocketBase, bucket: &Bucket, before: DateTime<Utc>) -> Result<usize, EventError> {
    if !bucket.is_configured() {
        return Ok(0);
    }
    let mut deleted = bucket.delete_older(before).await.map_err(EventError::with_cause)?;
    // A form that was issued before a redaction can be sent after it.
    for profile in pocketbase.redacted_since(Utc::now() - AFTER_REDACTION).await? {
        deleted += bucket.delete_person(&profile).await.map_err(EventError::with_cause)?;
    }
    Ok(deleted)
}

/// Kind of records with a retention time.
#[derive(Clone, Copy)]
enum Kind {
    CheckMedia,
    LivenessImages,
    Uploads,
}

/// Deletes all records of a kind, page by page, and returns how many.
async fn all(pocketbase: &PocketBase, kind: Kind, before: DateTime<Utc>, started: Instant) -> Result<usize, Error> {
    let mut deleted = 0;
    while started.elapsed() < TIME_BUDGET {
        let page = match kind {
            Kind::CheckMedia => pocketbase.forget_check_media(before).await?,
            Kind::LivenessImages => pocketbase.delete_liveness_images(before).await?,
            Kind::Uploads => pocketbase.delete_uploads(before).await?,
        };
        if page == 0 {
            break;
        }
        deleted += page;
    }
    Ok(deleted)
}
