//! DELETE /api/profiles/{id}: personal data is deleted, the histories stay.

use std::collections::BTreeSet;

use ::shared::pocketbase::records::PROFILE_COLLECTIONS;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{App, FormBody, JPEG, Mood, PNG, Proxy, Storage, photo, selfie, send_form, shared, unique};

/// Personal data that no record may hold after redaction.
const PERSONAL: [&str; 12] = [
    "Anna Eriksson",
    "L898902C3",
    "anna@example.com",
    "+65 1234",
    "1 Specimen Street",
    "1974-08-12",
    "203.0.113.7",
    "198.51.100.9",
    "SpecimenVisitor00001",
    "Anna's notes",
    "female",
    ".jpg",
];

/// A profile with every kind of record; its `userID`, its id and its flow token.
async fn person(app: &App) -> (String, String, String) {
    let token = app.token("postman").await;
    let user = unique("user");
    let person = json!({
        "userID": user, "name": "Anna Eriksson", "documentType": "passport", "documentNumber": "L898902C3", "country": "UTO",
        "phoneNumber": "+65 1234", "email": "anna@example.com", "gender": "female", "ipAddress": "198.51.100.9", "language": "xx-yy",
    });
    let created = app.post("/api/profiles/create").bearer(&token).json(&person).send().await;
    let (id, flow) = (created.text("/id"), created.text("/flow_token"));
    let files = FormBody::new().file("document_front", JPEG).file("document_back", PNG).file("facial_photo", JPEG);
    assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&flow).form(files).send().await.status, 200);
    for by_flow in [true, false, false] {
        let session = if by_flow { app.session(&flow, "live").await } else { app.session(&token, "live").await };
        let form = FormBody::new()
            .text("liveness_session_id", &session)
            .text("liveness_confidence", "95.5")
            .text("liveness_status", "live")
            .text("document_type", "passport")
            .text("document_number", "L898902C3")
            .text("country", "UTO")
            .text("name", "Anna Eriksson")
            .text("address", "1 Specimen Street")
            .text("gender", "female")
            .text("date_of_birth", "1974-08-12")
            .text("fingerprint", r#"{"event_id":"good.1","visitor_id":"SpecimenVisitor00001"}"#);
        let caller = if by_flow { &flow } else { &token };
        let verified = app.post(&format!("/api/verification_history/{id}")).bearer(caller).form(form).send().await;
        assert_eq!(verified.status, 201, "{verified:?}");
    }
    // A session whose result has not been read.
    app.session(&flow, "live").await;
    let status = json!({ "previous_status": "pending", "new_status": "verified", "notes": "Anna's notes" });
    assert_eq!(app.post(&format!("/api/status_history/{id}")).bearer(&token).json(&status).send().await.status, 201);
    (user, id, flow)
}

/// All records that belong to a profile.
async fn records(id: &str) -> Vec<Value> {
    let superuser = shared().await.superuser().await.unwrap();
    let mut records = Vec::new();
    for (collection, filter) in [
        ("profiles", format!("id=\"{id}\"")),
        ("verification_history", format!("profile=\"{id}\"")),
        ("status_history", format!("profile=\"{id}\"")),
        (
            "liveness_sessions",
            format!("profile=\"{id}\" || verification_history_via_liveness_session.profile ?= \"{id}\""),
        ),
    ] {
        records.extend(superuser.find(collection, &filter).await.unwrap());
    }
    records
}

async fn delete(app: &App, id: &str) -> u16 {
    app.ask("DELETE", &format!("/api/profiles/{id}")).bearer(&app.token("postman").await).send().await.status
}

fn personal(records: &[Value]) -> Vec<&'static str> {
    let text = Value::from(records.to_vec()).to_string();
    PERSONAL.into_iter().filter(|personal| text.contains(personal)).collect()
}

#[tokio::test]
async fn redaction_deletes_personal_data_and_keeps_the_histories() {
    let app = App::new().await;
    let (user, id, flow) = person(&app).await;
    let before = records(&id).await;
    assert_eq!((before.len(), personal(&before).len()), (9, PERSONAL.len()), "{:?}", personal(&before));
    let file = {
        let server = shared().await;
        let token = server.superuser().await.unwrap().call(Method::POST, "/api/files/token", None).await.unwrap();
        let (name, token) = (before[0]["document_front"].as_str().unwrap(), token["token"].as_str().unwrap());
        format!("{}/api/files/profiles/{id}/{name}?token={token}", server.url)
    };
    assert_eq!(reqwest::get(&file).await.unwrap().status(), 200);

    for _ in 0..2 {
        assert_eq!(delete(&app, &id).await, 204);
    }
    let after = records(&id).await;
    assert_eq!((after.len(), personal(&after)), (before.len(), vec![]));
    assert!(!Value::from(after.clone()).to_string().contains(&user));
    assert!(after.iter().all(|record| record["redacted"] == true));
    assert_eq!(reqwest::get(&file).await.unwrap().status(), 404, "the file itself is gone");
    for (before, after) in before.iter().zip(&after) {
        for kept in
            ["id", "team", "status", "previous_status", "new_status", "liveness_status", "liveness_verified", "created"]
        {
            assert_eq!(before[kept], after[kept], "{kept} stays");
        }
    }
    let audit = shared().await.superuser().await.unwrap().find("audit", &format!("subject=\"{id}\"")).await.unwrap();
    assert_eq!(audit.len(), 1);
    assert_eq!((&audit[0]["action"], &audit[0]["actor"]), (&json!("profile.redacted"), &json!("postman")));

    // No route finds the profile, and the same person is somebody new.
    let token = app.token("postman").await;
    let path = format!("/api/profiles/{id}");
    let status = json!({ "previous_status": "a", "new_status": "pending", "notes": "n" });
    for bearer in [&token, &flow] {
        assert_eq!(app.get(&path).bearer(bearer).send().await.status, 404);
        assert_eq!(
            app.patch(&path).bearer(bearer).form(FormBody::new().file("facial_photo", JPEG)).send().await.status,
            404
        );
        assert_eq!(
            app.post(&format!("/api/status_history/{id}")).bearer(bearer).json(&status).send().await.status,
            404
        );
    }
    assert_eq!(app.post("/api/face-liveness/session").bearer(&flow).send().await.status, 404);
    // Nor a face: neither one that was kept, nor one that AWS still knows.
    let sessions: Vec<_> = before.iter().filter_map(|record| record["session_id"].as_str()).collect();
    assert_eq!(sessions.len(), 4);
    for session in sessions {
        for bearer in [&token, &flow] {
            let results = app.get(&format!("/api/face-liveness/results/{session}")).bearer(bearer).send().await;
            assert_eq!(results.status, 404, "{results:?}");
        }
    }
    let again = app.post("/api/profiles/create").bearer(&token).json(&json!({ "userID": user })).send().await;
    assert!(again.status == 201 && again.text("/id") != id);
}

#[tokio::test]
async fn only_the_team_of_a_profile_may_redact_it_and_others_get_404() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let ask =
        async |token: &str, id: &str| app.ask("DELETE", &format!("/api/profiles/{id}")).bearer(token).send().await;
    let other = app.token("other").await;
    assert_eq!(ask(&other, &id).await.body, ask(&other, "abc123def456ghi").await.body);
    for (token, status) in [(other, 404), (flow, 403), (app.token("limited").await, 403)] {
        assert_eq!(ask(&token, &id).await.status, status);
    }
    assert_eq!(ask(&app.token("postman").await, "not-an-id").await.status, 404);
    assert_eq!(app.get(&format!("/api/profiles/{id}")).bearer(&app.token("postman").await).send().await.status, 200);
    assert_eq!(ask(&app.token("root").await, &id).await.status, 204);
}

/// A redaction that fails after any of its calls is finished by the next request.
#[tokio::test]
async fn an_interrupted_redaction_is_finished_by_the_next() {
    let proxy = Proxy::new().await;
    let app = App::new().await;
    let (_, id, _) = person(&app).await;
    let mut interrupted = 0;
    for calls in 0.. {
        let behind = App::behind(&proxy, &[]).await;
        proxy.set(Mood::Honest);
        delete(&behind, "abc123def456ghi").await;
        proxy.set(Mood::After(calls));
        match delete(&behind, &id).await {
            503 => interrupted += 1,
            204 => break,
            status => panic!("{status} after {calls} calls"),
        }
        assert_eq!(
            app.get(&format!("/api/profiles/{id}")).bearer(&app.token("postman").await).send().await.status,
            if calls > 2 { 404 } else { 200 }
        );
    }
    assert!(interrupted > 8, "{interrupted}");
    assert_eq!(personal(&records(&id).await), [""; 0]);
    let audit = shared().await.superuser().await.unwrap().find("audit", &format!("subject=\"{id}\"")).await.unwrap();
    assert_eq!(audit.len(), 1);
}

/// The rules of PocketBase let the service account redact, and change nothing else of a history.
#[tokio::test]
async fn a_history_can_be_redacted_and_not_rewritten() {
    let app = App::new().await;
    let (_, id, _) = person(&app).await;
    let server = shared().await;
    let settings = crate::support::settings();
    let credentials =
        json!({ "identity": settings.get("PB_USER_EMAIL"), "password": settings.get("PB_USER_PASSWORD") });
    let http = reqwest::Client::new();
    let url = format!("{}/api/collections/users/auth-with-password", server.url);
    let signed_in: Value = http.post(url).json(&credentials).send().await.unwrap().json().await.unwrap();
    let token = signed_in["token"].as_str().unwrap();
    let emptied = json!({
        "redacted": true, "document_number": "", "country": "", "name": "", "address": "", "gender": "", "date_of_birth": "",
        "ip_address": "", "facial_photo": "", "document_front": "", "document_back": "",
    });
    let with = |field: &str, value: Value| {
        let mut body = emptied.clone();
        body[field] = value;
        body
    };
    let superuser = server.superuser().await.unwrap();
    let records = superuser.find("verification_history", &format!("profile=\"{id}\"")).await.unwrap();
    let record = records[0]["id"].as_str().unwrap();
    for (body, status) in [
        (json!({ "name": "Somebody" }), 404),
        (json!({ "redacted": true }), 404),
        (with("name", "Somebody".into()), 404),
        (with("status", "verified".into()), 404),
        (with("liveness_verified", true.into()), 404),
        (with("redacted", false.into()), 404),
        (emptied.clone(), 200),
        (emptied.clone(), 404),
    ] {
        let url = format!("{}/api/collections/verification_history/records/{record}", server.url);
        let answer = http.patch(url).header("authorization", token).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{body}");
    }
    let url = |collection: &str, id: &str| format!("{}/api/collections/{collection}/records/{id}", server.url);
    let status = superuser.find("status_history", &format!("profile=\"{id}\"")).await.unwrap();
    for body in [json!({ "notes": "x" }), json!({ "redacted": true, "notes": "", "new_status": "verified" })] {
        let answer =
            http.patch(url("status_history", status[0]["id"].as_str().unwrap())).header("authorization", token);
        assert_eq!(answer.json(&body).send().await.unwrap().status(), 404, "{body}");
    }
    let session =
        superuser.find("liveness_sessions", &format!("profile=\"{id}\" && status=\"SUCCEEDED\"")).await.unwrap();
    for body in [
        json!({ "confidence": 99.9 }),
        json!({ "redacted": true, "reference_image": "", "audit_images": "", "confidence": 1 }),
    ] {
        let answer =
            http.patch(url("liveness_sessions", session[0]["id"].as_str().unwrap())).header("authorization", token);
        assert_eq!(answer.json(&body).send().await.unwrap().status(), 404, "{body}");
    }
}

#[tokio::test]
async fn redaction_deletes_uploads_checks_and_webhooks() {
    let storage = Storage::new().await;
    let superuser = shared().await.superuser().await.unwrap();
    let team = unique("team");
    let key = unique("sk_");
    let partner = json!({
        "name": unique("partner"), "team": team, "active": true, "secret_key_hash": shared::auth::hash_api_key(&key),
        "webhook_url": "https://partner.example/", "webhook_events": ["check.completed", "profile.status_changed"],
    });
    superuser.create("partners", partner).await.unwrap();
    let app = App::with(&storage.variables()).await;
    let user = unique("user");
    let said = json!({ "person": "anna" });
    let form = FormBody::new()
        .text("user_id", &user)
        .text("user_email", "anna@example.com")
        .text("user_phone", "+65 1234")
        .file("selfie_video", &selfie(&said))
        .file("id_photo", &photo(&said));
    assert_eq!(app.post("/verif/submit").key(&key).form(form).send().await.status, 200);
    let id =
        superuser.find("profiles", &format!("user_id=\"{user}\"")).await.unwrap()[0]["id"].as_str().unwrap().to_owned();
    let upload = json!({ "field": "id_photo", "contentType": "image/png", "size": PNG.len(), "profileId": id });
    let upload = app.post("/api/uploads").key(&key).json(&upload).send().await;
    assert_eq!(send_form(&upload.body, PNG).await, 204);
    let prefix = format!("people/{id}/");
    // Two files and five frames of the check, and the upload.
    assert_eq!(storage.keys(&prefix).await.len(), 8);

    let root = app.token("root").await;
    for _ in 0..2 {
        assert_eq!(app.ask("DELETE", &format!("/api/profiles/{id}")).bearer(&root).send().await.status, 204);
    }
    assert_eq!(storage.keys(&prefix).await, Vec::<String>::new());
    let marker = format!("redactions/{id}");
    assert_eq!(storage.keys(&marker).await, std::slice::from_ref(&marker), "it can be repeated after a restore");
    let filter = format!("profile=\"{id}\"");
    assert_eq!(superuser.find("uploads", &filter).await.unwrap(), Vec::<Value>::new());
    let (checks, deliveries) = (
        superuser.find("checks", &filter).await.unwrap(),
        superuser.find("webhook_deliveries", &filter).await.unwrap(),
    );
    assert_eq!((checks.len(), deliveries.len()), (1, 2));
    assert_eq!(checks[0]["status"], "verified", "the decision stays");
    for record in checks.iter().chain(&deliveries) {
        let text = record.to_string();
        for personal in [user.as_str(), "anna@example.com", "+65 1234", "people/"] {
            assert!(!text.contains(personal), "{personal} in {text}");
        }
    }
    // What was not delivered never will be, and is not shown.
    let listed = app.get("/api/webhooks/deliveries").key(&key).send().await;
    assert_eq!(listed.body["data"], json!([]));
    // A form that was given out before can still be sent; what it brought is gone after the next cleaning.
    assert_eq!(send_form(&upload.body, PNG).await, 204);
    app.clean().await.unwrap();
    assert_eq!(storage.keys(&prefix).await, Vec::<String>::new());
}

/// A document that was analysed before its person had a profile belongs to nobody, until the partner names it.
#[tokio::test]
async fn an_upload_without_a_profile_is_deleted_if_the_request_names_it() {
    let storage = Storage::new().await;
    let app = App::with(&storage.variables()).await;
    let token = app.token("root").await;
    let announce = async |token: &str| {
        let upload = json!({ "field": "document_front", "contentType": "image/png", "size": PNG.len() });
        let upload = app.post("/api/uploads").bearer(token).json(&upload).send().await;
        assert_eq!(send_form(&upload.body, PNG).await, 204);
        upload.text("/upload_id")
    };
    let (own, others) = (announce(&token).await, announce(&app.token("other").await).await);
    let form = FormBody::new().text("document_front", &format!("upload:{own}"));
    assert_eq!(app.post("/api/ollama/document-analysis").bearer(&token).form(form).send().await.status, 200);
    let (id, _) = app.profile("postman").await;
    for _ in 0..2 {
        let path = format!("/api/profiles/{id}?upload_id={own}");
        assert_eq!(app.ask("DELETE", &path).bearer(&token).send().await.status, 204);
    }
    let key = |id: &str| format!("people/unknown/uploads/{id}");
    assert_eq!(storage.keys(&key(&own)).await, Vec::<String>::new());
    let superuser = shared().await.superuser().await.unwrap();
    assert_eq!(superuser.find("uploads", &format!("id=\"{own}\"")).await.unwrap(), Vec::<Value>::new());
    // Another caller's upload stays.
    let path = format!("/api/profiles/{id}?upload_id={others}");
    assert_eq!(app.ask("DELETE", &path).bearer(&token).send().await.status, 204);
    assert_eq!(storage.keys(&key(&others)).await.len(), 1);
    let malformed = app.ask("DELETE", &format!("/api/profiles/{id}?upload_id=x")).bearer(&token).send().await;
    assert_eq!((malformed.status, malformed.text("/field")), (400, "upload_id".to_owned()));
}

/// A collection with a relation to `profiles` holds data of a person, and redaction must know it.
#[tokio::test]
async fn redaction_covers_every_collection_with_a_relation_to_profiles() {
    let superuser = shared().await.superuser().await.unwrap();
    let collections = superuser.call(Method::GET, "/api/collections?perPage=200", None).await.unwrap();
    let collections = collections["items"].as_array().unwrap();
    let profiles = collections.iter().find(|collection| collection["name"] == "profiles").unwrap();
    let refers = |collection: &&Value| {
        let fields = collection["fields"].as_array().unwrap();
        fields.iter().any(|field| field["type"] == "relation" && field["collectionId"] == profiles["id"])
    };
    let base = collections.iter().filter(|collection| collection["type"] == "base").filter(refers);
    let related: BTreeSet<_> = base.map(|collection| collection["name"].as_str().unwrap()).collect();
    let redacted: BTreeSet<_> = PROFILE_COLLECTIONS.iter().map(|(collection, _)| *collection).collect();
    assert_eq!(related, redacted, "add the collection to shared/src/pocketbase/records/redaction.rs");
}
