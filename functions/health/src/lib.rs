//! GET /: health of the API and of PocketBase, and which other services are configured.
//!
//! PocketBase calls: one. Other services are not called.

use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use lambda_http::http::StatusCode;
use lambda_http::http::header::{AUTHORIZATION, RETRY_AFTER};
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::json;
use shared::auth::Scope;
use shared::env::{Env, StartError};
use shared::http::{ApiError, RETRY_SECONDS, credentials, json_response};
use shared::runtime::Backend;
use shared::types::Decimal;
use shared::{aws, pocketbase};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    /// `PUBLIC_HEALTH`: whether requests without a token are answered. False by default.
    is_public: bool,
    aws: aws::Settings,
    liveness: liveness::Settings,
    openai: openai::Settings,
    has_fingerprint_key: bool,
    started: Instant,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        let started = Instant::now();
        Ok(Self {
            is_public: env.flag("PUBLIC_HEALTH")?,
            aws: aws::Settings::from_env(env)?,
            liveness: liveness::Settings::from_env(env)?,
            openai: openai::Settings::from_env(env)?,
            has_fingerprint_key: env.get("FINGERPRINT_SECRET_KEY").is_some(),
            backend: Backend::from_env(env).await?,
            started,
        })
    }
}

#[derive(Serialize)]
struct HealthResponse<'a> {
    status: &'static str,
    service: &'static str,
    timestamp: String,
    /// Seconds since the state was built: at the start of the process, or after the last change of the secret.
    uptime: f64,
    memory: Memory,
    pocketbase_status: &'static str,
    pocketbase_url: &'a str,
    pocketbase_user_email: &'a str,
    aws_faceliveness_status: &'static str,
    openai_model: &'a str,
    openai_status: &'static str,
    faceliveness_threshold: Decimal,
    fingerprint_status: &'static str,
}

/// Memory of the process, in MB of 1,048,576 bytes. Linux reports no heap size, so the data segment (`VmData`) and the anonymous
/// resident memory (`RssAnon`) take its place.
#[derive(Serialize)]
struct Memory {
    rss: String,
    #[serde(rename = "heapTotal")]
    heap_total: String,
    #[serde(rename = "heapUsed")]
    heap_used: String,
}

/// Answers a request.
///
/// # Errors
/// 401 without a valid token, unless `PUBLIC_HEALTH` is set and no token is sent; 403 for a missing scope.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    if state.is_public && !request.headers().contains_key(AUTHORIZATION) {
        // `recordsStored`: part of the earlier service's contract, which counted records in memory. This service has none.
        let body = json!({ "status": "OK", "service": "Identivia-API", "recordsStored": 0 });
        return Ok(json_response(StatusCode::OK, &body));
    }
    state.backend.authenticator.authenticate_bearer(credentials(request.headers()))?.require(Scope::HealthRead)?;
    let (status, pocketbase_status) = match state.backend.pocketbase.check().await {
        Ok(()) => (StatusCode::OK, "authenticated"),
        Err(error) => {
            tracing::warn!(cause = %error, "PocketBase is not healthy");
            let refused = matches!(error, pocketbase::Error::SignInRefused(_));
            (StatusCode::SERVICE_UNAVAILABLE, if refused { "unauthenticated" } else { "unreachable" })
        }
    };
    let body = HealthResponse {
        status: if status.is_success() { "OK" } else { "DEGRADED" },
        service: "Identivia Integration API with AWS Face Liveness",
        timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        uptime: (state.started.elapsed().as_secs_f64() * 100.0).round() / 100.0,
        memory: memory(),
        pocketbase_status,
        pocketbase_url: state.backend.pocketbase.url(),
        pocketbase_user_email: state.backend.pocketbase.email(),
        aws_faceliveness_status: configured(state.aws.is_configured()),
        openai_model: &state.openai.model,
        openai_status: configured(state.openai.api_key.is_some()),
        faceliveness_threshold: Decimal(state.liveness.threshold),
        fingerprint_status: configured(state.has_fingerprint_key),
    };
    let mut response = json_response(status, &body);
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS.into());
    }
    Ok(response)
}

fn configured(yes: bool) -> &'static str {
    if yes { "configured" } else { "not_configured" }
}

fn memory() -> Memory {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let megabytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kilobytes: f64 = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default();
        format!("{} MB", (kilobytes / 1024.0).round())
    };
    Memory { rss: megabytes("VmRSS"), heap_total: megabytes("VmData"), heap_used: megabytes("RssAnon") }
}
