//! GET /api/aws/credentials: a temporary AWS key with which a browser can stream a Face Liveness session, and nothing else.
//!
//! With a long-term key of AWS's it comes from GetFederationToken; under a role, which cannot call that, from AssumeRole on
//! `LIVENESS_CLIENT_ROLE_ARN`. Either way the session policy leaves two actions. AWS calls: one. PocketBase is not asked.

use aws_sdk_sts::Client;
use aws_sdk_sts::types::Credentials;
use chrono::{DateTime, SecondsFormat};
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CACHE_CONTROL, HeaderValue};
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::{Value, json};
use shared::auth::{Authenticator, Scope};
use shared::aws;
use shared::config::{AwsSettings, Env};
use shared::http::{ApiError, StartError, success};

/// How long a key is good, in seconds: 15 minutes, the least that STS gives.
const LIFETIME: i32 = 900;

/// What AWS's audit trail calls whoever uses such a key begins with this; what follows is the same for the same caller, and tells
/// nothing of it. STS takes 32 characters of `A-Z a-z 0-9 _ -` and some more.
const SESSION_NAME: &str = "identivia-";

/// What is made once in a process's life.
pub struct State {
    authenticator: Authenticator,
    keys: Keys,
    policy: String,
}

/// Where keys come from.
enum Keys {
    NotConfigured,
    /// From GetFederationToken.
    Federated(Client),
    /// From AssumeRole on this role.
    OfRole(Client, String),
}

impl State {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        let settings = AwsSettings::from_env(env)?;
        let keys = match settings.is_configured() {
            false => Keys::NotConfigured,
            true => {
                let client = Client::new(&aws::config(&settings, "STS").await);
                match settings.liveness_client_role {
                    Some(role) if settings.key.is_none_or(|key| key.session_token.is_some()) => {
                        Keys::OfRole(client, role)
                    }
                    _ => Keys::Federated(client),
                }
            }
        };
        Ok(Self { authenticator: Authenticator::from_env(env)?, keys, policy: policy().to_string() })
    }
}

/// All that a key may do, whatever its user or role may. Face Liveness knows no resources (Service Authorization Reference).
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
/// 401; 403 for a missing scope, or when AWS refuses; 429 when AWS throttles; 501 where AWS is not configured; AWS's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let caller = state.authenticator.bearer(request.headers())?;
    caller.require(Scope::AwsCredentialsRead)?;
    let name = state.authenticator.name_for(&caller, &["aws-credentials"])?;
    let name: String = SESSION_NAME.chars().chain(name.chars()).take(32).collect();
    let credentials = match &state.keys {
        Keys::NotConfigured => return Err(aws::not_configured()),
        Keys::Federated(client) => {
            let request = client.get_federation_token().name(name).duration_seconds(LIFETIME);
            let answer = request.policy(&state.policy).send().await.map_err(|error| aws::failure(&error))?;
            answer.credentials
        }
        Keys::OfRole(client, role) => {
            let request = client.assume_role().role_arn(role).role_session_name(name);
            let request = request.duration_seconds(LIFETIME).policy(&state.policy);
            request.send().await.map_err(|error| aws::failure(&error))?.credentials
        }
    };
    let view = credentials.and_then(view).ok_or_else(|| aws::bad_answer("STS gave no credentials"))?;
    let mut response = success(StatusCode::OK, None, view);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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
