//! Rules for profiles: which callers find them, when they are open or decided, and the daily limits of flow tokens.
//!
//! A profile is decided once it is verified or rejected. From then on flow tokens cannot change it; PocketBase's rules
//! enforce the same on every write.

use crate::auth::Caller;
use crate::env::{ConfigError, Env};
use crate::pocketbase::records::ProfileOverview;
use crate::pocketbase::{self, PocketBase, Writer};
use crate::types::RecordId;

/// Reason why a caller may not do something with a profile.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such profile among those that the caller sees.
    #[error("the profile does not exist")]
    NotFound,
    /// The profile is decided, and the caller has a flow token.
    #[error("the profile is decided")]
    Decided,
    /// The profile's flow tokens have reached a limit for today.
    #[error("the daily limit of {0:?} is reached")]
    LimitReached(Quota),
    /// PocketBase failed.
    #[error(transparent)]
    PocketBase(#[from] pocketbase::Error),
}

impl Error {
    /// Error for a failed write. PocketBase refuses writes by flow token once the profile is decided, which can happen after it was
    /// loaded.
    pub fn of_write(error: pocketbase::Error, writer: Writer) -> Self {
        match error {
            pocketbase::Error::Refused if writer == Writer::Flow => Self::Decided,
            error => Self::PocketBase(error),
        }
    }
}

/// Ensures that the profile of a flow token still exists: a flow token ends with its profile. One call of PocketBase for a flow token,
/// and none for other callers.
///
/// # Errors
/// [`Error::NotFound`] when it does not exist any more, such as after a redaction.
pub async fn ensure_exists(pocketbase: &PocketBase, caller: &Caller) -> Result<(), Error> {
    match caller.flow_profile() {
        Some(profile) => load(pocketbase, profile, caller).await.map(|_| ()),
        None => Ok(()),
    }
}

/// Parses the id of a profile. Nothing is looked up.
///
/// # Errors
/// [`Error::NotFound`] for text that is no record id.
pub fn parse_id(id: &str) -> Result<RecordId, Error> {
    id.parse().map_err(|_| Error::NotFound)
}

/// Loads a profile. One call of PocketBase.
///
/// # Errors
/// [`Error::NotFound`] when the caller sees no such profile.
pub async fn load(pocketbase: &PocketBase, id: &RecordId, caller: &Caller) -> Result<ProfileOverview, Error> {
    pocketbase.profile_overview(id, caller.teams()).await?.ok_or(Error::NotFound)
}

/// Loads a profile that the caller may change. One call of PocketBase.
///
/// # Errors
/// [`Error::NotFound`] when the caller sees no such profile, [`Error::Decided`] for a flow token once it is decided.
pub async fn load_open(pocketbase: &PocketBase, id: &RecordId, caller: &Caller) -> Result<ProfileOverview, Error> {
    let profile = load(pocketbase, id, caller).await?;
    ensure_open(profile.is_decided(), caller)?;
    Ok(profile)
}

/// Refuses flow tokens of a decided profile.
///
/// # Errors
/// [`Error::Decided`].
pub fn ensure_open(is_decided: bool, caller: &Caller) -> Result<(), Error> {
    if caller.is_flow() && is_decided { Err(Error::Decided) } else { Ok(()) }
}

/// Action that flow tokens can take a limited number of times per profile and UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// Verification records.
    Verifications,
    /// Checks of the hosted page.
    Checks,
    /// Face Liveness sessions. Some fail by bad light, and AWS bills each.
    LivenessSessions,
    /// Announced uploads.
    Uploads,
    /// Entries of the status history.
    Statuses,
    /// Document analyses.
    Analyses,
    /// Changes of the profile.
    Updates,
}

/// Daily limit of flow tokens per profile.
#[derive(Debug, Clone, Copy)]
pub struct DailyLimit {
    quota: Quota,
    per_day: u32,
}

impl DailyLimit {
    /// Reads a limit, 1 to 1,000: `MAX_VERIFICATION_ATTEMPTS` (5) for verifications and checks, `MAX_LIVENESS_SESSIONS` (20),
    /// `MAX_UPLOADS` (40), `MAX_STATUS_ENTRIES` (20), `MAX_ANALYSES` (20), `MAX_UPDATES` (40).
    ///
    /// # Errors
    /// When the variable is malformed.
    pub fn from_env(quota: Quota, env: &Env) -> Result<Self, ConfigError> {
        let (name, default) = match quota {
            Quota::Verifications | Quota::Checks => ("MAX_VERIFICATION_ATTEMPTS", 5),
            Quota::LivenessSessions => ("MAX_LIVENESS_SESSIONS", 20),
            Quota::Uploads => ("MAX_UPLOADS", 40),
            Quota::Statuses => ("MAX_STATUS_ENTRIES", 20),
            Quota::Analyses => ("MAX_ANALYSES", 20),
            Quota::Updates => ("MAX_UPDATES", 40),
        };
        Ok(Self { quota, per_day: env.number(name, default, 1..=1_000)? })
    }

    /// The attempts that are left today.
    ///
    /// # Errors
    /// [`Error::LimitReached`] when there are none.
    pub fn attempts(self, profile: &ProfileOverview) -> Result<Attempts, Error> {
        let used = match self.quota {
            Quota::Verifications => profile.flow_attempts_today,
            Quota::Checks => profile.flow_checks_today,
            Quota::LivenessSessions => profile.flow_sessions_today,
            Quota::Uploads => profile.flow_uploads_today,
            Quota::Statuses => profile.flow_statuses_today,
            Quota::Analyses => profile.flow_analyses_today,
            Quota::Updates => profile.flow_updates_today,
        };
        self.attempts_after(used, &profile.today)
    }

    /// The attempts that are left after those of a UTC day, `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`Error::LimitReached`] when there are none.
    pub fn attempts_after(self, used: u32, today: &str) -> Result<Attempts, Error> {
        if used >= self.per_day {
            return Err(limit_reached(self.quota));
        }
        // Failed checks give their numbers back, so numbers up to the count may be free. They are tried last.
        let given_back = (self.quota == Quota::Checks).then_some(1..=used).into_iter().flatten();
        let numbers = (used + 1..=self.per_day).chain(given_back);
        let names: Vec<_> = numbers.map(|number| format!("{today}#{number}")).collect();
        Ok(Attempts { quota: self.quota, names: names.into_iter() })
    }
}

/// The attempts that are left today, by name: `<UTC day>#<n>`. A unique index accepts each name once per profile, so that concurrent
/// requests cannot exceed the limit.
#[derive(Debug)]
pub struct Attempts {
    quota: Quota,
    names: std::vec::IntoIter<String>,
}

/// The error for a used-up limit. It is counted in the metric `AttemptsUsedUp`.
fn limit_reached(quota: Quota) -> Error {
    let name = match quota {
        Quota::Verifications => "verifications",
        Quota::Checks => "checks",
        Quota::LivenessSessions => "liveness_sessions",
        Quota::Uploads => "uploads",
        Quota::Statuses => "statuses",
        Quota::Analyses => "analyses",
        Quota::Updates => "updates",
    };
    metrics::counter!("AttemptsUsedUp", "Quota" => name).increment(1);
    Error::LimitReached(quota)
}

impl Attempts {
    /// Stores a record under the first name that is free. `store` writes it with the given `flow_attempt`, and is called again with the
    /// next name when a concurrent request has taken the name.
    ///
    /// # Errors
    /// [`Error::LimitReached`] when no name is left, [`Error::Decided`] when the profile was decided in the meantime; else as `store`.
    pub async fn store<T, F>(self, mut store: impl FnMut(String) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, pocketbase::Error>>,
    {
        for name in self.names {
            match store(name).await {
                Err(pocketbase::Error::NotUnique(field)) if field == "flow_attempt" => {}
                outcome => return outcome.map_err(|error| Error::of_write(error, Writer::Flow)),
            }
        }
        Err(limit_reached(self.quota))
    }
}
