//! Bucket and queue of the local stack, in moto.

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use reqwest::{Client, Method};

use crate::Error;

/// The name of the bucket.
pub const BUCKET: &str = "identivia-uploads";

/// The name of the queue of webhook deliveries.
pub const QUEUE: &str = "identivia-webhooks";

/// The URL of the queue in moto.
pub fn queue_url(moto: &str) -> String {
    format!("{moto}/123456789012/{QUEUE}")
}

/// A client for SQS in moto.
pub fn queue_client(moto: &str) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(moto)
        .credentials_provider(Credentials::new("development", "development", None, None, "development"));
    aws_sdk_sqs::Client::from_conf(config.build())
}

/// A client for S3 in moto.
pub fn bucket_client(moto: &str) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(aws_sdk_s3::config::BehaviorVersion::latest())
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(moto)
        .force_path_style(true)
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            "development",
            "development",
            None,
            None,
            "development",
        ));
    aws_sdk_s3::Client::from_conf(config.build())
}

/// Creates the queue, unless it exists, and returns its URL.
///
/// # Errors
/// When moto fails.
pub async fn make_queue(moto: &str) -> Result<String, Error> {
    let made = queue_client(moto).create_queue().queue_name(QUEUE).send().await;
    let made = made.map_err(|error| Error::new(format!("SQS: {error}")))?;
    made.queue_url.ok_or_else(|| Error::new("SQS returned no URL of the queue"))
}

/// Creates the bucket, unless it exists, with CORS for forms from any origin.
///
/// # Errors
/// When moto fails.
pub async fn make_bucket(moto: &str) -> Result<(), Error> {
    let http = Client::new();
    let put = async |path: &str, body: &'static str| {
        let response = http.request(Method::PUT, format!("{moto}/{BUCKET}{path}")).body(body).send().await?;
        response.error_for_status().map(|_| ()).map_err(Error::from)
    };
    put("", "").await?;
    put(
        "?cors",
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>POST</AllowedMethod>\
         <AllowedHeader>*</AllowedHeader></CORSRule></CORSConfiguration>",
    )
    .await
}
