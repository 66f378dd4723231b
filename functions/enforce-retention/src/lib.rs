//! Every day: deletes what checks and uploads have left behind, once its time is over. Decisions stay.
//!
//! Media in the bucket, the images of Face Liveness sessions, and the records of uploads; frames never outlive the request. What is found
//! is found by its age, so that a run that was interrupted is finished by the next one. The bucket's own lifecycle is the backstop.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::config::{Env, PocketBaseSettings, RetentionSettings};
use shared::http::StartError;
use shared::pocketbase::{Error, PocketBase};
use shared::worker::Failure;
use storage::Bucket;

/// After how long no more is begun, of the 15 minutes that the function has.
const ENOUGH: Duration = Duration::from_secs(12 * 60);

/// For how long a form for an upload can outlive the person that it was for: ten minutes, and a day's run that failed.
const AFTER_REDACTION: TimeDelta = TimeDelta::days(2);

/// What is made once in a process's life.
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
            pocketbase: PocketBase::start(PocketBaseSettings::from_env(env)?).await?,
        })
    }
}

/// A tick of the schedule. What it says makes no difference.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub struct Tick(#[allow(dead_code)] pub Value);

/// How much was deleted.
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

/// Deletes what is old.
///
/// # Errors
/// When PocketBase or AWS fails. What has been deleted until then stays so.
pub async fn handle(state: &State, _: Tick) -> Result<Deleted, Failure> {
    let State { pocketbase, bucket, retention } = state;
    let started = Instant::now();
    let before: DateTime<Utc> = Utc::now() - TimeDelta::days(i64::from(retention.days));
    let mut deleted = Deleted::default();
    // Whatever fails, the rest has its turn first.
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
    tracing::info!(objects, checks, liveness_sessions, uploads, "what was old is deleted");
    match failures.pop() {
        Some(failure) => Err(failure),
        None => Ok(deleted),
    }
}

/// Deletes objects of the bucket; how many they were.
async fn objects(pocketbase: &PocketBase, bucket: &Bucket, before: DateTime<Utc>) -> Result<usize, Failure> {
    if !bucket.is_configured() {
        return Ok(0);
    }
    let mut deleted = bucket.delete_older(before).await?;
    // A form that was given out before may have been sent after.
    for profile in pocketbase.redacted_since(Utc::now() - AFTER_REDACTION).await? {
        deleted += bucket.delete_person(&profile).await?;
    }
    Ok(deleted)
}

/// What PocketBase holds for a time.
#[derive(Clone, Copy)]
enum Kind {
    CheckMedia,
    LivenessImages,
    Uploads,
}

/// Deletes all of a kind, page by page; how many they were.
async fn all(pocketbase: &PocketBase, kind: Kind, before: DateTime<Utc>, started: Instant) -> Result<usize, Error> {
    let mut deleted = 0;
    while started.elapsed() < ENOUGH {
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
