//! Metrics and log lines, as CloudWatch receives them.

use std::collections::BTreeMap;
use std::path::Path;

use local::functions::{Function, Functions, Output};
use local::gateway::Gateway;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{App, FormBody, STATIC_KEY, Storage, eventually, photo, selfie, shared, unique, variables};

/// Starts to record the metrics of this test's thread.
pub fn record() -> (metrics::LocalRecorderGuard<'static>, Snapshotter) {
    let recorder: &DebuggingRecorder = Box::leak(Box::new(DebuggingRecorder::new()));
    (metrics::set_default_local_recorder(recorder), recorder.snapshotter())
}

/// The counters that were recorded since the last call: `Checks Outcome=verified`.
fn counters(snapshotter: &Snapshotter) -> Vec<String> {
    let mut names = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let labels = key.key().labels().map(|label| format!(" {}={}", label.key(), label.value()));
        if matches!(value, DebugValue::Counter(1..)) {
            names.push(format!("{}{}", key.key().name(), labels.collect::<String>()));
        }
    }
    names.sort();
    names
}

/// The gauges, with the values that were set last.
pub fn gauges(snapshotter: &Snapshotter) -> BTreeMap<String, f64> {
    let gauges = snapshotter.snapshot().into_vec().into_iter().filter_map(|(key, _, _, value)| match value {
        DebugValue::Gauge(value) => Some((key.key().name().to_owned(), value.into_inner())),
        _ => None,
    });
    gauges.collect()
}

/// The lines of a log that are complete.
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    complete.lines().map(|line| serde_json::from_str(line).expect("every line is JSON")).collect()
}

#[tokio::test]
async fn a_request_is_one_log_line_and_metrics_in_the_embedded_format() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let gateway = Gateway::start().await.unwrap();
    let namespace = vec![("METRICS_NAMESPACE".to_owned(), "identivia/tests".to_owned())];
    let variables = [variables(&shared().await.url), namespace].concat();
    let functions = [Function::new("get-profile", 1)];
    let functions = Functions::start(&gateway.url, &functions, variables, Output::File(log.clone())).await.unwrap();
    functions.ready().await.unwrap();
    let url = format!("{}/api/profiles/aaaaaaaaaaaaaaa", gateway.url);
    let get = async |key: &str| Client::new().get(&url).header("x-api-key", key).send().await.unwrap();
    let missing = get(STATIC_KEY).await;
    assert_eq!((missing.status().as_u16(), get("not a key").await.status().as_u16()), (404, 401));
    let has_both = async || {
        let lines = lines(&log);
        let statuses: Vec<_> = lines.iter().filter_map(|line| line["Status"].as_str().map(str::to_owned)).collect();
        (statuses == ["404", "401"]).then_some(lines)
    };
    let lines = eventually("the metrics of both requests", has_both).await;

    let metric = |name: &str, dimensions: &Value| {
        let found = lines.iter().find(|line| {
            !line[name].is_null()
                && dimensions.as_object().unwrap().iter().all(|(dimension, value)| line[dimension] == *value)
        });
        let line = found.unwrap_or_else(|| panic!("no {name} {dimensions} in {lines:?}"));
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "identivia/tests");
        let mut names: Vec<_> = directive["Dimensions"][0].as_array().unwrap().iter().collect();
        names.sort_by_key(|name| name.to_string());
        let mut expected: Vec<_> = dimensions.as_object().unwrap().keys().collect();
        expected.sort();
        assert_eq!(json!(names), json!(expected));
        assert!(line["_aws"]["Timestamp"].as_u64().unwrap() > 1_700_000_000_000);
        line.clone()
    };
    assert_eq!(metric("Requests", &json!({ "Function": "get-profile", "Status": "404" }))["Requests"], 1);
    assert_eq!(metric("Requests", &json!({ "Function": "get-profile", "Status": "401" }))["Requests"], 1);
    let latency = metric("Latency", &json!({ "Function": "get-profile" }));
    assert_eq!(
        latency["_aws"]["CloudWatchMetrics"][0]["Metrics"],
        json!([{ "Name": "Latency", "Unit": "Milliseconds" }])
    );
    assert!(latency["Latency"][0].as_f64().unwrap() > 0.0);
    metric("UpstreamCalls", &json!({ "Service": "PocketBase", "Outcome": "ok" }));

    let answered: Vec<_> = lines.iter().filter(|line| line["message"] == "request answered").collect();
    assert_eq!(answered.len(), 2);
    assert_eq!(answered[0]["request_id"], missing.headers()["x-request-id"].to_str().unwrap());
    for (line, cold_start) in answered.into_iter().zip([true, false]) {
        let span = &line["span"];
        assert_eq!((&span["function"], &span["version"]), (&json!("get-profile"), &json!("1")));
        assert_eq!((&span["cold_start"], &span["request_id"]), (&json!(cold_start), &line["request_id"]));
        assert!(span["trace_id"].as_str().unwrap().contains("Root="), "{span}");
    }
}

#[tokio::test]
async fn checks_and_what_they_find_are_counted() {
    let storage = Storage::new().await;
    let app = App::with(&storage.variables()).await;
    let (_, flow) = app.profile("postman").await;
    let (_guard, snapshotter) = record();
    let form = FormBody::new()
        .file("selfie_video", &selfie(&json!({ "person": "anna" })))
        .file("id_photo", &photo(&json!({ "person": "bert" })));
    let answer = app.post("/verif/submit").bearer(&flow).form(form).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let status = answer.text("/result/status");
    let factor = answer.text("/result/verificationAssessment/riskFactors/0");
    let counted = counters(&snapshotter);
    let of_s3: Vec<_> = counted.iter().filter(|name| name.contains("Service=S3")).collect();
    assert_eq!(of_s3, ["UpstreamCalls Service=S3 Outcome=ok"], "a presigned URL is no call");
    for expected in [
        format!("Checks Outcome={status}"),
        format!("RiskFactors Factor={factor}"),
        "Requests Function=submit-verification Status=200".to_owned(),
        "UpstreamCalls Service=OpenAI Outcome=ok".to_owned(),
        "UpstreamCalls Service=PocketBase Outcome=ok".to_owned(),
        "UpstreamCalls Service=Rekognition Outcome=ok".to_owned(),
        "UpstreamCalls Service=S3 Outcome=ok".to_owned(),
    ] {
        assert!(counted.contains(&expected), "no {expected} in {counted:?}");
    }
}

#[tokio::test]
async fn used_up_attempts_and_ended_liveness_sessions_are_counted() {
    let app = App::with(&[("MAX_LIVENESS_SESSIONS", "1")]).await;
    let (_, flow) = app.profile("postman").await;
    let (_guard, snapshotter) = record();
    let create = async || app.post("/api/face-liveness/session").bearer(&flow).send().await;
    let session = create().await.text("/sessionId");
    assert_eq!(create().await.status, 429);
    let counted = counters(&snapshotter);
    assert!(counted.contains(&"AttemptsUsedUp Quota=liveness_sessions".to_owned()), "{counted:?}");
    assert!(app.standins.end_session(&session, "live"));
    let results = app.get(&format!("/api/face-liveness/results/{session}")).bearer(&flow).send().await;
    assert_eq!(results.status, 200, "{results:?}");
    let counted = counters(&snapshotter);
    assert!(counted.contains(&"LivenessSessions Outcome=live".to_owned()), "{counted:?}");
}

#[tokio::test]
async fn calls_that_fail_are_counted_by_what_happened() {
    let app = App::at("http://127.0.0.1:9", &[("PB_AUTH_TOKEN", "")]);
    let (_guard, snapshotter) = record();
    let created =
        app.post("/api/profiles/create").key(STATIC_KEY).json(&json!({ "userID": unique("user") })).send().await;
    assert_eq!(created.status, 503);
    let counted = counters(&snapshotter);
    assert!(counted.contains(&"UpstreamCalls Service=PocketBase Outcome=unreachable".to_owned()), "{counted:?}");
    assert!(counted.contains(&"Requests Function=create-profile Status=503".to_owned()), "{counted:?}");
}
