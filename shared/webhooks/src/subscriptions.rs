//! Partners that receive webhooks for a team's records.

use shared::cache::Cache;
use shared::pocketbase::records::Subscriber;
use shared::pocketbase::{Error, PocketBase};
use shared::types::Team;

/// Cache of subscriptions. Built once per execution environment.
#[derive(Default)]
pub struct Subscriptions {
    cache: Cache<Option<Team>, Vec<Subscriber>>,
}

impl Subscriptions {
    /// Partners of a team that receive webhooks. One call of PocketBase per team and minute.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn of(&self, pocketbase: &PocketBase, team: Option<&Team>) -> Result<Vec<Subscriber>, Error> {
        let key = team.cloned();
        if let Some(subscribers) = self.cache.get(&key) {
            return Ok(subscribers);
        }
        let subscribers = pocketbase.subscribers(team).await?;
        self.cache.insert(key, subscribers.clone());
        Ok(subscribers)
    }
}
