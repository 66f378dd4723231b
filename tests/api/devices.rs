//! Fingerprint: the device data of a browser, checked with Fingerprint's server.

use serde_json::{Value, json};

use crate::support::{App, FormBody, JPEG, shared, unique};

/// The verdict that is stored beside this data.
async fn verdict(app: &App, data: &str) -> Value {
    let (id, flow) = app.profile("postman").await;
    let session = app.session(&flow, "live").await;
    let form = FormBody::new()
        .text("liveness_session_id", &session)
        .text("liveness_confidence", "95.5")
        .text("liveness_status", "live")
        .text("document_type", "passport")
        .text("fingerprint", data)
        .file("facial_photo", JPEG)
        .file("document_front", JPEG);
    let answer = app.post(&format!("/api/verification_history/{id}")).bearer(&flow).form(form).send().await;
    assert_eq!(answer.status, 201, "the record is never lost: {answer:?}");
    let superuser = shared().await.superuser().await.unwrap();
    let record = superuser.find("verification_history", &format!("profile=\"{id}\"")).await.unwrap().remove(0);
    if !data.is_empty() {
        let sent = serde_json::from_str(data).unwrap_or_else(|_| json!(data));
        assert_eq!(record["fingerprint"], sent, "what the browser said is kept as it is");
    }
    record["fingerprint_verdict"].clone()
}

fn data(event: &str) -> String {
    json!({ "event_id": event, "visitor_id": "SpecimenVisitor00001" }).to_string()
}

#[tokio::test]
async fn a_device_passes_when_every_check_does() {
    let app = App::new().await;
    // The names of the agent's version 4 and of version 3, and a bare event id.
    for data in [
        data(&unique("good.e")),
        json!({ "requestId": unique("good.e"), "visitorId": "SpecimenVisitor00001", "confidence": { "score": 1 } })
            .to_string(),
        unique("good.e"),
    ] {
        let verdict = verdict(&app, &data).await;
        assert_eq!(verdict["result"], "pass", "{data} {verdict}");
        assert_eq!((&verdict["visitor_id"], &verdict["suspect_score"]), (&json!("SpecimenVisitor00001"), &json!(0)));
    }
}

#[tokio::test]
async fn a_device_fails_by_the_check_that_it_does_not_pass() {
    let app = App::new().await;
    for (data, failed) in [
        (data(&unique("stale.e")), "fresh"),
        (data(&unique("replayed.e")), "not_replayed"),
        (data(&unique("other.e")), "same_visitor"),
        (json!({ "event_id": unique("good.e"), "visitor_id": "Somebody" }).to_string(), "same_visitor"),
        (data(&unique("bot.e")), "not_a_bad_bot"),
    ] {
        let verdict = verdict(&app, &data).await;
        assert_eq!(verdict["result"], "fail", "{data}");
        let wrong: Vec<_> = verdict["checks"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, good)| **good == false)
            .map(|(name, _)| name)
            .collect();
        assert_eq!(wrong, [failed], "{data}");
    }
    for data in [
        data("unknown.1"),
        data("../../events"),
        data("good.1?x=y"),
        json!({ "visitor_id": "x" }).to_string(),
        "[]".to_owned(),
    ] {
        let verdict = verdict(&app, &data).await;
        assert_eq!((&verdict["result"], &verdict["checks"]["found"]), (&json!("fail"), &json!(false)), "{data}");
    }
}

#[tokio::test]
async fn a_failure_of_fingerprint_loses_no_record() {
    let app = App::new().await;
    for trouble in ["throttled", "denied", "failing", "malformed", "endless", "slow"] {
        let verdict = verdict(&app, &data(&format!("{trouble}.1"))).await;
        assert_eq!((&verdict["result"], &verdict["checks"]), (&json!("unavailable"), &Value::Null), "{trouble}");
    }
    let app = App::with(&[("FINGERPRINT_BASE_URL", "http://127.0.0.1:1")]).await;
    assert_eq!(verdict(&app, &data("good.1")).await["result"], "unavailable");
}

#[tokio::test]
async fn without_a_key_or_without_data_there_is_no_verdict() {
    let app = App::with(&[("FINGERPRINT_SECRET_KEY", "")]).await;
    assert_eq!(verdict(&app, &data("good.1")).await, Value::Null);
    assert_eq!(verdict(&App::new().await, "").await, Value::Null);
}
