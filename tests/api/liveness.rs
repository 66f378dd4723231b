//! Face Liveness: sessions, their owners, and results as AWS gave them.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, App, Clock, FormBody, JPEG, Mood, NO_AWS, Proxy, STATIC_KEY, shared};

const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

async fn create(app: &App, token: &str, key: Option<&str>) -> Answer {
    let ask = app.post("/api/face-liveness/session").bearer(token);
    match key {
        Some(key) => ask.header("idempotency-key", key),
        None => ask,
    }
    .send()
    .await
}

async fn results(app: &App, token: &str, session: &str) -> Answer {
    app.get(&format!("/api/face-liveness/results/{session}")).bearer(token).send().await
}

fn claim(session: &str, confidence: &str, status: &str) -> FormBody {
    FormBody::new()
        .text("liveness_session_id", session)
        .text("liveness_confidence", confidence)
        .text("liveness_status", status)
        .text("document_type", "passport")
        .file("facial_photo", JPEG)
        .file("document_front", JPEG)
}

async fn verify(app: &App, token: &str, profile: &str, form: FormBody) -> Answer {
    app.post(&format!("/api/verification_history/{profile}")).bearer(token).form(form).send().await
}

async fn stored(collection: &str, filter: &str) -> Vec<Value> {
    shared().await.superuser().await.unwrap().find(collection, filter).await.unwrap()
}

fn calls_of(app: &App, operation: &str) -> Vec<Value> {
    app.standins.requests().into_iter().filter_map(|request| request.get(operation).cloned()).collect()
}

#[tokio::test]
async fn a_request_that_is_sent_again_gets_the_same_session_and_nobody_elses_does() {
    let app = App::new().await;
    let (_, flow) = app.profile("postman").await;
    let (_, other_flow) = app.profile("postman").await;
    let tokens = [app.token("postman").await, app.token("other").await, app.token("root").await, flow, other_flow];
    let mut sessions = BTreeSet::new();
    for token in &tokens {
        let first = create(&app, token, Some("order-66")).await.text("/sessionId");
        let again = join_all((0..5).map(|_| create(&app, token, Some("order-66")))).await;
        assert!(again.iter().all(|again| again.status == 200 && again.text("/sessionId") == first), "{again:?}");
        assert_eq!(stored("liveness_sessions", &format!("session_id=\"{first}\"")).await.len(), 1);
        sessions.insert(first);
        sessions.insert(create(&app, token, Some("order-67")).await.text("/sessionId"));
        // Without a key each request is one of its own.
        sessions.insert(create(&app, token, None).await.text("/sessionId"));
        sessions.insert(create(&app, token, None).await.text("/sessionId"));
    }
    assert_eq!(sessions.len(), tokens.len() * 4, "no two callers share one");
    // The same key with other settings is another request: AWS would call it a mistake.
    let with_images = app.post("/api/face-liveness/session").bearer(&tokens[0]).header("idempotency-key", "order-66");
    let with_images = with_images.json(&json!({ "auditImagesLimit": 1 })).send().await.text("/sessionId");
    assert!(sessions.insert(with_images));
    let sent = calls_of(&app, "CreateFaceLivenessSession");
    let tokens: BTreeSet<_> = sent.iter().map(|call| call["ClientRequestToken"].as_str().unwrap()).collect();
    assert!(tokens.iter().all(|token| token.len() == 43 && !token.contains("order")), "{tokens:?}");
    let challenge = &sent[0]["Settings"]["ChallengePreferences"];
    assert_eq!(challenge, &json!([{ "Type": "FaceMovementAndLightChallenge" }]));
}

#[tokio::test]
async fn an_idempotency_key_has_limits() {
    let app = App::new().await;
    let token = app.token("postman").await;
    assert_eq!(create(&app, &token, Some(&"k".repeat(255))).await.status, 200);
    for bad in ["", &"k".repeat(256), "schlüssel"] {
        let answer = create(&app, &token, Some(bad)).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!("Idempotency-Key")), "{bad}");
    }
}

#[tokio::test]
async fn sessions_are_limited_per_day_also_when_simultaneous() {
    let app = App::with(&[("MAX_LIVENESS_SESSIONS", "6")]).await;
    let (_, flow) = app.profile("postman").await;
    let answers = join_all((0..15).map(|_| create(&app, &flow, None))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(200), count(429)), (6, 9), "{answers:?}");
    app.standins.requests();
    let refused = create(&app, &flow, None).await;
    assert_eq!((refused.status, &refused.body["error"]), (429, &json!("Too many Face Liveness sessions")));
    assert!(refused.header("retry-after").parse::<u32>().unwrap() <= 86_400);
    assert!(calls_of(&app, "CreateFaceLivenessSession").is_empty(), "AWS is not troubled");
    assert_eq!(create(&app, &app.token("postman").await, None).await.status, 200, "the limit is for people");
}

#[tokio::test]
async fn audit_images_come_as_asked_for() {
    let app = App::new().await;
    let token = app.token("postman").await;
    for (body, count) in [(json!({}), 0), (json!({ "auditImagesLimit": 2 }), 2), (json!({ "auditImagesLimit": 4 }), 4)]
    {
        let created = app.post("/api/face-liveness/session").bearer(&token).json(&body).send().await;
        let session = created.text("/sessionId");
        assert!(app.standins.end_session(&session, "live"));
        // As AWS gave them, and as they were kept.
        for _ in 0..2 {
            let answer = results(&app, &token, &session).await;
            let images = answer.body["data"]["auditImages"].as_array().unwrap().clone();
            assert_eq!(images.len(), count);
            assert!(images.iter().all(|image| image["boundingBox"]["Width"] == 0.5 && image["bytes"].is_string()));
        }
    }
    for bad in [json!({ "auditImagesLimit": 5 }), json!({ "auditImagesLimit": -1 }), json!({ "auditImagesLimit": "2" })]
    {
        let answer = app.post("/api/face-liveness/session").bearer(&token).json(&bad).send().await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!("auditImagesLimit")), "{bad}");
    }
    let answer = app.post("/api/face-liveness/session").bearer(&token).body("text/plain", "hello").send().await;
    assert_eq!(answer.status, 415);
}

#[tokio::test]
async fn a_result_is_kept_when_it_is_first_read_and_aws_is_not_asked_again() {
    let app = App::new().await;
    let (_, flow) = app.profile("postman").await;
    let session = create(&app, &flow, None).await.text("/sessionId");
    for open in ["created", "in_progress"] {
        assert!(app.standins.end_session(&session, open));
        let answer = results(&app, &flow, &session).await;
        let status = if open == "created" { "CREATED" } else { "IN_PROGRESS" };
        let expected = json!({ "sessionId": session, "status": status, "isLive": false });
        assert_eq!((answer.status, &answer.body["data"]), (200, &expected));
    }
    assert!(app.standins.end_session(&session, "live"));
    let first = results(&app, &flow, &session).await;
    assert_eq!((first.status, &first.body["data"]["isLive"]), (200, &json!(true)));
    assert_eq!(calls_of(&app, "GetFaceLivenessSessionResults").len(), 3);
    assert!(app.standins.end_session(&session, "forgotten"));
    // Also by a process that has never seen it, and where AWS is not configured any more.
    for app in [app, App::with(&NO_AWS).await] {
        let again = results(&app, &flow, &session).await;
        assert_eq!((again.status, &again.body, again.header("cache-control")), (200, &first.body, "no-store"));
        assert_eq!(calls_of(&app, "GetFaceLivenessSessionResults"), [Value::Null; 0]);
    }
    let record = &stored("liveness_sessions", &format!("session_id=\"{session}\"")).await[0];
    let file = format!("{}/api/files/liveness_sessions/{}", shared().await.url, record["id"].as_str().unwrap());
    let file = format!("{file}/{}", record["reference_image"].as_str().unwrap());
    assert_eq!(reqwest::get(file).await.unwrap().status(), 404, "a face is a protected file");
}

#[tokio::test]
async fn simultaneous_first_readers_are_all_answered_and_one_outcome_is_kept() {
    let app = App::new().await;
    let (_, flow) = app.profile("postman").await;
    let session = app.session(&flow, "81.25").await;
    let answers = join_all((0..8).map(|_| results(&app, &flow, &session))).await;
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body == answers[0].body), "{answers:?}");
    let record = &stored("liveness_sessions", &format!("session_id=\"{session}\"")).await[0];
    assert_eq!((&record["status"], &record["confidence"]), (&json!("SUCCEEDED"), &json!(81.25)));
    assert!(record["reference_image"].as_str().unwrap().ends_with(".jpg"));
}

/// A result that PocketBase could not store is not returned, and read again for the next request.
#[tokio::test]
async fn a_result_that_could_not_be_kept_is_read_again() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (_, flow) = app.profile("postman").await;
    let session = app.session(&flow, "live").await;
    results(&app, &flow, UNKNOWN).await;
    proxy.set(Mood::RefusingWrites);
    assert_eq!(results(&app, &flow, &session).await.status, 503);
    proxy.set(Mood::Honest);
    assert_eq!(results(&app, &flow, &session).await.status, 200);
}

#[tokio::test]
async fn is_live_needs_success_and_the_threshold() {
    let app = App::with(&[("FACE_LIVENESS_THRESHOLD", "80.5")]).await;
    let token = app.token("postman").await;
    for (outcome, is_live, score) in
        [("80.5", true, Some(80.5)), ("80.4", false, Some(80.4)), ("100", true, Some(100.0)), ("failed", false, None)]
    {
        let session = app.session(&token, outcome).await;
        for _ in 0..2 {
            let answer = results(&app, &token, &session).await;
            assert_eq!((answer.status, &answer.body["data"]["isLive"]), (200, &json!(is_live)), "{outcome}");
            assert_eq!(answer.body["data"]["confidenceScore"].as_f64(), score, "{outcome}");
            let status = if score.is_none() { json!("FAILED") } else { Value::Null };
            assert_eq!(answer.body["data"]["status"], status);
        }
    }
}

#[tokio::test]
async fn a_session_that_expired_or_is_unknown_or_no_session_at_all_is_not_found() {
    let app = App::new().await;
    let token = app.token("postman").await;
    let (expired, forgotten) = (app.session(&token, "expired").await, app.session(&token, "forgotten").await);
    for session in [&expired, &expired, &forgotten, &forgotten, UNKNOWN, "session-xyz", "..%2F..%2Fsettings"] {
        let answer = results(&app, &token, session).await;
        let expected =
            json!({ "error": "Session not found", "message": "Face Liveness session ID is invalid or expired" });
        assert_eq!((answer.status, &answer.body), (404, &expected), "{session}");
    }
}

/// Another team's session, another profile's, and one that does not exist: one answer, after the same calls.
#[tokio::test]
async fn a_session_answers_to_its_team_and_to_its_profile() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (_, flow) = app.profile("postman").await;
    let (_, other_flow) = app.profile("postman").await;
    let (mine, machines) = (app.session(&flow, "live").await, app.session(&app.token("postman").await, "live").await);
    results(&app, &flow, UNKNOWN).await;
    for (caller, sees_mine, sees_machines) in [
        (app.token("postman").await, true, true),
        (app.token("root").await, true, true),
        (flow, true, false),
        (other_flow, false, false),
        (app.token("other").await, false, false),
        (app.token("teamless").await, false, false),
    ] {
        proxy.calls();
        let nobodys = results(&app, &caller, UNKNOWN).await;
        let calls = proxy.calls();
        for (session, sees) in [(&mine, sees_mine), (&machines, sees_machines)] {
            proxy.calls();
            let answer = results(&app, &caller, session).await;
            assert_eq!(answer.status, if sees { 200 } else { 404 });
            if !sees {
                assert_eq!((&answer.body, &answer.headers, &proxy.calls()), (&nobodys.body, &nobodys.headers, &calls));
            }
        }
    }
}

#[tokio::test]
async fn a_verification_holds_what_aws_said() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    // With results that were read before, and without.
    for is_read in [true, false] {
        let session = app.session(&flow, "91.2345").await;
        if is_read {
            assert_eq!(results(&app, &flow, &session).await.status, 200);
        }
        let answer = verify(&app, &flow, &id, claim(&session, "91.23", "Live")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.body["data"]["liveness_confidence"], 91.2345);
        assert_eq!(answer.body["data"]["liveness_status"], "live");
        let record = &stored("verification_history", &format!("liveness_session_id=\"{session}\"")).await[0];
        assert_eq!(record["liveness_verified"], true);
    }
    let session = app.session(&flow, "not_live").await;
    assert_eq!(verify(&app, &flow, &id, claim(&session, "12.25", "not_live")).await.status, 201);
    let session = app.session(&flow, "failed").await;
    let answer = verify(&app, &flow, &id, claim(&session, "99", "not_live")).await;
    assert_eq!((answer.status, answer.body["data"]["liveness_confidence"].as_f64()), (201, Some(0.0)));
}

#[tokio::test]
async fn a_claim_that_aws_did_not_make_is_refused_to_browsers_and_partners_alike() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    for token in [&flow, &app.token("postman").await] {
        for (outcome, confidence, status, field) in [
            ("live", "99.9", "live", json!("liveness_confidence")),
            ("not_live", "95.5", "live", json!("liveness_status")),
            ("not_live", "12.25", "live", json!("liveness_status")),
            ("live", "95.5", "not_live", json!("liveness_status")),
            ("live", "95.5", "passed", json!("liveness_status")),
            ("failed", "95.5", "live", json!("liveness_status")),
            ("created", "95.5", "live", Value::Null),
            ("in_progress", "95.5", "live", Value::Null),
        ] {
            let session = app.session(&flow, outcome).await;
            let answer = verify(&app, token, &id, claim(&session, confidence, status)).await;
            assert_eq!((answer.status, &answer.body["field"]), (409, &field), "{outcome} {confidence} {status}");
        }
    }
    assert!(stored("verification_history", &format!("profile=\"{id}\"")).await.is_empty());
}

#[tokio::test]
async fn a_browser_needs_a_session_of_its_own_profile() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let (_, other_flow) = app.profile("postman").await;
    let partners = app.session(&app.token("postman").await, "live").await;
    let foreign = app.session(&app.token("other").await, "live").await;
    let (expired, forgotten) = (app.session(&flow, "expired").await, app.session(&flow, "forgotten").await);
    let others = app.session(&other_flow, "live").await;
    for session in [&partners, &foreign, &others, &expired, &forgotten, UNKNOWN, "session-xyz"] {
        let answer = verify(&app, &flow, &id, claim(session, "95.5", "live")).await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (409, &json!("Face Liveness session conflict")),
            "{session}"
        );
    }
    assert!(stored("verification_history", &format!("profile=\"{id}\"")).await.is_empty());
}

#[tokio::test]
async fn a_session_is_used_for_one_verification_also_when_simultaneous() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let (other, _) = app.profile("postman").await;
    let token = app.token("postman").await;
    let session = app.session(&flow, "live").await;
    let answers = join_all((0..6).map(|_| verify(&app, &flow, &id, claim(&session, "95.5", "live")))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(409)), (1, 5), "{answers:?}");
    assert_eq!(
        verify(&app, &token, &id, claim(&session, "95.5", "live")).await.status,
        409,
        "used up for partners too"
    );
    // Made for one profile, it is not another's; a partner's session is whose it is first used for.
    assert_eq!(verify(&app, &token, &other, claim(&session, "95.5", "live")).await.status, 409);
    let partners = app.session(&token, "live").await;
    assert_eq!(verify(&app, &token, &other, claim(&partners, "95.5", "live")).await.status, 201);
    assert_eq!(verify(&app, &token, &id, claim(&partners, "95.5", "live")).await.status, 409);
}

#[tokio::test]
async fn a_claim_of_a_partner_that_cannot_be_checked_is_stored_as_unverified() {
    let app = App::new().await;
    let (id, _) = app.profile("postman").await;
    let token = app.token("postman").await;
    let (forgotten, foreign) =
        (app.session(&token, "forgotten").await, app.session(&app.token("other").await, "live").await);
    for session in ["session-xyz", "session-xyz", UNKNOWN, &forgotten, &foreign] {
        assert_eq!(verify(&app, &token, &id, claim(session, "99.9", "live")).await.status, 201, "{session}");
    }
    // Who sees all teams cannot make one team's session vouch for another's person.
    let root = app.token("root").await;
    assert_eq!(verify(&app, &root, &id, claim(&foreign, "95.5", "live")).await.status, 201);
    let by_key = app.post(&format!("/api/verification_history/{id}")).key(STATIC_KEY);
    assert_eq!(by_key.form(claim("session-xyz", "1", "dead")).send().await.status, 201);
    let records = stored("verification_history", &format!("profile=\"{id}\"")).await;
    assert_eq!(records.len(), 7);
    assert!(records.iter().all(|record| record["liveness_verified"] == false && record["liveness_session"] == ""));
}

/// The time limit of one attempt of a call to AWS.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// Each kind of failure of AWS, on each route that calls it.
#[tokio::test]
async fn the_failures_of_aws_are_told_apart() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let session = app.session(&flow, "live").await;
    for (trouble, status, error) in [
        ("denied", 403, "AWS access denied"),
        ("throttled", 429, "Too many requests"),
        ("failing", 502, "Bad gateway"),
        ("malformed", 502, "Bad gateway"),
        ("slow", 504, "Upstream timeout"),
    ] {
        for (operation, route) in [
            ("CreateFaceLivenessSession", "create"),
            ("GetFaceLivenessSessionResults", "results"),
            ("GetFaceLivenessSessionResults", "verify"),
        ] {
            // The SDK makes two attempts of what may go better the second time.
            let attempts = if ["denied", "malformed"].contains(&trouble) { 1 } else { 2 };
            assert!(app.standins.trouble(operation, trouble, attempts));
            app.standins.requests();
            let ask = async {
                match route {
                    "create" => create(&app, &flow, None).await,
                    "results" => results(&app, &flow, &session).await,
                    _ => verify(&app, &flow, &id, claim(&session, "95.5", "live")).await,
                }
            };
            let (answer, made) = if trouble == "slow" {
                let clock = Clock::stopped();
                let time = async {
                    for _ in 0..attempts {
                        let call = async || calls_of(&app, operation).pop();
                        clock.advance_until("an attempt", call).await;
                        clock.advance(ATTEMPT_TIMEOUT).await;
                    }
                };
                let (answer, ()) = tokio::join!(ask, time);
                (answer, attempts + calls_of(&app, operation).len())
            } else {
                (ask.await, calls_of(&app, operation).len())
            };
            assert_eq!(made, attempts, "{trouble} {route}");
            assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{trouble} {route}");
            assert!(!answer.body.to_string().contains("stand-in"), "no word of AWS's: {answer:?}");
            assert_eq!(!answer.header("retry-after").is_empty(), status == 429, "{trouble} {route}");
        }
    }
    let senseless = app.session(&flow, "senseless").await;
    assert_eq!(results(&app, &flow, &senseless).await.status, 502);
    assert_eq!(results(&app, &flow, &session).await.status, 200, "and then all is well");
}

#[tokio::test]
async fn unreachable_aws_is_504_and_one_throttled_attempt_is_retried() {
    let app = App::new().await;
    let token = app.token("postman").await;
    assert!(app.standins.trouble("CreateFaceLivenessSession", "throttled", 1));
    assert_eq!(create(&app, &token, None).await.status, 200);
    assert_eq!(calls_of(&app, "CreateFaceLivenessSession").len(), 2, "attempted twice");
    let app = App::with(&[("AWS_ENDPOINT_URL_REKOGNITION", "http://127.0.0.1:1")]).await;
    assert_eq!(create(&app, &token, None).await.status, 504);
}

#[tokio::test]
async fn without_aws_sessions_are_501_and_verifications_are_claims() {
    for own in [
        NO_AWS,
        // A function's own role, which every function has, is not a configuration.
        [("AWS_ACCESS_KEY_ID", "ASIA"), ("AWS_SESSION_TOKEN", "token")],
    ] {
        let app = App::with(&own).await;
        let (id, _) = app.profile("postman").await;
        let token = app.token("postman").await;
        let answer = create(&app, &token, None).await;
        let expected = json!({
            "error": "AWS credentials not configured",
            "message": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set in environment variables",
        });
        assert_eq!((answer.status, &answer.body), (501, &expected));
        assert_eq!(results(&app, &token, UNKNOWN).await.status, 404);
        assert_eq!(verify(&app, &token, &id, claim("session-xyz", "95.5", "live")).await.status, 201);
    }
}
