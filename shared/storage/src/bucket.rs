//! Client of the S3 bucket.

use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{Builder, ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, Delete, ObjectIdentifier};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use shared::aws;
use shared::env::{ConfigError, Env};
use shared::file::{Chunks, Stored, Unreadable};

use crate::Error;
use crate::post::{self, PresignedPost};

/// How many bytes of an object are read to detect its type: more than the signature of any format has.
const START: usize = 4_096;

/// Lifetime of a link to an object.
pub const LINK_TTL: Duration = Duration::from_secs(3_600);

/// Client of the bucket. Built once per execution environment.
#[derive(Clone)]
pub struct Bucket {
    open: Option<Open>,
}

#[derive(Clone)]
struct Open {
    client: Client,
    credentials: SharedCredentialsProvider,
    region: String,
    name: String,
    /// URL that accepts forms.
    url: String,
}

/// Beginning of an object.
pub struct Start {
    /// Its first bytes.
    pub bytes: Bytes,
    /// Size of the whole object in bytes.
    pub size: u64,
}

impl Bucket {
    /// Reads `UPLOADS_BUCKET`, the name of a bucket. Without it there are neither uploads nor checks.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let Some(name) = bucket_name(env)? else { return Ok(Self { open: None }) };
        let settings = aws::Settings::of_role(env)?;
        let config = aws::config(&settings, "S3").await;
        let endpoint = settings.endpoint("S3");
        // S3-compatible servers have no host name per bucket.
        let builder = Builder::from(&config).interceptor(aws::CountCalls("S3"));
        let client = Client::from_conf(builder.force_path_style(endpoint.is_some()).build());
        let url = match endpoint {
            Some(endpoint) => format!("{endpoint}/{name}"),
            None => format!("https://{name}.s3.{}.amazonaws.com/", settings.region),
        };
        let open = config.credentials_provider().map(|credentials| Open {
            client,
            credentials,
            region: settings.region.clone(),
            name,
            url,
        });
        Ok(Self { open })
    }

    /// Origin that browsers send forms to; `None` without a bucket.
    pub fn origin(&self) -> Option<String> {
        let url = reqwest::Url::parse(&self.open.as_ref()?.url).ok()?;
        Some(url.origin().ascii_serialization())
    }

    fn open(&self) -> Result<&Open, Error> {
        self.open.as_ref().ok_or(Error::NotConfigured)
    }

    /// A form with which one object of this type and size can be written, for ten minutes. No call.
    ///
    /// # Errors
    /// When there is no bucket, or there are no credentials.
    pub async fn presigned_post(&self, key: &str, content_type: &str, size: u64) -> Result<PresignedPost, Error> {
        let open = self.open()?;
        let credentials = open.credentials.provide_credentials().await.map_err(aws::Error::bad_answer)?;
        let form = post::Form { bucket: &open.name, region: &open.region, key, content_type, size };
        Ok(PresignedPost { url: open.url.clone(), fields: form.sign(&credentials, Utc::now()) })
    }

    /// Copies an object within the bucket, and returns the SHA-256 of its bytes in Base64, as S3 computes it; `None` when the
    /// object does not exist. One call.
    ///
    /// # Errors
    /// When there is no bucket, or S3 fails.
    pub async fn copy(&self, from: &str, to: &str) -> Result<Option<String>, Error> {
        let Open { client, name, .. } = self.open()?;
        // Keys consist of plain characters and need no escaping.
        let copy = client.copy_object().copy_source(format!("{name}/{from}")).bucket(name).key(to);
        let outcome = copy.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await;
        // No `note_change`: a repeated request copies to another random key, and the retention job deletes the first copy.
        match outcome {
            Ok(copied) => {
                let checksum = copied.copy_object_result.and_then(|result| result.checksum_sha256);
                checksum.map(Some).ok_or_else(|| aws::Error::bad_answer("a copy without checksum").into())
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the beginning of an object. One call.
    ///
    /// # Errors
    /// When there is no bucket, or S3 fails.
    pub async fn start_of(&self, key: &str) -> Result<Start, Error> {
        let Open { client, name, .. } = self.open()?;
        let request = client.get_object().bucket(name).key(key).range(format!("bytes=0-{}", START - 1));
        let object = request.send().await?;
        // Content-Range: "bytes 0-4095/123456".
        let total = object.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let size = total.ok_or_else(|| aws::Error::bad_answer("a part of an object without its size"))?;
        let bytes = object.body.collect().await.map_err(aws::Error::bad_answer)?.into_bytes();
        Ok(Start { bytes, size })
    }

    /// Writes an object. One call.
    ///
    /// # Errors
    /// When there is no bucket, or S3 fails.
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), Error> {
        let Open { client, name, .. } = self.open()?;
        let request = client.put_object().bucket(name).key(key).content_type(content_type);
        // No `note_change`: checks write their records first, and the marker of a redaction can be written again.
        request.body(ByteStream::from(bytes)).send().await?;
        Ok(())
    }

    /// A presigned URL that reads an object for an hour, or until the role's credentials expire if that is sooner. No call.
    ///
    /// # Errors
    /// When there is no bucket, or there are no credentials.
    pub async fn link(&self, key: &str) -> Result<String, Error> {
        let Open { client, name, .. } = self.open()?;
        let presigning = PresigningConfig::expires_in(LINK_TTL).map_err(|error| Error::Request(error.to_string()))?;
        let request = client.get_object().bucket(name).key(key).presigned(presigning).await?;
        Ok(request.uri().to_owned())
    }

    /// Deletes at most 1,000 objects. Missing objects are no error. One call.
    ///
    /// # Errors
    /// When there is no bucket, or S3 fails.
    pub async fn delete(&self, keys: impl IntoIterator<Item = String>) -> Result<(), Error> {
        let Open { client, name, .. } = self.open()?;
        let objects = keys.into_iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let objects = objects.collect::<Result<Vec<_>, _>>().map_err(|error| Error::Request(error.to_string()))?;
        if objects.is_empty() {
            return Ok(());
        }
        let objects = Delete::builder()
            .set_objects(Some(objects))
            .quiet(true)
            .build()
            .map_err(|error| Error::Request(error.to_string()))?;
        let request = client.delete_objects().bucket(name).delete(objects);
        let deleted = request.send().await?;
        match deleted.errors().first().and_then(|error| error.code()) {
            Some(code) => Err(aws::Error::bad_answer(format!("an object is not deleted: {code}")).into()),
            None => Ok(()),
        }
    }

    /// Whether a bucket is configured.
    pub fn is_configured(&self) -> bool {
        self.open.is_some()
    }

    /// Notes that a profile is redacted, in an object `redactions/<profile>` that outlives a loss of PocketBase. One call.
    ///
    /// # Errors
    /// When there is no bucket, or S3 fails.
    pub async fn note_redaction(&self, profile: &str) -> Result<(), Error> {
        self.put(&format!("redactions/{profile}"), "text/plain", Bytes::new()).await
    }

    /// Deletes all objects of a person, and returns their number. Two calls per 1,000 objects.
    ///
    /// # Errors
    /// As [`Self::delete_older`].
    pub async fn delete_person(&self, profile: &str) -> Result<usize, Error> {
        self.delete_below(&format!("people/{profile}/"), DateTime::<Utc>::MAX_UTC).await
    }

    /// Deletes all objects that were written before a time, and returns their number. Two calls per 1,000 objects.
    ///
    /// # Errors
    /// When there is no bucket, or S3 fails. Objects that were deleted before the failure stay deleted.
    pub async fn delete_older(&self, before: DateTime<Utc>) -> Result<usize, Error> {
        self.delete_below("people/", before).await
    }

    async fn delete_below(&self, prefix: &str, before: DateTime<Utc>) -> Result<usize, Error> {
        let Open { client, name, .. } = self.open()?;
        let mut pages = client.list_objects_v2().bucket(name).prefix(prefix).into_paginator().send();
        let mut deleted = 0;
        while let Some(page) = pages.next().await {
            let page = page?;
            let is_old = |object: &&aws_sdk_s3::types::Object| {
                object.last_modified().is_none_or(|written| written.secs() < before.timestamp())
            };
            let keys: Vec<_> =
                page.contents().iter().filter(is_old).filter_map(|object| object.key().map(str::to_owned)).collect();
            deleted += keys.len();
            self.delete(keys).await?;
        }
        Ok(deleted)
    }

    /// An object that is read when it is needed.
    pub fn object(&self, key: String, size: u64) -> Object {
        Object { bucket: self.clone(), key, size }
    }
}

fn bucket_name(env: &Env) -> Result<Option<String>, ConfigError> {
    const BUCKET: &str = "UPLOADS_BUCKET";
    let name = env.get_owned(BUCKET);
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.as_ref().is_some_and(|name| !(3..=63).contains(&name.len()) || !name.bytes().all(is_plain)) {
        return Err(ConfigError::malformed(BUCKET, "must be 3 to 63 lower-case letters, digits or -"));
    }
    Ok(name)
}

/// Object key of a media file of a check.
pub fn check_key(profile: &str, check_id: &str, file: &str) -> String {
    format!("people/{profile}/checks/{check_id}/{file}")
}

fn is_missing<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> bool {
    error.as_service_error().and_then(ProvideErrorMetadata::code).is_some_and(|code| code == "NoSuchKey")
}

/// An object of the bucket.
#[derive(Clone)]
pub struct Object {
    bucket: Bucket,
    key: String,
    size: u64,
}

impl Debug for Object {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Object").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Stored for Object {
    fn size(&self) -> u64 {
        self.size
    }

    fn chunks(&self) -> BoxFuture<'_, Result<Chunks, Unreadable>> {
        async {
            let Open { client, name, .. } = self.bucket.open().map_err(|_| Unreadable("no bucket".to_owned()))?;
            let object = client.get_object().bucket(name).key(&self.key).send().await;
            let bytes = object.map_err(|error| Unreadable(error.to_string()))?.body;
            let chunks = stream::try_unfold(bytes, async |mut bytes| {
                let chunk = bytes.try_next().await.map_err(|error| Unreadable(error.to_string()))?;
                Ok(chunk.map(|chunk| (chunk, bytes)))
            });
            Ok(chunks.boxed())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_bucket_name_is_refused() {
        assert!(bucket_name(&Env::from([("UPLOADS_BUCKET", "a/b")])).is_err());
    }
}
