//! Who hears of a team's records.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use shared::pocketbase::{Error, PocketBase, Subscriber};
use shared::types::Team;
use tokio::sync::Mutex;

/// How long a team's partners are remembered: a choice of events takes effect after no more than this.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How many teams a process remembers.
const MAX_REMEMBERED: usize = 1_000;

type Remembered = HashMap<Option<Team>, (Instant, Vec<Subscriber>)>;

/// Remembers who hears of what. Made once in a process's life.
#[derive(Default)]
pub struct Subscriptions {
    remembered: Mutex<Remembered>,
}

impl Subscriptions {
    /// The partners of a team that want an event. PocketBase calls: one a minute for each team.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn of(&self, pocketbase: &PocketBase, team: Option<&Team>) -> Result<Vec<Subscriber>, Error> {
        let key = team.cloned();
        let known = |remembered: &Remembered| {
            let (since, subscribers) = remembered.get(&key)?;
            (since.elapsed() < REMEMBERED).then(|| subscribers.clone())
        };
        if let Some(subscribers) = known(&*self.remembered.lock().await) {
            return Ok(subscribers);
        }
        let subscribers = pocketbase.subscribers(team).await?;
        let mut remembered = self.remembered.lock().await;
        if remembered.len() >= MAX_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, (Instant::now(), subscribers.clone()));
        Ok(subscribers)
    }
}
