//! Conversions of the errors of lower layers into error answers.

use chrono::{Timelike, Utc};
use lambda_http::http::StatusCode;
use lambda_http::http::header::WWW_AUTHENTICATE;

use super::{ApiError, RETRY_SECONDS};
use crate::file::Unreadable;
use crate::profiles::Quota;
use crate::{auth, aws, pocketbase, profiles};

/// 401 and 403 as RFC 6750 describes them, with its `WWW-Authenticate`.
impl From<auth::Error> for ApiError {
    fn from(error: auth::Error) -> Self {
        use auth::Error;
        let unauthorized = |error: &str, challenge: &str| {
            let challenge = format!("Bearer realm=\"identivia\"{challenge}");
            Self::new(StatusCode::UNAUTHORIZED, error).header(WWW_AUTHENTICATE, &challenge)
        };
        match error {
            Error::Missing => unauthorized("Missing bearer token", ""),
            Error::BearerRequired => {
                unauthorized("Missing bearer token", "").message("This route takes a bearer token, and no API key")
            }
            Error::InvalidToken => unauthorized("Invalid bearer token", ", error=\"invalid_token\""),
            Error::ForgedToken => {
                unauthorized("Invalid bearer token", ", error=\"invalid_token\"").retry_after_secret_reload()
            }
            Error::Expired => unauthorized(
                "Bearer token expired",
                ", error=\"invalid_token\", error_description=\"The token expired\"",
            ),
            Error::InvalidKey => {
                Self::new(StatusCode::UNAUTHORIZED, "Invalid or missing API key").retry_after_secret_reload()
            }
            Error::InsufficientScope(scope) => Self::new(StatusCode::FORBIDDEN, "Insufficient scope")
                .with("required", [scope.as_str()].as_slice())
                .header(
                    WWW_AUTHENTICATE,
                    &format!("Bearer realm=\"identivia\", error=\"insufficient_scope\", scope=\"{scope}\""),
                ),
            Error::Signing(cause) => Self::internal(cause),
            Error::PocketBase(error) => error.into(),
        }
    }
}

impl From<aws::Error> for ApiError {
    fn from(error: aws::Error) -> Self {
        use aws::Error;
        let answer = match &error {
            Error::NotConfigured => {
                return Self::new(StatusCode::NOT_IMPLEMENTED, "AWS credentials not configured")
                    .message("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set in environment variables");
            }
            Error::TimedOut(_) => return Self::upstream_timeout(error),
            Error::Throttled(_) => {
                Self::throttled("AWS takes no more of these requests just now; try again shortly", None)
            }
            Error::Refused(_) => Self::new(StatusCode::FORBIDDEN, "AWS access denied")
                .message("AWS refused this deployment's credentials or permissions; its operator must fix this")
                .retry_after_secret_reload(),
            Error::BadAnswer(_) => {
                Self::new(StatusCode::BAD_GATEWAY, "Bad gateway").message("AWS answered unexpectedly; try again later")
            }
        };
        answer.with_cause(error)
    }
}

impl From<pocketbase::Error> for ApiError {
    fn from(error: pocketbase::Error) -> Self {
        use pocketbase::Error;
        let bad_gateway = || {
            Self::new(StatusCode::BAD_GATEWAY, "Bad gateway")
                .message("The system of record answered unexpectedly; try again later")
        };
        let answer = match &error {
            Error::Unreachable(_) | Error::Busy { .. } => {
                let asked = if let Error::Busy { retry_after } = &error { *retry_after } else { None };
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable")
                    .message("The system of record cannot be reached; try again shortly")
                    .retry_after(asked.unwrap_or(RETRY_SECONDS))
            }
            Error::TimedOut | Error::Unreadable(_) => return Self::upstream_timeout(error),
            Error::UploadConflict => {
                return Self::conflict(
                    "Upload conflict",
                    "An upload has been stored before, or was replaced after it was looked at; upload the file again",
                );
            }
            Error::FileGone => Self::conflict(
                "Profile changed",
                "A file of the profile was replaced while it was being copied; try again",
            ),
            Error::BudgetUsedUp(budget) => {
                return Self::new(StatusCode::TOO_MANY_REQUESTS, "Daily budget used up")
                    .with("reason", format!("daily_{}", budget.as_str()))
                    .message("The partner has used up a budget for today; the operator of this service can raise it")
                    .retry_after(until_midnight());
            }
            Error::NotUnique(_) | Error::Refused | Error::BadAnswer(_) => bad_gateway(),
            Error::SignInRefused(_) => bad_gateway().retry_after_secret_reload(),
        };
        answer.with_cause(error)
    }
}

impl From<profiles::Error> for ApiError {
    fn from(error: profiles::Error) -> Self {
        use profiles::Error;
        match error {
            Error::NotFound => {
                Self::new(StatusCode::NOT_FOUND, "Identivia record not found").message("Invalid or expired ID")
            }
            Error::Decided => {
                Self::conflict("Profile already decided", "This verification is finished and can no longer be changed")
            }
            Error::LimitReached(quota) => limit_reached(quota),
            Error::PocketBase(error) => error.into(),
        }
    }
}

/// 429 with the time until the next UTC day.
fn limit_reached(quota: Quota) -> ApiError {
    let (error, what) = match quota {
        Quota::Verifications => ("Too many verification attempts", "attempts"),
        Quota::Checks => ("Too many verification attempts", "verification attempts"),
        Quota::LivenessSessions => ("Too many Face Liveness sessions", "sessions"),
        Quota::Uploads => ("Too many uploads", "uploads"),
        Quota::Statuses => ("Too many status entries", "status entries"),
        Quota::Analyses => ("Too many document analyses", "analyses"),
        Quota::Updates => ("Too many updates", "updates"),
    };
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, error)
        .message(format!("This profile has used up its {what} for today; try again tomorrow (UTC)"))
        .retry_after(until_midnight())
}

/// Seconds until the next UTC day.
fn until_midnight() -> u64 {
    86_400 - u64::from(Utc::now().num_seconds_from_midnight())
}

impl From<Unreadable> for ApiError {
    fn from(error: Unreadable) -> Self {
        Self::upstream_timeout(error)
    }
}
