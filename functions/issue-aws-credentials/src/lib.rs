//! GET /api/aws/credentials: temporary AWS credentials with which a browser can stream a Face Liveness session, and nothing else.
//!
//! With a long-term key, the credentials come from GetFederationToken. A role cannot call GetFederationToken, so without such a key
//! they come from AssumeRole on `LIVENESS_CLIENT_ROLE_ARN`. The session policy allows the same two actions in both cases. AWS calls:
//! one. PocketBase calls: none; with a flow token one, for the profile.

use aws_sdk_sts::Client;
use aws_sdk_sts::config::Builder;
use aws_sdk_sts::types::Credentials;
use chrono::{DateTime, SecondsFormat};
use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::{Value, json};
use shared::auth::{Authenticator, Scope};
use shared::aws;
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, no_store, success};
use shared::pocketbase::{self, PocketBase};
use shared::profiles;

/// Lifetime of the credentials in seconds: 15 minutes, the shortest that STS allows.
const LIFETIME: i32 = 900;

/// Prefix of the session name in AWS CloudTrail. A hash of the caller follows. GetFederationToken accepts 32 characters.
const SESSION_NAME: &str = "identivia-";

/// State built once per execution environment.
pub struct State {
    authenticator: Authenticator,
    pocketbase: PocketBase,
    source: Source,
    policy: String,
}

/// Source of the credentials.
enum Source {
    NotConfigured,
    /// GetFederationToken.
    FederationToken(Client),
    /// AssumeRole on this role.
    AssumeRole(Client, String),
}

impl State {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        let settings = aws::Settings::from_env(env)?;
        let has_long_term_key = settings.has_long_term_key();
        let source = match settings.is_configured() {
            false => Source::NotConfigured,
            true => {
                let config = aws::config(&settings, "STS").await;
                let client = Client::from_conf(Builder::from(&config).interceptor(aws::CountCalls("STS")).build());
                match settings.liveness_client_role {
                    Some(role) if !has_long_term_key => Source::AssumeRole(client, role),
                    _ => Source::FederationToken(client),
                }
            }
        };
        Ok(Self {
            authenticator: Authenticator::from_env(env)?,
            // Signs in with the first flow token.
            pocketbase: PocketBase::new(pocketbase::Settings::from_env(env)?)?,
            source,
            policy: policy().to_string(),
        })
    }
}

/// Session policy, which limits the credentials. Face Liveness has no resource-level permissions (Service Authorization Reference).
fn policy() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Action": ["rekognition:StartFaceLivenessSession", "rekognition:GetFaceLivenessSessionResults"],
            "Resource": "*",
        }],
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CredentialsView {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope, or when AWS refuses; 404 for a flow token whose profile does not exist any more; 429 when AWS throttles;
/// 501 when AWS is not configured; PocketBase's and AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.authenticate_bearer(credentials(request.headers()))?;
    caller.require(Scope::AwsCredentialsRead)?;
    profiles::ensure_exists(&state.pocketbase, &caller).await?;
    let name = state.authenticator.keyed_name(&caller, &["aws-credentials"])?;
    let name: String = SESSION_NAME.chars().chain(name.chars()).take(32).collect();
    let credentials = match &state.source {
        Source::NotConfigured => return Err(aws::Error::NotConfigured.into()),
        Source::FederationToken(client) => {
            let request = client.get_federation_token().name(name).duration_seconds(LIFETIME);
            let answer = request.policy(&state.policy).send().await.map_err(aws::Error::from)?;
            answer.credentials
        }
        Source::AssumeRole(client, role) => {
            let request = client.assume_role().role_arn(role).role_session_name(name);
            let request = request.duration_seconds(LIFETIME).policy(&state.policy);
            request.send().await.map_err(aws::Error::from)?.credentials
        }
    };
    let view = credentials.and_then(view).ok_or_else(|| aws::Error::bad_answer("STS gave no credentials"))?;
    Ok(no_store(success(StatusCode::OK, None, view)))
}

fn view(credentials: Credentials) -> Option<CredentialsView> {
    let expiration = DateTime::from_timestamp_millis(credentials.expiration.to_millis().ok()?)?;
    Some(CredentialsView {
        access_key_id: credentials.access_key_id,
        secret_access_key: credentials.secret_access_key,
        session_token: credentials.session_token,
        expiration: expiration.to_rfc3339_opts(SecondsFormat::Millis, true),
    })
}
