//! AWS SDK configuration: region, credentials, endpoints, timeouts; and the meaning of a failed call.

use std::error::Error as StdError;
use std::fmt::{Debug, Display};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::interceptors::FinalizerInterceptorContextRef;
use aws_sdk_secretsmanager::config::{ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_secretsmanager::error::{BoxError, ProvideErrorMetadata, SdkError};
use reqwest::StatusCode;

use crate::env::{ConfigError, Env};
use crate::upstream::{self, Outcome};

/// How long connecting to AWS may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one attempt of a call may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take with all its attempts. A request makes at most two calls, within a function's 29 s.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Attempts of a call when AWS throttles or fails. All calls made here are safe to repeat.
const ATTEMPTS: u32 = 2;

/// An AWS access key.
#[derive(Clone)]
pub struct Key {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
    /// `AWS_SESSION_TOKEN`: set for the temporary keys of a role, such as the function's own.
    pub session_token: Option<String>,
}

/// Settings of AWS clients.
#[derive(Clone)]
pub struct Settings {
    /// `AWS_REGION`, which Lambda sets; `us-east-1` without it.
    pub region: String,
    /// The access key in the variables. Without one, the SDK's default credential chain is used.
    pub key: Option<Key>,
    /// `LIVENESS_CLIENT_ROLE_ARN`: the role that browsers assume for Face Liveness.
    pub liveness_client_role: Option<String>,
    /// `AWS_ENDPOINT_URL_<SERVICE>`, else `AWS_ENDPOINT_URL`: endpoints other than AWS's own.
    endpoints: Env,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When only half of a key is set, or the ARN of the role or an endpoint is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        const ROLE: &str = "LIVENESS_CLIENT_ROLE_ARN";
        let key = match (env.get_owned("AWS_ACCESS_KEY_ID"), env.get_owned("AWS_SECRET_ACCESS_KEY")) {
            (Some(_), None) => {
                return Err(ConfigError::malformed("AWS_ACCESS_KEY_ID", "needs AWS_SECRET_ACCESS_KEY beside it"));
            }
            (None, Some(_)) => {
                return Err(ConfigError::malformed("AWS_SECRET_ACCESS_KEY", "needs AWS_ACCESS_KEY_ID beside it"));
            }
            (id, secret) => id.zip(secret),
        };
        let liveness_client_role = env.get_owned(ROLE);
        let is_role =
            |arn: &String| arn.starts_with("arn:") && arn.contains(":role/") && (20..=2048).contains(&arn.len());
        if !liveness_client_role.as_ref().is_none_or(is_role) {
            return Err(ConfigError::malformed(ROLE, "must be the ARN of a role"));
        }
        let endpoints = [
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_REKOGNITION",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            "AWS_ENDPOINT_URL_SQS",
            "AWS_ENDPOINT_URL_STS",
        ];
        let endpoints =
            endpoints.into_iter().filter_map(|name| Some(env.url(name).transpose()?.map(|url| (name.to_owned(), url))));
        Ok(Self {
            region: env.get("AWS_REGION").or(env.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1").to_owned(),
            key: key.map(|(id, secret)| Key { id, secret, session_token: env.get_owned("AWS_SESSION_TOKEN") }),
            liveness_client_role,
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }

    /// Settings for this deployment's own bucket and queue, which are called with the function's role even when the secret contains
    /// a user's access key for other services.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn of_role(env: &Env) -> Result<Self, ConfigError> {
        let settings = Self::from_env(env)?;
        let of_role = |name: &str| env.get_owned(&format!("ROLE_{name}"));
        match of_role("AWS_ACCESS_KEY_ID").zip(of_role("AWS_SECRET_ACCESS_KEY")) {
            Some((id, secret)) => {
                let key = Some(Key { id, secret, session_token: of_role("AWS_SESSION_TOKEN") });
                Ok(Self { key, ..settings })
            }
            None => Ok(settings),
        }
    }

    /// Whether the key belongs to an IAM user. Only such a key can sign GetFederationToken.
    pub fn has_long_term_key(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.session_token.is_none())
    }

    /// Whether Face Liveness is configured: by a long-term key, or by a role for browsers. The function's own role alone
    /// does not count, since every function has one.
    pub fn is_configured(&self) -> bool {
        self.has_long_term_key() || self.liveness_client_role.is_some()
    }

    /// Endpoint of a service, if it is not AWS's own. `service` as in the variable: `REKOGNITION`, `S3`, `STS`, ….
    pub fn endpoint(&self, service: &str) -> Option<&str> {
        self.endpoints.get(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| self.endpoints.get("AWS_ENDPOINT_URL"))
    }
}

/// Configuration of an SDK client. `service` as in `AWS_ENDPOINT_URL_<SERVICE>`.
pub async fn config(settings: &Settings, service: &str) -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(settings.region.clone()))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS));
    if let Some(key) = settings.key.clone() {
        loader =
            loader.credentials_provider(Credentials::new(key.id, key.secret, key.session_token, None, "environment"));
    }
    if let Some(endpoint) = settings.endpoint(service) {
        loader = loader.endpoint_url(endpoint);
    }
    loader.load().await
}

/// Interceptor of an SDK client that counts its calls in the metric `UpstreamCalls`, with the given name of the service.
#[derive(Debug)]
pub struct CountCalls(pub &'static str);

impl Intercept for CountCalls {
    fn name(&self) -> &'static str {
        "CountCalls"
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context.response().and_then(|response| StatusCode::from_u16(response.status().as_u16()).ok());
        let outcome = match (context.output_or_error(), status) {
            (Some(Ok(_)), _) => Outcome::Ok,
            (Some(Err(error)), _) if error.is_timeout_error() => Outcome::TimedOut,
            (Some(Err(_)), Some(status)) => upstream::of_status(status),
            (Some(Err(_)), None) => Outcome::Unreachable,
            // A presigned URL: nothing was sent.
            (None, _) => return Ok(()),
        };
        upstream::count_call(self.0, outcome);
        Ok(())
    }
}

/// Failure of a call of AWS. The messages are for the log; they name no person.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a long-term key nor a role for browsers is set.
    #[error("AWS is not configured")]
    NotConfigured,
    /// AWS refuses this deployment's credentials or permissions.
    #[error("AWS refused: {0}")]
    Refused(String),
    /// AWS throttles.
    #[error("AWS throttled: {0}")]
    Throttled(String),
    /// No answer in time, or no connection.
    #[error("AWS did not answer: {0}")]
    TimedOut(String),
    /// An unexpected or unusable answer.
    #[error("AWS answered badly: {0}")]
    BadAnswer(String),
}

impl Error {
    /// The failure in one word or two, without AWS's message, for records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotConfigured => "not configured",
            Self::Refused(_) => "refused",
            Self::Throttled(_) => "throttled",
            Self::TimedOut(_) => "no answer",
            Self::BadAnswer(_) => "bad answer",
        }
    }

    /// An answer that cannot be used.
    pub fn bad_answer(cause: impl Display) -> Self {
        Self::BadAnswer(cause.to_string())
    }
}

impl<E, R> From<SdkError<E, R>> for Error
where
    E: ProvideErrorMetadata + StdError + 'static,
    R: Debug + 'static,
{
    fn from(error: SdkError<E, R>) -> Self {
        let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
        let cause = error_chain(&error);
        match &error {
            SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => Self::TimedOut(cause),
            _ if code.starts_with("Throttl") || code == "ProvisionedThroughputExceededException" => {
                Self::Throttled(cause)
            }
            _ if is_refusal(code) => Self::Refused(cause),
            _ => Self::BadAnswer(cause),
        }
    }
}

/// Messages of an error and of its sources, joined. The SDK's own `DisplayErrorContext` would add the body of the
/// response, which may hold a secret or a face.
pub(crate) fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let mut messages: Vec<_> = chain.map(ToString::to_string).collect();
    // The SDK's errors repeat the messages of their sources.
    messages.dedup_by(|later, earlier| earlier.contains(later.as_str()) || later.contains(earlier.as_str()));
    messages.join(": ")
}

/// Whether an error code means that AWS does not know the caller or does not let it in.
fn is_refusal(code: &str) -> bool {
    matches!(
        code,
        "AccessDenied"
            | "AccessDeniedException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidClientTokenId"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn malformed_settings_are_refused() {
        assert!(Settings::from_env(&Env::from([("LIVENESS_CLIENT_ROLE_ARN", "liveness")])).is_err());
        assert!(Settings::from_env(&Env::from([("AWS_ENDPOINT_URL_STS", "localhost")])).is_err());
    }

    #[test]
    fn the_functions_own_role_does_not_configure_face_liveness() {
        let configured = |variables: &[(&str, &str)]| Settings::from_env(&env(variables)).unwrap().is_configured();
        assert!(!configured(&[]));
        assert!(Settings::from_env(&env(&[("AWS_ACCESS_KEY_ID", "AKIA")])).is_err());
        assert!(Settings::from_env(&env(&[("AWS_SECRET_ACCESS_KEY", "s")])).is_err());
        let mut keys = vec![("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert!(configured(&keys));
        keys.push(("AWS_SESSION_TOKEN", "t"));
        assert!(!configured(&keys));
        keys.push(("LIVENESS_CLIENT_ROLE_ARN", "arn:aws:iam::123456789012:role/liveness"));
        assert!(configured(&keys));
    }

    #[test]
    fn the_endpoint_of_a_service_beats_the_common_endpoint() {
        let settings = Settings::from_env(&Env::from([
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1/"),
            ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:2"),
        ]))
        .unwrap();
        assert_eq!(settings.endpoint("STS"), Some("http://127.0.0.1:2"));
        assert_eq!(settings.endpoint("REKOGNITION"), Some("http://127.0.0.1:1"));
        assert_eq!(Settings::from_env(&Env::default()).unwrap().endpoint("STS"), None);
    }

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}
