//! Logs: one JSON object per line on standard output, for CloudWatch.
//!
//! Nothing that a caller sent is logged: no body, path, query, header, token, key or personal data. Callers find the
//! `request_id` of a line in the `x-request-id` header of the answer.

use tracing_subscriber::EnvFilter;

/// Levels of libraries that would log requests with their headers.
const QUIET: &str =
    "aws_=error,lambda_http=error,lambda_runtime=error,hyper=error,hyper_util=error,reqwest=error,rustls=error";

/// Installs the JSON logger. The level is `AWS_LAMBDA_LOG_LEVEL`, which Lambda sets, else `RUST_LOG`, else `info`.
pub(super) fn init() {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|level| !level.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(format!("{},{QUIET}", level.to_lowercase()));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(format!("info,{QUIET}")));
    let logger = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_target(false);
    // The current span has the request's id; the list would add the runtime's spans. Only the first call installs a logger.
    let _ = logger.with_current_span(true).with_span_list(false).try_init();
}
