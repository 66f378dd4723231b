//! What does not stay: media of checks, faces, and uploads that nobody has used.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::batch::Write;
use super::{Error, PocketBase, Writer, timestamp};
use crate::types::RecordId;

/// How many records are changed in one transaction.
const PAGE: usize = 50;

#[derive(Deserialize)]
struct Found {
    id: RecordId,
}

#[derive(Deserialize)]
struct Redacted {
    subject: String,
}

impl PocketBase {
    /// Forgets where the media of checks were that began before a time; at most 50 of them, and how many they were. Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn forget_check_media(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        let filter = format!("(selfie_video!=\"\" || id_photo!=\"\") && {}", older_than(before));
        self.change_all("checks", &filter, &json!({ "selfie_video": "", "id_photo": "" })).await
    }

    /// Deletes the images of Face Liveness sessions that were made before a time; at most 50 sessions, and how many they were. What AWS
    /// said of them stays. Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_liveness_images(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        let filter = format!("(reference_image!=\"\" || audit_images:length>0) && {}", older_than(before));
        let emptied = json!({ "reference_image": "", "audit_images": "", "bounding_boxes": null });
        self.change_all("liveness_sessions", &filter, &emptied).await
    }

    /// Deletes the records of uploads that were announced before a time; at most 50, and how many they were. Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_uploads(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        self.delete_all("uploads", &older_than(before)).await
    }

    /// Who has been redacted since a time; at most 500. One call.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn redacted_since(&self, since: DateTime<Utc>) -> Result<Vec<String>, Error> {
        let filter = format!("action=\"profile.redacted\" && created>={}", Value::from(timestamp(since)));
        let query =
            [("perPage", "500"), ("skipTotal", "1"), ("sort", "-created"), ("filter", &*filter), ("fields", "subject")];
        let rows: Vec<Redacted> = self.list("audit", &query).await?;
        Ok(rows.into_iter().map(|row| row.subject).collect())
    }

    pub(super) async fn delete_all(&self, collection: &str, filter: &str) -> Result<usize, Error> {
        let found = self.page_of(collection, filter).await?;
        let writes: Vec<_> = found.iter().map(|found| Write::delete(collection, &found.id)).collect();
        self.make_all(writes).await
    }

    async fn change_all(&self, collection: &str, filter: &str, changes: &Value) -> Result<usize, Error> {
        let found = self.page_of(collection, filter).await?;
        let writes = found.iter().map(|found| Write::update(collection, &found.id, Writer::Partner, changes));
        self.make_all(writes.collect::<Result<_, _>>()?).await
    }

    async fn make_all(&self, writes: Vec<Write<'_>>) -> Result<usize, Error> {
        if !writes.is_empty() {
            self.transact(&writes).await.map_err(|failed| failed.error)?;
        }
        Ok(writes.len())
    }

    async fn page_of(&self, collection: &str, filter: &str) -> Result<Vec<Found>, Error> {
        let page = PAGE.to_string();
        let query =
            [("perPage", &*page), ("skipTotal", "1"), ("sort", "created"), ("filter", filter), ("fields", "id")];
        self.list(collection, &query).await
    }
}

fn older_than(time: DateTime<Utc>) -> String {
    format!("created<{}", Value::from(timestamp(time)))
}
