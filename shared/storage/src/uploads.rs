//! Claims of uploads: a form can refer to uploads instead of containing files. They are copied and inspected before their use.

use std::sync::Arc;

use futures_util::future::join_all;
use shared::auth::{self, Authenticator, Caller};
use shared::env::{ConfigError, Env};
use shared::file::{Content, File};
use shared::http::{Form, UploadReference};
use shared::pocketbase::PocketBase;
use shared::pocketbase::records::{Upload, UploadUse};
use shared::types::RecordId;

use crate::Error;
use crate::bucket::{Bucket, check_key};

/// Claims uploads for requests. Built once per execution environment.
pub struct Uploads {
    bucket: Bucket,
}

/// Purpose of the copies of claimed uploads.
#[derive(Debug, Clone, Copy)]
pub enum CopyPurpose<'a> {
    /// The files are stored elsewhere or only read, and the copies are deleted afterwards.
    Transient,
    /// The copies are the media of this check, and stay when it has an outcome.
    CheckMedia(&'a str),
}

/// Uploads that a request has claimed.
#[derive(Default)]
pub struct UploadClaim {
    /// The uploads, for the write that marks them as used.
    pub uses: Vec<UploadUse>,
    uploaded: Vec<String>,
    copied: Vec<String>,
    keeps_copies: bool,
}

/// One claimed upload.
struct Claimed {
    field: &'static str,
    file: File,
    used: UploadUse,
    uploaded: String,
    copied: String,
}

impl Uploads {
    /// Reads the settings of the bucket.
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

    /// Name of the caller as an owner of uploads. It is the same for all requests of a client, of an API key, or of the flow tokens
    /// of a profile.
    ///
    /// # Errors
    /// When the name cannot be computed.
    pub fn owner(authenticator: &Authenticator, caller: &Caller) -> Result<String, auth::Error> {
        authenticator.keyed_name(caller, &["upload"])
    }

    /// Object key of an upload.
    pub fn key(upload: &Upload) -> String {
        format!("people/{}/uploads/{}", person(upload.profile.as_ref()), upload.id)
    }

    /// Replaces the references to uploads in a form by their files. Each upload is copied to a key that no caller can write to, and
    /// only the copy is inspected and used. PocketBase calls: one per upload. S3 calls: two per upload.
    ///
    /// # Errors
    /// When an upload is not the caller's, has not arrived, is stored already, was replaced after its inspection, was
    /// announced for another field or profile, or is not what the field accepts; when PocketBase or S3 fails.
    pub async fn claim(
        &self,
        pocketbase: &PocketBase,
        authenticator: &Authenticator,
        caller: &Caller,
        profile: Option<&RecordId>,
        purpose: CopyPurpose<'_>,
        form: &mut Form,
    ) -> Result<UploadClaim, Error> {
        if form.uploads.is_empty() {
            return Ok(UploadClaim::default());
        }
        let owner = Self::owner(authenticator, caller)?;
        let references = std::mem::take(&mut form.uploads);
        let claimed = references.iter().map(async |(field, reference)| {
            let upload = pocketbase.upload(&reference.id, caller.teams(), &owner).await?;
            let upload = upload.ok_or(Error::NotFound { field })?;
            self.claim_one(field, reference, &upload, profile, purpose).await
        });
        let claimed = join_all(claimed).await;
        let keeps_copies = matches!(purpose, CopyPurpose::CheckMedia(_));
        let mut claim = UploadClaim { keeps_copies, ..UploadClaim::default() };
        let mut failure = None;
        for outcome in claimed {
            match outcome {
                Ok(Claimed { field, file, used, uploaded, copied }) => {
                    form.files.insert(field, file);
                    claim.uses.push(used);
                    claim.uploaded.push(uploaded);
                    claim.copied.push(copied);
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        match failure {
            Some(error) => {
                // The copies of the other uploads are not needed any more.
                self.release(claim).await;
                Err(error)
            }
            None => Ok(claim),
        }
    }

    async fn claim_one(
        &self,
        field: &'static str,
        reference: &UploadReference,
        upload: &Upload,
        profile: Option<&RecordId>,
        purpose: CopyPurpose<'_>,
    ) -> Result<Claimed, Error> {
        let conflict = |reason| Error::Conflict { field, reason };
        if upload.field != field {
            let reason = format!("names an upload made for {}", upload.field);
            return Err(Error::Mismatch { field, reason });
        }
        if upload.profile.is_some() && profile.is_some() && upload.profile.as_ref() != profile {
            return Err(Error::Mismatch { field, reason: "names an upload made for another profile".to_owned() });
        }
        if upload.is_used() {
            return Err(conflict("names an upload that has been stored already"));
        }
        let uploaded = Self::key(upload);
        let person = person(profile.or(upload.profile.as_ref()));
        let copied = match purpose {
            CopyPurpose::Transient => format!("people/{person}/taken/{}/{:032x}", upload.id, rand::random::<u128>()),
            CopyPurpose::CheckMedia(check_id) => check_key(person, check_id, field),
        };
        let checksum = self.bucket.copy(&uploaded, &copied).await?;
        let checksum =
            checksum.ok_or_else(|| conflict("names an upload whose file has not arrived; send it to its url first"))?;
        match self.inspect(field, reference, upload, &copied, &checksum).await {
            Ok(file) => {
                Ok(Claimed { field, file, used: UploadUse { id: upload.id.clone(), checksum }, uploaded, copied })
            }
            Err(error) => {
                self.delete(vec![copied]).await;
                Err(error)
            }
        }
    }

    /// Inspects the copy of an upload: it must have the same bytes as at an earlier inspection, the announced size, and a type that
    /// the field accepts.
    async fn inspect(
        &self,
        field: &'static str,
        reference: &UploadReference,
        upload: &Upload,
        copied: &str,
        checksum: &str,
    ) -> Result<File, Error> {
        let conflict = |reason| Error::Conflict { field, reason };
        if upload.checksum.as_ref().is_some_and(|inspected| inspected != checksum) {
            return Err(conflict("names an upload that was replaced after it was looked at"));
        }
        let start = self.bucket.start_of(copied).await?;
        if start.size != upload.size {
            return Err(conflict("names an upload that has another size than was announced"));
        }
        let media = reference.media;
        let file_type = media.detect(&start.bytes).ok_or(Error::WrongType { field, media })?;
        let content = Content::Stored(Arc::new(self.bucket.object(copied.to_owned(), start.size)));
        Ok(File { content, file_type, name: format!("{field}.{}", file_type.extension) })
    }

    /// Finishes a claim, and returns the outcome. After a success, the uploads and transient copies are deleted, since the files are
    /// stored elsewhere. After a failure, the copies are deleted and the uploads can be used again.
    pub async fn finish<T, E>(&self, claim: UploadClaim, outcome: Result<T, E>) -> Result<T, E> {
        let mut keys = Vec::new();
        if outcome.is_ok() {
            keys.extend(claim.uploaded);
        }
        if outcome.is_err() || !claim.keeps_copies {
            keys.extend(claim.copied);
        }
        self.delete(keys).await;
        outcome
    }

    /// Ends the claim of a request that only reads the files. The copies are deleted, and the uploads can be used again.
    pub async fn release(&self, claim: UploadClaim) {
        self.delete(claim.copied).await;
    }

    async fn delete(&self, keys: Vec<String>) {
        if !keys.is_empty()
            && let Err(error) = self.bucket.delete(keys).await
        {
            // The retention job deletes what is left.
            tracing::warn!(cause = %error, "objects not deleted; the retention job will delete them");
        }
    }
}

/// Key segment of a person; `unknown` for an upload by a backend for which no profile is known yet.
fn person(profile: Option<&RecordId>) -> &str {
    profile.map_or("unknown", RecordId::as_str)
}
