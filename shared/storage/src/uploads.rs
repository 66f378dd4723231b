//! Uploads in the place of files: what a request may use, looked at and safe from being changed.

use std::sync::Arc;

use futures_util::future::try_join_all;
use shared::auth::{Authenticator, Caller};
use shared::config::{ConfigError, Env};
use shared::http::{ApiError, Content, File, Form, UploadReference};
use shared::pocketbase::{PocketBase, Upload, UploadUse};
use shared::types::RecordId;

use crate::bucket::{Bucket, check_key};

/// What takes uploads. Made once in a process's life.
pub struct Uploads {
    bucket: Bucket,
}

/// What the copies of uploads are for.
#[derive(Debug, Clone, Copy)]
pub enum Copies<'a> {
    /// They are passed on, and gone afterwards.
    Passing,
    /// They are the media of a check, and stay when it is decided.
    OfCheck(&'a str),
}

/// Uploads that a request uses.
#[derive(Default)]
pub struct Taken {
    /// What a write that stores them has to say of them.
    pub uses: Vec<UploadUse>,
    uploaded: Vec<String>,
    copied: Vec<String>,
    stay: bool,
}

impl Uploads {
    /// What takes uploads from the bucket, where one is named.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { bucket: Bucket::from_env(env).await? })
    }

    /// The bucket.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// By what name a caller owns uploads: the same client, the same key, the same flow token's profile.
    ///
    /// # Errors
    /// When it cannot be computed.
    pub fn owner(authenticator: &Authenticator, caller: &Caller) -> Result<String, ApiError> {
        authenticator.name_for(caller, &["upload"])
    }

    /// Where an upload is written to.
    pub fn key(upload: &Upload) -> String {
        format!("people/{}/uploads/{}", person(upload.profile.as_ref()), upload.id)
    }

    /// Puts files in the place of the uploads that a form refers to. Each is copied to where nobody can change it, and only the
    /// copy is looked at. PocketBase calls: one for each; S3 calls: two for each.
    ///
    /// # Errors
    /// 404 for an upload that is not the caller's; 409 for one that has not arrived, has been used, or was replaced since it was
    /// looked at; 400 for one made for another field, or for another profile; 400 or 415 for bytes that are not what the field takes; PocketBase's and AWS's failures.
    pub async fn take(
        &self,
        pocketbase: &PocketBase,
        authenticator: &Authenticator,
        caller: &Caller,
        profile: Option<&RecordId>,
        copies: Copies<'_>,
        form: &mut Form,
    ) -> Result<Taken, ApiError> {
        if form.uploads.is_empty() {
            return Ok(Taken::default());
        }
        let owner = Self::owner(authenticator, caller)?;
        let references = std::mem::take(&mut form.uploads);
        let taken = references.iter().map(async |(field, reference)| {
            let upload = pocketbase.upload(&reference.id, caller.teams(), &owner).await?;
            let upload = upload.ok_or_else(|| ApiError::upload_not_found(field))?;
            self.take_one(field, reference, &upload, profile, copies).await
        });
        let taken = try_join_all(taken).await?;
        let mut all = Taken { stay: matches!(copies, Copies::OfCheck(_)), ..Taken::default() };
        for (field, file, used, [uploaded, copied]) in taken {
            form.files.insert(field, file);
            all.uses.push(used);
            all.uploaded.push(uploaded);
            all.copied.push(copied);
        }
        Ok(all)
    }

    async fn take_one(
        &self,
        field: &'static str,
        reference: &UploadReference,
        upload: &Upload,
        profile: Option<&RecordId>,
        copies: Copies<'_>,
    ) -> Result<(&'static str, File, UploadUse, [String; 2]), ApiError> {
        if upload.field != field {
            return Err(ApiError::invalid_field(field, format!("names an upload made for {}", upload.field)));
        }
        if upload.profile.is_some() && profile.is_some() && upload.profile.as_ref() != profile {
            return Err(ApiError::invalid_field(field, "names an upload made for another profile"));
        }
        if upload.is_used() {
            return Err(ApiError::upload_conflict(field, "names an upload that has been stored already"));
        }
        let key = Self::key(upload);
        let person = person(profile.or(upload.profile.as_ref()));
        let copy = match copies {
            Copies::Passing => format!("people/{person}/taken/{}/{:032x}", upload.id, rand::random::<u128>()),
            Copies::OfCheck(check_id) => check_key(person, check_id, field),
        };
        let checksum = self.bucket.copy(&key, &copy).await?.ok_or_else(|| {
            ApiError::upload_conflict(field, "names an upload whose file has not arrived; send it to its url first")
        })?;
        let taken = [key, copy.clone()];
        let judged = async {
            if upload.checksum.as_ref().is_some_and(|looked_at| *looked_at != checksum) {
                return Err(ApiError::upload_conflict(
                    field,
                    "names an upload that was replaced after it was looked at",
                ));
            }
            let start = self.bucket.start_of(&copy).await?;
            if start.size != upload.size {
                return Err(ApiError::upload_conflict(
                    field,
                    "names an upload that has another size than was announced",
                ));
            }
            let (media_type, extension) = reference.media.of_bytes(field, &start.bytes)?;
            let content = Content::Stored(Arc::new(self.bucket.object(copy.clone(), start.size)));
            Ok(File { content, extension, media_type, name: format!("{field}.{extension}") })
        };
        match judged.await {
            Ok(file) => Ok((field, file, UploadUse { id: upload.id.clone(), checksum }, taken)),
            Err(error) => {
                self.forget(vec![copy]).await;
                Err(error)
            }
        }
    }

    /// Deletes what is needed no more: after a success the uploads, which are stored elsewhere now, and copies that were passed on;
    /// else the copies, and the uploads may be used again.
    pub async fn settle<T, E>(&self, taken: Taken, outcome: Result<T, E>) -> Result<T, E> {
        let mut keys = Vec::new();
        if outcome.is_ok() {
            keys.extend(taken.uploaded);
        }
        if outcome.is_err() || !taken.stay {
            keys.extend(taken.copied);
        }
        self.forget(keys).await;
        outcome
    }

    /// Deletes the copies that a request took, which has only looked at them.
    pub async fn release(&self, taken: Taken) {
        self.forget(taken.copied).await;
    }

    async fn forget(&self, keys: Vec<String>) {
        if !keys.is_empty()
            && let Err(error) = self.bucket.delete(keys).await
        {
            // The daily cleaning finds what is left.
            tracing::warn!(cause = error.cause(), "uploads are left in the bucket");
        }
    }
}

fn person(profile: Option<&RecordId>) -> &str {
    profile.map_or("unknown", RecordId::as_str)
}
