//! Schedule, twice a day: deletes media, faces and uploads that are older than `RETENTION_DAYS`, webhooks that were not changed for
//! `WEBHOOK_RETENTION_DAYS`, and counts of past days. Decisions stay.
//!
//! The job deletes objects in the bucket, images of Face Liveness sessions and records of uploads. It selects them by age, so that
//! the next run completes an interrupted one. The bucket's lifecycle rule deletes objects that the job missed.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use shared::env::{Env, StartError};
use shared::pocketbase::{self, Error, PocketBase};
use shared::runtime::{EventError, Tick};
use storage::{Bucket, RetentionSettings};

/// Time after which no further page of records is started. The function's timeout is 15 minutes.
const TIME_BUDGET: Duration = Duration::from_secs(12 * 60);

/// Time after a redaction during which the person's objects are deleted again. An upload form is valid for ten minutes; the rest
/// allows for failed runs.
const AFTER_REDACTION: TimeDelta = TimeDelta::days(2);

/// Days after which counts of the uses of flow tokens and budgets are deleted. A count is needed for its own UTC day.
const COUNTS_DAYS: u16 = 2;

/// State built once per execution environment.
pub struct State {
    pocketbase: PocketBase,
    bucket: Bucket,
    retention: RetentionSettings,
    /// `WEBHOOK_RETENTION_DAYS`: days after the last change of a webhook, such as its delivery, until it is deleted, 7 to 3,650, 90 by
    /// default.
    webhook_days: u16,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            retention: RetentionSettings::from_env(env)?,
            webhook_days: env.number("WEBHOOK_RETENTION_DAYS", 90, 7..=3_650)?,
            bucket: Bucket::from_env(env).await?,
            pocketbase: PocketBase::start(pocketbase::Settings::from_env(env)?).await?,
        })
    }
}

/// Number of deleted items.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// Objects in the bucket.
    pub objects: usize,
    /// Checks whose media are gone.
    pub checks: usize,
    /// Face Liveness sessions whose images are gone.
    pub liveness_sessions: usize,
    /// Records of uploads.
    pub uploads: usize,
    /// Webhooks.
    pub webhooks: usize,
    /// Counts of past days.
    pub counts: usize,
}

/// Deletes everything that is past its retention time.
///
/// # Errors
/// When PocketBase or AWS fails. Items that were deleted before the failure stay deleted.
pub async fn handle(state: &State, _: Tick) -> Result<Deleted, EventError> {
    let State { pocketbase, bucket, retention, webhook_days } = state;
    let started = Instant::now();
    let days_ago = |days: u16| -> DateTime<Utc> { Utc::now() - TimeDelta::days(i64::from(days)) };
    let before = days_ago(retention.days);
    let mut deleted = Deleted::default();
    // Failures are logged, and the last one is reported at the end, so that one kind of items does not block the others.
    let mut failure = None;
    let mut note = |error: EventError| {
        tracing::error!(cause = %error, "retention is not enforced for all items");
        failure = Some(error);
    };
    match objects(pocketbase, bucket, before).await {
        Ok(count) => deleted.objects = count,
        Err(error) => note(error),
    }
    for (kind, before, count) in [
        (Kind::CheckMedia, before, &mut deleted.checks),
        (Kind::LivenessImages, before, &mut deleted.liveness_sessions),
        (Kind::Uploads, before, &mut deleted.uploads),
        (Kind::Webhooks, days_ago(*webhook_days), &mut deleted.webhooks),
        (Kind::Counts, days_ago(COUNTS_DAYS), &mut deleted.counts),
    ] {
        match all(pocketbase, kind, before, started).await {
            Ok(done) => *count = done,
            Err(error) => note(error.into()),
        }
    }
    let Deleted { objects, checks, liveness_sessions, uploads, webhooks, counts } = deleted;
    tracing::info!(objects, checks, liveness_sessions, uploads, webhooks, counts, "retention enforced");
    match failure {
        Some(failure) => Err(failure),
        None => Ok(deleted),
    }
}

/// Deletes objects in the bucket, and returns their number.
async fn objects(pocketbase: &PocketBase, bucket: &Bucket, before: DateTime<Utc>) -> Result<usize, EventError> {
    if !bucket.is_configured() {
        return Ok(0);
    }
    let mut deleted = bucket.delete_older(before).await.map_err(EventError::with_cause)?;
    // A file can be uploaded after a redaction, with a form that was issued before it.
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
    Webhooks,
    Counts,
}

/// Processes all records of a kind, page by page, and returns their number.
async fn all(pocketbase: &PocketBase, kind: Kind, before: DateTime<Utc>, started: Instant) -> Result<usize, Error> {
    let mut deleted = 0;
    while started.elapsed() < TIME_BUDGET {
        let page = match kind {
            Kind::CheckMedia => pocketbase.forget_check_media(before).await?,
            Kind::LivenessImages => pocketbase.delete_liveness_images(before).await?,
            Kind::Uploads => pocketbase.delete_uploads(before).await?,
            Kind::Counts => pocketbase.delete_counts(before).await?,
            Kind::Webhooks => pocketbase.delete_old_deliveries(before).await?,
        };
        if page == 0 {
            break;
        }
        deleted += page;
    }
    Ok(deleted)
}
