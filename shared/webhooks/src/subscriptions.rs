//! Partners that receive webhooks for a team's records.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shared::pocketbase::records::Subscriber;
use shared::pocketbase::{Error, PocketBase};
use shared::types::Team;
use tokio::sync::Mutex;

/// How long a team's partners are cached: a changed subscription takes effect within this time.
const CACHE_TTL: Duration = Duration::from_secs(60);

/// How many teams are cached.
const MAX_CACHED: usize = 1_000;

type Cache = HashMap<Option<Team>, (Instant, Vec<Subscriber>)>;

/// Cache of subscriptions. Built once per execution environment.
#[derive(Default)]
pub struct Subscriptions {
    cache: Mutex<Cache>,
}

impl Subscriptions {
    /// Partners of a team that receive webhooks. One call of PocketBase per team and minute.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn of(&self, pocketbase: &PocketBase, team: Option<&Team>) -> Result<Vec<Subscriber>, Error> {
        let key = team.cloned();
        let cached = |cache: &Cache| {
            let (since, subscribers) = cache.get(&key)?;
            (since.elapsed() < CACHE_TTL).then(|| subscribers.clone())
        };
        if let Some(subscribers) = cached(&*self.cache.lock().await) {
            return Ok(subscribers);
        }
        let subscribers = pocketbase.subscribers(team).await?;
        let mut cache = self.cache.lock().await;
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(key, (Instant::now(), subscribers.clone()));
        Ok(subscribers)
    }
}
