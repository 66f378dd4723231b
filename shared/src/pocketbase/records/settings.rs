//! `settings`: configuration of the hosted flow.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::pocketbase::client::{Error, PocketBase};

/// The most settings that are read: PocketBase's limit of a list.
const MAX_SETTINGS: &str = "1000";

impl PocketBase {
    /// All settings as one object, or only those marked public. One call.
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
        // Filtered here, since an empty list of PocketBase would need a session check.
        let query = [("perPage", MAX_SETTINGS), ("skipTotal", "1"), ("fields", "key,value,public")];
        let settings: Vec<Setting> = self.list("settings", &query).await?;
        let shown = settings.into_iter().filter(|setting| !setting.key.is_empty() && (setting.public || !only_public));
        Ok(shown.map(|setting| (setting.key, setting.value)).collect())
    }
}
