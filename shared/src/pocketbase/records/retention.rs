//! Retention: deletion of check media, images of faces and uploads after the retention time.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::pocketbase::client::{Error, PocketBase, Write, Writer, created_before, timestamp};
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
    /// Removes the object keys of the media from at most 50 checks that were created before a time, and returns their number.
    /// Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn forget_check_media(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        let filter = format!("(selfie_video!=\"\" || id_photo!=\"\") && {}", created_before(before));
        self.change_page("checks", &filter, &json!({ "selfie_video": "", "id_photo": "", "id_photo_back": "" })).await
    }

    /// Deletes the images of at most 50 Face Liveness sessions that were created before a time, and returns their number. The
    /// results stay. Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_liveness_images(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        let filter = format!("(reference_image!=\"\" || audit_images:length>0) && {}", created_before(before));
        let emptied = json!({ "reference_image": "", "audit_images": "", "bounding_boxes": null });
        self.change_page("liveness_sessions", &filter, &emptied).await
    }

    /// Deletes at most 50 records of uploads that were announced before a time, and returns their number. Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_uploads(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        self.delete_page("uploads", &created_before(before)).await
    }

    /// Deletes at most 50 records that count uses of flow tokens and of budgets, and returns their number. Counts of past days are not
    /// needed. Four calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_counts(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        let filter = created_before(before);
        Ok(self.delete_page("flow_actions", &filter).await? + self.delete_page("usage", &filter).await?)
    }

    /// Deletes webhooks that were not changed since a time, at most 50, and returns their number: those that have ended, and those that
    /// wait for an endpoint that was not enabled again. Two calls.
    ///
    /// # Errors
    /// When PocketBase fails.
    pub async fn delete_old_deliveries(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        let filter = format!("updated<{}", Value::from(timestamp(before)));
        self.delete_page("webhook_deliveries", &filter).await
    }

    /// Ids of the profiles that were redacted since a time, the latest first; at most 500. One call.
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

    pub(super) async fn delete_page(&self, collection: &str, filter: &str) -> Result<usize, Error> {
        let found = self.page_of(collection, filter).await?;
        let writes: Vec<_> = found.iter().map(|found| Write::delete(collection, &found.id)).collect();
        self.write_page(writes).await
    }

    async fn change_page(&self, collection: &str, filter: &str, changes: &Value) -> Result<usize, Error> {
        let found = self.page_of(collection, filter).await?;
        let writes = found.iter().map(|found| Write::update(collection, &found.id, Writer::Partner, changes));
        self.write_page(writes.collect::<Result<_, _>>()?).await
    }

    async fn write_page(&self, writes: Vec<Write<'_>>) -> Result<usize, Error> {
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
