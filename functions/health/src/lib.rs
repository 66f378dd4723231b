//! GET /: whether the API and its PocketBase are up, and what else is configured.
//!
//! PocketBase calls: one. The other services are not called.

use std::time::Instant;

use chrono::{SecondsFormat, Utc};
use lambda_http::http::StatusCode;
use lambda_http::http::header::{AUTHORIZATION, RETRY_AFTER};
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use serde_json::json;
use shared::auth::Scope;
use shared::backend::Backend;
use shared::config::{AwsSettings, Env, FingerprintSettings, LivenessSettings, OpenAiSettings, PublicSettings};
use shared::http::{ApiError, RETRY_SECONDS, StartError, json_response};
use shared::pocketbase;

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    public: PublicSettings,
    aws: AwsSettings,
    liveness: LivenessSettings,
    openai: OpenAiSettings,
    fingerprint: FingerprintSettings,
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
            public: PublicSettings::from_env(env)?,
            aws: AwsSettings::from_env(env)?,
            liveness: LivenessSettings::from_env(env)?,
            openai: OpenAiSettings::from_env(env)?,
            fingerprint: FingerprintSettings::from_env(env)?,
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
    /// Seconds since this process started.
    uptime: f64,
    memory: Memory,
    pocketbase_status: &'static str,
    pocketbase_url: &'a str,
    pocketbase_user_email: &'a str,
    aws_faceliveness_status: &'static str,
    openai_model: &'a str,
    openai_status: &'static str,
    faceliveness_threshold: f64,
    fingerprint_status: &'static str,
}

/// This process's memory, in MB of 1,048,576 bytes. Linux knows no heap: its nearest are the data segment (`VmData`) and the
/// resident part that no file backs (`RssAnon`).
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
/// 401, unless `PUBLIC_HEALTH` lets anyone ask; 403 for a missing scope.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    if state.public.health && !request.headers().contains_key(AUTHORIZATION) {
        // `recordsStored` is what this process holds in memory, which was the earlier service's fallback and is now nothing.
        let body = json!({ "status": "OK", "service": "Identivia-API", "recordsStored": 0 });
        return Ok(json_response(StatusCode::OK, &body));
    }
    state.backend.authenticator.bearer(request.headers())?.require(Scope::HealthRead)?;
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
        faceliveness_threshold: state.liveness.threshold,
        fingerprint_status: configured(state.fingerprint.secret_key.is_some()),
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
