//! What a person, or a partner, can use of the service: attempts, numbered actions, budgets, tokens, and conditions of a check.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::attacks::{Bench, NO_REKOGNITION, anna, assert_found, problem};
use crate::support::{Answer, FormBody, JPEG, PNG, photo, selfie, shared, unique};

#[tokio::test]
async fn attempts_are_given_back_twice_a_day_and_bogus_uploads_use_up_none() {
    let bench = Bench::new(&[("MAX_VERIFICATION_ATTEMPTS", "2"), NO_REKOGNITION]).await;
    let (id, flow) = bench.app.person(&bench.partner, json!({})).await;
    let bogus = || FormBody::new().text("selfie_video", "upload:000000000000000").file("id_photo", &photo(&anna()));
    for _ in 0..3 {
        assert_eq!(bench.app.post("/verif/submit").bearer(&flow).form(bogus()).send().await.status, 404);
    }
    assert_eq!(bench.find("checks", &format!("profile=\"{id}\"")).await, Vec::<Value>::new());
    // A photo that makes the model fail: two free calls, two that count, and no more.
    let failing = photo(&json!({ "person": "anna", "simulate": "failing" }));
    for _ in 0..4 {
        assert_eq!(bench.submit(&flow, &selfie(&anna()), &failing).await.status, 500);
    }
    assert_eq!(bench.submit(&flow, &selfie(&anna()), &failing).await.status, 429);
    assert_eq!(bench.find("checks", &format!("profile=\"{id}\"")).await.len(), 4);
}

#[tokio::test]
async fn what_a_flow_token_does_is_numbered_and_its_word_for_the_status_is_not_used() {
    let bench =
        Bench::new(&[("MAX_ANALYSES", "2"), ("MAX_STATUS_ENTRIES", "2"), ("MAX_UPDATES", "2"), NO_REKOGNITION]).await;
    let (id, flow) = bench.app.person(&bench.partner, json!({})).await;
    let app = &bench.app;
    let analyze = async || {
        let form = FormBody::new().file("document_front", &photo(&anna()));
        app.post("/api/ollama/document-analysis").bearer(&flow).form(form).send().await.status
    };
    let record = async || {
        let entry = json!({ "previous_status": "verified", "new_status": "pending", "notes": "Me" });
        app.post(&format!("/api/status_history/{id}")).bearer(&flow).json(&entry).send().await.status
    };
    let update = async || {
        let form = FormBody::new().file("facial_photo", JPEG);
        app.patch(&format!("/api/profiles/{id}")).bearer(&flow).form(form).send().await.status
    };
    let sorted = |mut statuses: Vec<u16>| {
        statuses.sort_unstable();
        statuses
    };
    assert_eq!(sorted(join_all((0..4).map(|_| analyze())).await), [200, 200, 429, 429]);
    assert_eq!(sorted(join_all((0..4).map(|_| record())).await), [201, 201, 429, 429]);
    assert_eq!(sorted(join_all((0..4).map(|_| update())).await), [200, 200, 429, 429]);
    let entries = bench.find("status_history", &format!("profile=\"{id}\"")).await;
    assert!(entries.iter().all(|entry| entry["previous_status"] != "verified"), "{entries:?}");
    assert_eq!(app.standins.requests().len(), 2, "refused analyses do not reach the model");
}

#[tokio::test]
async fn budgets_of_a_partner_and_day_hold_for_concurrent_requests() {
    let bench = Bench::new(&[NO_REKOGNITION]).await;
    let budgets = json!({ "daily_checks": 2, "daily_people": 2, "daily_upload_megabytes": 1 });
    let partner = bench.app.partner(budgets).await;
    let count = |answers: &[Answer], status: u16| answers.iter().filter(|answer| answer.status == status).count();
    let links =
        join_all((0..4).map(|_| async { bench.app.get(&partner.open_link(&unique("user"))).send().await })).await;
    assert_eq!((count(&links, 303), count(&links, 429)), (2, 2), "{links:?}");
    assert!(links.iter().filter(|answer| answer.status == 429).all(|answer| problem(answer) == "used_up"));
    // A person who is known already comes back.
    let token = links.iter().find(|answer| answer.status == 303).unwrap().header("location").to_owned();
    let user = shared().await.superuser().await.unwrap().find("profiles", &format!("team=\"{}\"", partner.team)).await;
    let user = user.unwrap()[0]["user_id"].as_str().unwrap().to_owned();
    assert_eq!(bench.app.get(&partner.open_link(&user)).send().await.status, 303);

    let token = token.strip_prefix("/verif/?token=").unwrap().to_owned();
    let announce = |size: u64| {
        let body = json!({ "field": "id_photo", "contentType": "image/png", "size": size });
        bench.app.post("/api/uploads").bearer(&token).json(&body)
    };
    let uploads = join_all((0..4).map(|_| announce(400_000).send())).await;
    assert_eq!((count(&uploads, 201), count(&uploads, 429)), (2, 2), "{uploads:?}");
    let refused = uploads.iter().find(|answer| answer.status == 429).unwrap();
    assert_eq!(
        (refused.text("/error"), refused.text("/reason")),
        ("Daily budget used up".into(), "daily_upload_bytes".into())
    );
    assert_ne!(refused.header("retry-after"), "");
    assert_eq!(announce(u64::try_from(PNG.len()).unwrap()).send().await.status, 201, "what still fits");

    // Open links use up nothing of what the partner's backend and its signed links have.
    assert_eq!(bench.app.get(&partner.signed_link(&unique("user"), 60)).send().await.status, 303);
    let people = join_all((0..4).map(|_| bench.app.person(&partner, json!({})))).await;
    let (video, card) = (selfie(&anna()), photo(&anna()));
    let checks = join_all(people.iter().map(|(_, flow)| bench.submit(flow, &video, &card))).await;
    assert_eq!((count(&checks, 200), count(&checks, 429)), (2, 2), "{checks:?}");
}

#[tokio::test]
async fn a_flow_token_ends_with_its_profile() {
    let bench = Bench::new(&[]).await;
    let (id, flow) = bench.app.person(&bench.partner, json!({})).await;
    let root = bench.app.token("root").await;
    assert_eq!(bench.app.ask("DELETE", &format!("/api/profiles/{id}")).bearer(&root).send().await.status, 204);
    let announced = json!({ "field": "id_photo", "contentType": "image/png", "size": 9 });
    let app = &bench.app;
    let image = || FormBody::new().file("document_front", JPEG);
    for (what, ask) in [
        ("profile", app.get(&format!("/api/profiles/{id}"))),
        ("settings", app.get("/api/settings")),
        ("credentials", app.get("/api/aws/credentials")),
        ("analysis", app.post("/api/ollama/document-analysis").form(image())),
        ("upload", app.post("/api/uploads").json(&announced)),
        ("session", app.post("/api/face-liveness/session")),
        ("update", app.patch(&format!("/api/profiles/{id}")).form(image())),
        (
            "submission",
            app.post("/verif/submit")
                .form(FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &photo(&anna()))),
        ),
    ] {
        assert_eq!(ask.bearer(&flow).send().await.status, 404, "{what}");
    }
    assert_eq!(app.get(&format!("/verif/?token={flow}")).send().await.status, 404);
}

#[tokio::test]
async fn an_event_of_fingerprint_serves_one_person() {
    let bench = Bench::new(&[]).await;
    let event = unique("good.e");
    let send = async |flow: &str, id: &str| {
        let session = bench.app.session(flow, "live").await;
        let form = FormBody::new()
            .text("liveness_session_id", &session)
            .text("liveness_confidence", "95.5")
            .text("liveness_status", "live")
            .text("document_type", "passport")
            .text("fingerprint", &event)
            .file("facial_photo", JPEG)
            .file("document_front", JPEG);
        let path = format!("/api/verification_history/{id}");
        let answer = bench.app.post(&path).bearer(flow).form(form).send().await;
        assert_eq!(answer.status, 201, "the record is never lost: {answer:?}");
        let record = bench.find("verification_history", &format!("id=\"{}\"", answer.text("/data/id"))).await.remove(0);
        record["fingerprint_verdict"]["result"].as_str().unwrap().to_owned()
    };
    let (id, flow) = bench.app.person(&bench.partner, json!({})).await;
    let (other, other_flow) = bench.app.person(&bench.partner, json!({})).await;
    assert_eq!(send(&flow, &id).await, "pass");
    assert_eq!(send(&other_flow, &other).await, "fail");
    assert_eq!(send(&flow, &id).await, "pass", "the same person again");
}

#[tokio::test]
async fn where_face_liveness_is_required_nothing_is_verified_without_it() {
    let bench = Bench::new(&[("REQUIRE_FACE_LIVENESS", "true")]).await;
    let (_, flow) = bench.app.person(&bench.partner, json!({})).await;
    let answer = bench.submit(&flow, &selfie(&anna()), &photo(&anna())).await;
    assert_found(&answer, "pending", "liveness_missing");
    // Not by a session that failed, or one of another profile.
    let (_, other) = bench.app.person(&bench.partner, json!({})).await;
    for (token, outcome) in [(&flow, "not_live"), (&other, "live")] {
        let session = bench.app.session(token, outcome).await;
        let results = format!("/api/face-liveness/results/{session}");
        assert_eq!(bench.app.get(&results).bearer(token).send().await.status, 200);
    }
    assert_found(&bench.submit(&flow, &selfie(&anna()), &photo(&anna())).await, "pending", "liveness_missing");
    // The reference image of the stand-in's sessions shows nobody in particular, and so not Anna.
    let session = bench.app.session(&flow, "live").await;
    bench.app.get(&format!("/api/face-liveness/results/{session}")).bearer(&flow).send().await;
    assert_found(&bench.submit(&flow, &selfie(&anna()), &photo(&anna())).await, "pending", "liveness_face_differs");
    let (_, flow) = bench.app.person(&bench.partner, json!({})).await;
    let session = bench.app.session(&flow, "live").await;
    bench.app.get(&format!("/api/face-liveness/results/{session}")).bearer(&flow).send().await;
    let nobody = json!({ "name": "No Body", "document_number": "N1" });
    let answer = bench.submit(&flow, &selfie(&json!({ "serial": 1 })), &photo(&nobody)).await;
    assert_eq!(answer.text("/result/status"), "verified", "{answer:?}");
}
