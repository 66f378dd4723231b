//! Face Liveness as a condition of a check.

use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use liveness::Settings;
use shared::env::{ConfigError, Env};
use shared::pocketbase::{self, PocketBase};
use shared::types::RecordId;

use crate::compare::{CompareError, Comparison};
use crate::rules::LivenessFinding;

/// Age up to which a session counts.
const MAX_AGE: TimeDelta = TimeDelta::days(1);

/// Whether and how Face Liveness is required. Built once per execution environment.
pub struct Requirement {
    settings: Option<Settings>,
}

/// Failure to examine the sessions.
pub enum Error {
    PocketBase(pocketbase::Error),
    Compare(CompareError),
}

impl Requirement {
    /// Reads `REQUIRE_FACE_LIVENESS`, false by default, and the settings of Face Liveness.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let is_required = env.flag("REQUIRE_FACE_LIVENESS")?;
        Ok(Self { settings: if is_required { Some(Settings::from_env(env)?) } else { None } })
    }

    /// Looks for a live session of the profile, and compares its reference image with the document. Only stored results count, which are
    /// stored when they are first read. PocketBase calls: none unless required; else one, and one or two for the image. Rekognition calls:
    /// one for a live session.
    ///
    /// # Errors
    /// When PocketBase or Rekognition fails.
    pub async fn examine(
        &self,
        pocketbase: &PocketBase,
        comparison: &Comparison,
        profile: &RecordId,
        photo: &Bytes,
        same_from: f64,
    ) -> Result<LivenessFinding, Error> {
        let Some(settings) = &self.settings else { return Ok(LivenessFinding::NotRequired) };
        let sessions = pocketbase.succeeded_sessions(profile, Utc::now() - MAX_AGE).await.map_err(Error::PocketBase)?;
        let live =
            sessions.iter().find(|session| session.confidence().is_some_and(|score| score >= settings.threshold));
        let Some(session) = live else { return Ok(LivenessFinding::Missing) };
        let image = pocketbase.reference_image(session).await.map_err(Error::PocketBase)?;
        let Some(image) = image else { return Ok(LivenessFinding::Missing) };
        let similarity = comparison.similarity(photo, &image).await.map_err(Error::Compare)?;
        Ok(if similarity >= same_from { LivenessFinding::Matches } else { LivenessFinding::OtherFace })
    }
}
