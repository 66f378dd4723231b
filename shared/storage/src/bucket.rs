//! The calls of S3.

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
use lambda_http::http::StatusCode;
use shared::aws;
use shared::config::{AwsSettings, ConfigError, Env, StorageSettings};
use shared::http::{ApiError, Chunks, Stored, Unread};

use crate::post::{self, PresignedPost};

/// How much of an object is read to know its type, in bytes: more than any format's signature.
const START: usize = 4_096;

/// How long a link to an object's bytes is valid.
pub const LINK_TTL: Duration = Duration::from_secs(3_600);

/// A client of the bucket. Made once in a process's life.
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
    /// Where the bucket takes forms.
    url: String,
}

/// What is known of an object after a look at its beginning.
pub struct Start {
    /// Its first bytes.
    pub bytes: Bytes,
    /// Its size in bytes.
    pub size: u64,
}

impl Bucket {
    /// A client, which answers 501 where no bucket is named.
    ///
    /// # Errors
    /// When a setting is malformed.
    pub async fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let Some(name) = StorageSettings::from_env(env)?.bucket else { return Ok(Self { open: None }) };
        let settings = AwsSettings::of_role(env)?;
        let config = aws::config(&settings, "S3").await;
        let endpoint = settings.endpoint("S3");
        // Other servers than AWS's have no name per bucket.
        let client = Client::from_conf(Builder::from(&config).force_path_style(endpoint.is_some()).build());
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

    /// Where browsers send forms to, as an origin; `None` where there is no bucket.
    pub fn origin(&self) -> Option<String> {
        let url = reqwest::Url::parse(&self.open.as_ref()?.url).ok()?;
        Some(url.origin().ascii_serialization())
    }

    fn open(&self) -> Result<&Open, ApiError> {
        self.open.as_ref().ok_or_else(|| {
            ApiError::new(StatusCode::NOT_IMPLEMENTED, "Uploads not configured")
                .message("UPLOADS_BUCKET must be set in environment variables")
        })
    }

    /// Leave to write one object of one type and size, for ten minutes. Asks nobody.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures when there are no credentials.
    pub async fn presigned_post(&self, key: &str, content_type: &str, size: u64) -> Result<PresignedPost, ApiError> {
        let open = self.open()?;
        let credentials = open.credentials.provide_credentials().await.map_err(aws::bad_answer)?;
        let form = post::Form { bucket: &open.name, region: &open.region, key, content_type, size };
        Ok(PresignedPost { url: open.url.clone(), fields: form.sign(&credentials, Utc::now())? })
    }

    /// Copies an object within the bucket; `None` where there is none. The SHA-256 of its bytes, in Base64, as S3 computes it.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures.
    pub async fn copy(&self, from: &str, to: &str) -> Result<Option<String>, ApiError> {
        let Open { client, name, .. } = self.open()?;
        // Keys are made of plain characters and need no escaping.
        let copy = client.copy_object().copy_source(format!("{name}/{from}")).bucket(name).key(to);
        match copy.checksum_algorithm(ChecksumAlgorithm::Sha256).send().await {
            Ok(copied) => {
                let checksum = copied.copy_object_result.and_then(|result| result.checksum_sha256);
                checksum.map(Some).ok_or_else(|| aws::bad_answer("a copy without checksum"))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(aws::failure(&error)),
        }
    }

    /// Looks at the beginning of an object.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures.
    pub async fn start_of(&self, key: &str) -> Result<Start, ApiError> {
        let Open { client, name, .. } = self.open()?;
        let request = client.get_object().bucket(name).key(key).range(format!("bytes=0-{}", START - 1));
        let object = request.send().await.map_err(|error| aws::failure(&error))?;
        // "bytes 0-4095/123456"
        let total = object.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        let size = total.ok_or_else(|| aws::bad_answer("a part of an object without its size"))?;
        let bytes = object.body.collect().await.map_err(aws::bad_answer)?.into_bytes();
        Ok(Start { bytes, size })
    }

    /// Stores an object.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures.
    pub async fn put(&self, key: &str, content_type: &str, bytes: Bytes) -> Result<(), ApiError> {
        let Open { client, name, .. } = self.open()?;
        let request = client.put_object().bucket(name).key(key).content_type(content_type);
        request.body(ByteStream::from(bytes)).send().await.map_err(|error| aws::failure(&error))?;
        Ok(())
    }

    /// A link by which anyone reads an object for an hour, or for as long as the role's own credentials last if that is shorter.
    /// Asks nobody.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures when there are no credentials.
    pub async fn link(&self, key: &str) -> Result<String, ApiError> {
        let Open { client, name, .. } = self.open()?;
        let presigning = PresigningConfig::expires_in(LINK_TTL).map_err(ApiError::internal)?;
        let request = client.get_object().bucket(name).key(key).presigned(presigning).await;
        Ok(request.map_err(|error| aws::failure(&error))?.uri().to_owned())
    }

    /// Deletes objects, at most 1,000; those that are gone already are no error.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures.
    pub async fn delete(&self, keys: impl IntoIterator<Item = String>) -> Result<(), ApiError> {
        let Open { client, name, .. } = self.open()?;
        let objects = keys.into_iter().map(|key| ObjectIdentifier::builder().key(key).build());
        let objects = objects.collect::<Result<Vec<_>, _>>().map_err(ApiError::internal)?;
        if objects.is_empty() {
            return Ok(());
        }
        let objects = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(ApiError::internal)?;
        let request = client.delete_objects().bucket(name).delete(objects);
        let deleted = request.send().await.map_err(|error| aws::failure(&error))?;
        match deleted.errors().first().and_then(|error| error.code()) {
            Some(code) => Err(aws::bad_answer(format!("an object is not deleted: {code}"))),
            None => Ok(()),
        }
    }

    /// Whether there is a bucket.
    pub fn is_configured(&self) -> bool {
        self.open.is_some()
    }

    /// Deletes all objects of a person; how many they were.
    ///
    /// # Errors
    /// As [`Self::delete_older`].
    pub async fn delete_person(&self, profile: &str) -> Result<usize, ApiError> {
        self.delete_below(&format!("people/{profile}/"), DateTime::<Utc>::MAX_UTC).await
    }

    /// Deletes all objects that were written before a time; how many they were.
    ///
    /// # Errors
    /// 501 without a bucket; AWS's failures. What has been deleted until then stays so.
    pub async fn delete_older(&self, before: DateTime<Utc>) -> Result<usize, ApiError> {
        self.delete_below("people/", before).await
    }

    async fn delete_below(&self, prefix: &str, before: DateTime<Utc>) -> Result<usize, ApiError> {
        let Open { client, name, .. } = self.open()?;
        let mut pages = client.list_objects_v2().bucket(name).prefix(prefix).into_paginator().send();
        let mut deleted = 0;
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| aws::failure(&error))?;
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

    /// An object to be read when it is needed.
    pub fn object(&self, key: String, size: u64) -> Object {
        Object { bucket: self.clone(), key, size }
    }
}

/// Where a medium of a check is.
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

    fn chunks(&self) -> BoxFuture<'_, Result<Chunks, Unread>> {
        async {
            let Open { client, name, .. } = self.bucket.open().map_err(|_| Unread("no bucket".to_owned()))?;
            let object = client.get_object().bucket(name).key(&self.key).send().await;
            let bytes = object.map_err(|error| Unread(error.to_string()))?.body;
            let chunks = stream::try_unfold(bytes, async |mut bytes| {
                let chunk = bytes.try_next().await.map_err(|error| Unread(error.to_string()))?;
                Ok(chunk.map(|chunk| (chunk, bytes)))
            });
            Ok(chunks.boxed())
        }
        .boxed()
    }
}
