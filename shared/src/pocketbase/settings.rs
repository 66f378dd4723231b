//! `settings`: what the hosted flow is configured with.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Error, PocketBase};

/// How many settings there may be, which is the most that PocketBase lists at once.
const MAX_SETTINGS: &str = "1000";

impl PocketBase {
    /// All settings as one object; only the public ones if so asked.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn settings(&self, only_public: bool) -> Result<Map<String, Value>, Error> {
        #[derive(Deserialize)]
        struct Setting {
            key: String,
            value: Value,
            public: bool,
        }
        // Chosen from here and not by PocketBase: an empty list would have to be doubted.
        let query = [("perPage", MAX_SETTINGS), ("skipTotal", "1"), ("fields", "key,value,public")];
        let settings: Vec<Setting> = self.list("settings", &query).await?;
        let shown = settings.into_iter().filter(|setting| !setting.key.is_empty() && (setting.public || !only_public));
        Ok(shown.map(|setting| (setting.key, setting.value)).collect())
    }
}
