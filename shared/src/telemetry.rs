//! Logs: one JSON object a line on standard output, which is what CloudWatch reads.
//!
//! Nothing that a caller sent is ever logged: no body, path, query, header, token, key or personal data. A request is found
//! by its `request_id`, which the caller has from the `x-request-id` header.

use tracing_subscriber::EnvFilter;

/// Libraries that would log requests, headers and all, at the levels below.
const QUIET: &str =
    "aws_=error,lambda_http=error,lambda_runtime=error,hyper=error,hyper_util=error,reqwest=error,rustls=error";

/// Installs the JSON logger. Lambda's `AWS_LAMBDA_LOG_LEVEL`, else `RUST_LOG`, sets the level; `info` without either.
pub fn init() {
    let level = ["AWS_LAMBDA_LOG_LEVEL", "RUST_LOG"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|level| !level.is_empty())
        .unwrap_or_else(|| "info".to_owned());
    let filter = EnvFilter::try_new(format!("{},{QUIET}", level.to_lowercase()));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new(format!("info,{QUIET}")));
    let logger = tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).with_target(false);
    // The current span is a request's; the list would add the runtime's own. Only the first call in a process installs anything.
    let _ = logger.with_current_span(true).with_span_list(false).try_init();
}
