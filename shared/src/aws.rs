//! What all clients of AWS have in common: where they call, as whom, how long they wait, and what a failure means.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_secretsmanager::config::Credentials;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use lambda_http::http::StatusCode;
use lambda_http::http::header::RETRY_AFTER;

use crate::config::AwsSettings;
use crate::http::{ApiError, RETRY_SECONDS};

/// How long connecting to AWS may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one attempt of a call may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call may take with its attempts. A request makes at most two calls, inside the 29 s of a function.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a call is attempted when AWS throttles or fails: every call that we make may be repeated.
const ATTEMPTS: u32 = 2;

/// The configuration of a client. `service` as in `AWS_ENDPOINT_URL_<SERVICE>`.
pub async fn config(settings: &AwsSettings, service: &str) -> SdkConfig {
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

/// What a caller is told of a failed call: 403 when AWS refuses us, 429 when it throttles, 504 when it does not answer, 502
/// for any other answer. The log gets the error's own words, which name no person.
pub fn failure<E, R>(error: &SdkError<E, R>) -> ApiError
where
    E: ProvideErrorMetadata + Error + 'static,
    R: Debug + 'static,
{
    let code = error.as_service_error().and_then(ProvideErrorMetadata::code).unwrap_or_default();
    let told = match error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) => return ApiError::upstream_timeout(said(error)),
        _ if code.starts_with("Throttl") || code == "ProvisionedThroughputExceededException" => {
            ApiError::new(StatusCode::TOO_MANY_REQUESTS, "Too many requests")
                .message("AWS takes no more of these requests just now; try again shortly")
                .header(RETRY_AFTER, &RETRY_SECONDS.to_string())
        }
        _ if is_refusal(code) => ApiError::new(StatusCode::FORBIDDEN, "AWS access denied")
            .message("AWS refused this deployment's credentials or permissions; its operator must fix this")
            .suspecting_secret(),
        _ => return bad_answer(said(error)),
    };
    told.because(said(error))
}

/// 502 for an answer of AWS's that cannot be used.
pub fn bad_answer(cause: impl Display) -> ApiError {
    ApiError::new(StatusCode::BAD_GATEWAY, "Bad gateway")
        .message("AWS answered unexpectedly; try again later")
        .because(cause)
}

/// 501 where there is neither a long-term key nor a role for browsers.
pub fn not_configured() -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "AWS credentials not configured")
        .message("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set in environment variables")
}

/// What an error says, and the errors behind it. The SDK's own `DisplayErrorContext` would add the answer's body, which may
/// be a secret or a face.
pub(crate) fn said(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let mut said: Vec<_> = chain.map(ToString::to_string).collect();
    // The SDK's errors repeat those behind them.
    said.dedup_by(|later, earlier| earlier.contains(later.as_str()) || later.contains(earlier.as_str()));
    said.join(": ")
}

/// The codes of AWS for a caller that it does not know or does not let in.
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
