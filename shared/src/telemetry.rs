//! Logs: one JSON object a line on standard output, which is what CloudWatch reads.
//!
//! Nothing that a caller sent is ever logged: no body, path, query, header, token, key or personal data. A request is found
//! by its `request_id`, which the caller has from the `x-request-id` header.

use tracing_subscriber::EnvFilter;

/// Installs the JSON logger. `RUST_LOG`, or Lambda's `AWS_LAMBDA_LOG_LEVEL`, sets the level; `info` without either.
pub fn init() {
    let level = ["RUST_LOG", "AWS_LAMBDA_LOG_LEVEL"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|level| !level.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(level.to_lowercase()).unwrap_or_else(|_| EnvFilter::new("info"));
    // Only the first call in a process installs it, which matters to tests alone.
    let _ = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_target(false).try_init();
}
