//! Presigned POSTs: forms with which a browser can write one object to the bucket. S3 enforces its size and type. The SDK for
//! Rust cannot create such forms, so the policy is built here and signed with the SDK's signer.
//!
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_s3::config::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

/// Lifetime of a form.
pub const POST_TTL: Duration = Duration::from_secs(600);

/// A presigned POST: URL and form fields.
pub struct PresignedPost {
    /// The URL that the form is sent to.
    pub url: String,
    /// The fields before the file, by name.
    pub fields: BTreeMap<&'static str, String>,
}

/// The object that may be written.
pub(crate) struct Form<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) region: &'a str,
    pub(crate) key: &'a str,
    pub(crate) content_type: &'a str,
    /// Its exact size in bytes.
    pub(crate) size: u64,
}

impl Form<'_> {
    /// The fields, all of which the policy requires, with their signature.
    pub(crate) fn sign(&self, credentials: &Credentials, now: DateTime<Utc>) -> BTreeMap<&'static str, String> {
        let day = now.format("%Y%m%d");
        let mut fields = BTreeMap::from([
            ("key", self.key.to_owned()),
            ("Content-Type", self.content_type.to_owned()),
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            ("x-amz-credential", format!("{}/{day}/{}/s3/aws4_request", credentials.access_key_id(), self.region)),
            ("x-amz-date", now.format("%Y%m%dT%H%M%SZ").to_string()),
        ]);
        if let Some(token) = credentials.session_token() {
            fields.insert("x-amz-security-token", token.to_owned());
        }
        let mut conditions =
            vec![json!({ "bucket": self.bucket }), json!(["content-length-range", self.size, self.size])];
        conditions.extend(fields.iter().map(|(name, value)| json!({ *name: value })));
        let policy = json!({
            "expiration": (now + POST_TTL).to_rfc3339_opts(SecondsFormat::Millis, true),
            "conditions": conditions,
        });
        let policy = STANDARD.encode(policy.to_string());
        let key = generate_signing_key(credentials.secret_access_key(), now.into(), self.region, "s3");
        fields.insert("x-amz-signature", calculate_signature(key, policy.as_bytes()));
        fields.insert("policy", policy);
        fields
    }
}
