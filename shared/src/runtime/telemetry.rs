//! Logs and metrics: one JSON object per line on standard output, for CloudWatch.
//!
//! Metrics are lines in CloudWatch's embedded metric format, so they cost no call. Any layer records them with the macros of the crate
//! `metrics`, and the runtime writes them after each request and event. docs/operations.md lists them.
//!
//! Nothing that a caller sent is logged: no body, path, query, header, token, key or personal data. Callers find the
//! `request_id` of a line in the `x-request-id` header of the answer.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use lambda_http::Context;
use metrics::Unit;
use metrics_cloudwatch_embedded::{Builder, Collector};
use tracing::Span;
use tracing_subscriber::EnvFilter;

/// Levels of libraries that would log requests with their headers.
const QUIET: &str =
    "aws_=error,lambda_http=error,lambda_runtime=error,hyper=error,hyper_util=error,reqwest=error,rustls=error";

/// The recorder of metrics, if `METRICS_NAMESPACE` is set.
static METRICS: OnceLock<&'static Collector> = OnceLock::new();

/// Whether this execution environment has handled no request or event yet.
static IS_COLD: AtomicBool = AtomicBool::new(true);

/// Installs the JSON logger, and the recorder of metrics. The level of the logger is `AWS_LAMBDA_LOG_LEVEL`, which Lambda sets, else
/// `RUST_LOG`, else `info`. `METRICS_NAMESPACE` is the namespace of the metrics in CloudWatch; without it there are none.
pub(super) fn init() {
    install_logger();
    let namespace = std::env::var("METRICS_NAMESPACE").ok().filter(|namespace| !namespace.is_empty());
    // Only the first call installs a recorder.
    if let Some(collector) = namespace.and_then(|name| Builder::new().cloudwatch_namespace(name).init().ok())
        && METRICS.set(collector).is_ok()
    {
        metrics::describe_histogram!("Latency", Unit::Milliseconds, "");
        metrics::describe_gauge!("OldestWebhook", Unit::Seconds, "");
    }
}

/// Writes the metrics that were recorded since the last call.
pub(super) fn flush_metrics() {
    // Standard output of a function is always open. There would be nowhere to report a failure.
    if let Some(collector) = METRICS.get() {
        let _ = collector.flush(std::io::stdout());
    }
}

/// The span of a request or an event. All log lines in it carry its fields.
pub(super) fn invocation(function: &'static str, request_id: &str, context: Option<&Context>) -> Span {
    let version = std::env::var("AWS_LAMBDA_FUNCTION_VERSION").ok();
    let trace_id = context.and_then(|context| context.xray_trace_id.as_deref());
    let cold_start = IS_COLD.swap(false, Ordering::Relaxed);
    tracing::info_span!("request", request_id, function, version, cold_start, trace_id)
}

fn install_logger() {
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
