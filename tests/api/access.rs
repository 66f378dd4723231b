//! Access control: which caller may call which route, and the separation of teams.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    Answer, App, FormBody, JPEG, Mood, PUBLISHABLE_KEY, Proxy, SECRET_KEY, STATIC_KEY, Stage, Storage,
    described_routes, moto, shared, stand_ins, unique,
};

/// The kinds of caller, in the order of the table's columns.
const CALLERS: [&str; 10] = [
    "nobody",
    "bearer",
    "bearer without the scope",
    "bearer of another team",
    "bearer of all teams",
    "flow token of this profile",
    "flow token of another profile",
    "static key",
    "partner's secret key",
    "publishable key",
];

/// The status that each route answers each kind of caller, for a valid request about a profile of team_123.
#[rustfmt::skip]
const TABLE: &[(&str, [u16; 10])] = &[
    ("GET /",                                       [401, 200, 403, 200, 200, 403, 403, 401, 401, 401]),
    // The token endpoint asks for a client's secret and nothing else; a bearer is not one.
    ("POST /api/auth/token",                        [200, 401, 401, 401, 401, 401, 401, 200, 200, 200]),
    ("GET /api/aws/credentials",                    [401, 200, 403, 200, 200, 200, 200, 401, 401, 401]),
    // The session is one of the flow token's.
    ("GET /api/face-liveness/results/{sessionId}",  [401, 200, 403, 404, 200, 200, 404, 401, 401, 401]),
    ("POST /api/face-liveness/session",             [401, 200, 403, 200, 200, 200, 200, 401, 401, 401]),
    // This is the scope that the third caller has.
    ("POST /api/ollama/document-analysis",          [401, 200, 200, 200, 200, 200, 200, 401, 401, 401]),
    ("POST /api/profiles/create",                   [401, 201, 403, 201, 201, 403, 403, 201, 201, 403]),
    ("GET /api/profiles/{id}",                      [401, 200, 403, 404, 200, 200, 403, 200, 200, 403]),
    ("PATCH /api/profiles/{id}",                    [401, 200, 403, 404, 200, 200, 403, 200, 200, 403]),
    // A token of its team would really delete it: this profile is nobody's.
    ("DELETE /api/profiles/{id}",                  [401, 404, 403, 404, 404, 403, 403, 401, 401, 401]),
    ("GET /api/settings",                           [401, 200, 403, 200, 200, 200, 200, 401, 401, 401]),
    ("POST /api/status_history/{id}",               [401, 201, 403, 404, 201, 201, 403, 201, 201, 403]),
    ("POST /api/uploads",                           [401, 201, 403, 201, 201, 201, 201, 201, 201, 403]),
    ("POST /api/verification_history/{id}",         [401, 201, 403, 404, 201, 201, 403, 201, 201, 403]),
    ("GET /api/webhooks/deliveries",                [401, 200, 403, 200, 200, 403, 403, 200, 200, 403]),
    // The webhook belongs to another partner of the same team.
    ("GET /api/webhooks/deliveries/{id}",           [401, 200, 403, 404, 200, 403, 403, 200, 404, 403]),
    ("POST /api/webhooks/deliveries/{id}/resend",   [401, 202, 403, 404, 202, 403, 403, 202, 404, 403]),
    // Credentials in the link, which has none of these: see page.rs.
    ("GET /verif/",                                 [400, 400, 400, 400, 400, 400, 400, 400, 400, 400]),
    // Without files: a 400 shows that the caller was let in. A flow token may not name another person.
    ("POST /verif/submit",                          [400, 403, 403, 403, 403, 400, 400, 400, 400, 403]),
    ("ANY /{*path}",                                [404, 404, 404, 404, 404, 404, 404, 404, 404, 404]),
];

fn status_body() -> Value {
    json!({ "previous_status": "unverified", "new_status": "pending", "notes": "Submitted" })
}

/// A partner's claim, or a session of Face Liveness.
fn verification_form(session: &str) -> FormBody {
    FormBody::new()
        .text("liveness_session_id", session)
        .text("liveness_confidence", "95.5")
        .text("document_type", "passport")
        .text("liveness_status", "live")
        .file("facial_photo", JPEG)
        .file("document_front", JPEG)
}

/// A claim of a session that nobody knows.
const CLAIM: &str = "session-xyz";

async fn call(app: &App, route: &str, id: &str, credential: Option<(&str, &str)>) -> Answer {
    call_with(app, route, id, CLAIM, credential).await
}

async fn call_with(app: &App, route: &str, id: &str, session: &str, credential: Option<(&str, &str)>) -> Answer {
    let (method, pattern) = route.split_once(' ').unwrap();
    let path = pattern.replace("{id}", id).replace("{sessionId}", session).replace("{*path}", "no/such/path");
    let ask = app.ask(if method == "ANY" { "GET" } else { method }, &path);
    let ask = match credential {
        Some((header, value)) => ask.header(header, value),
        None => ask,
    };
    match route {
        "POST /api/auth/token" => ask.json(&json!({ "client_id": "postman", "client_secret": "replace-me" })),
        "POST /api/profiles/create" => ask.json(&json!({ "userID": unique("user") })),
        "PATCH /api/profiles/{id}" => ask.form(FormBody::new().file("document_front", JPEG)),
        "POST /api/status_history/{id}" => ask.json(&status_body()),
        "POST /api/verification_history/{id}" => ask.form(verification_form(session)),
        "POST /api/uploads" => ask.json(&json!({ "field": "id_photo", "contentType": "image/png", "size": 9 })),
        "POST /verif/submit" => ask.form(FormBody::new()),
        "POST /api/ollama/document-analysis" => ask.form(FormBody::new().file("document_front", JPEG)),
        _ => ask,
    }
    .send()
    .await
}

/// A webhook about a profile of team_123 that is never delivered.
async fn delivery(profile: &str) -> String {
    let superuser = shared().await.superuser().await.unwrap();
    let partner = json!({ "name": unique("partner"), "team": "team_123", "active": true, "webhook_url": "https://partner.example" });
    superuser.create("partners", partner.clone()).await.unwrap();
    let partner = superuser.find("partners", &format!("name={}", partner["name"])).await.unwrap()[0]["id"].clone();
    let delivery = json!({
        "team": "team_123", "partner": partner, "profile": profile, "stream": unique("s"), "event": "check.completed",
        "payload": {}, "state": "pending", "next_attempt": "2100-01-01 00:00:00.000Z",
    });
    superuser.create("webhook_deliveries", delivery).await.unwrap();
    let found = superuser.find("webhook_deliveries", &format!("partner={partner}")).await.unwrap();
    found[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn each_route_answers_each_kind_of_caller_as_in_the_table() {
    let storage = Storage::new().await;
    let app = App::with(&[&storage.variables()[..], &[("AWS_ENDPOINT_URL", &moto().await.url)]].concat()).await;
    let (id, flow) = app.profile("postman").await;
    let delivery = delivery(&id).await;
    let (session, used) = (app.session(&flow, "live").await, app.session(&flow, "live").await);
    let (_, other_flow) = app.profile("postman").await;
    let bearer = |token: String| Some(("authorization", format!("Bearer {token}")));
    let key = |key: &str| Some(("x-api-key", key.to_owned()));
    let credentials = [
        None,
        bearer(app.token("postman").await),
        bearer(app.token("limited").await),
        bearer(app.token("other").await),
        bearer(app.token("root").await),
        bearer(flow),
        bearer(other_flow),
        key(STATIC_KEY),
        key(SECRET_KEY),
        key(PUBLISHABLE_KEY),
    ];
    let mut wrong = Vec::new();
    for &(route, expected) in TABLE {
        for ((caller, credential), expected) in CALLERS.iter().zip(&credentials).zip(expected) {
            let credential = credential.as_ref().map(|(name, value)| (*name, value.as_str()));
            let session = match (route, *caller) {
                ("POST /api/verification_history/{id}", "flow token of this profile") => &used,
                ("POST /api/verification_history/{id}", _) => CLAIM,
                _ => &session,
            };
            let id = match route {
                _ if route.starts_with("DELETE") => "abc123def456ghi",
                _ if route.contains("deliveries") => &delivery,
                _ => &id,
            };
            let answer = call_with(&app, route, id, session, credential).await;
            if answer.status != expected {
                wrong.push(format!("{route} by {caller}: {} and not {expected}: {}", answer.status, answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_route_has_a_row_in_the_table() {
    let rows: BTreeSet<_> =
        TABLE.iter().map(|(route, _)| (*route).to_owned()).filter(|route| !route.starts_with("ANY")).collect();
    let routes = described_routes().into_iter().map(|(method, path)| format!("{method} {path}"));
    assert_eq!(rows, routes.collect());
}

/// A profile of another team and one that does not exist are answered alike: status, body, headers, and the number of
/// calls that PocketBase gets, so that not even the time tells.
#[tokio::test]
async fn another_teams_profile_is_as_if_it_did_not_exist_on_every_route() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (theirs, _) = app.profile("postman").await;
    let nobodys = "abc123def456ghi";
    let token = format!("Bearer {}", app.token("other").await);
    for (route, _) in TABLE.iter().filter(|(route, _)| route.contains("{id}")) {
        let mut seen = Vec::new();
        // The first call signs in.
        call(&app, route, nobodys, Some(("authorization", &token))).await;
        for id in [theirs.as_str(), nobodys] {
            proxy.calls();
            let answer = call(&app, route, id, Some(("authorization", &token))).await;
            assert_eq!(answer.status, 404, "{route}");
            let calls: Vec<_> = proxy.calls().into_iter().map(|call| call.replace(id, "ID")).collect();
            seen.push((answer.body, answer.headers, calls));
        }
        assert_eq!(seen[0], seen[1], "{route}");
    }
}

#[tokio::test]
async fn a_verification_of_another_team_is_as_if_it_did_not_exist() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (theirs, _) = app.profile("postman").await;
    let (mine, _) = app.profile("other").await;
    let made = app.post(&format!("/api/verification_history/{theirs}")).bearer(&app.token("postman").await);
    let verification = made.form(verification_form(CLAIM)).send().await.text("/data/id");
    let token = app.token("other").await;
    let mut seen = Vec::new();
    // The first call signs in.
    call(&app, "POST /api/status_history/{id}", &mine, None).await;
    for verification in [verification.as_str(), "abc123def456ghi"] {
        let mut body = status_body();
        body["verification"] = verification.into();
        proxy.calls();
        let answer = app.post(&format!("/api/status_history/{mine}")).bearer(&token).json(&body).send().await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!("verification")));
        seen.push((answer.body, proxy.calls()));
    }
    assert_eq!(seen[0], seen[1]);
}

#[tokio::test]
async fn the_same_user_id_in_two_teams_is_two_people() {
    let app = App::new().await;
    let person = json!({ "userID": unique("user") });
    let mut ids = BTreeSet::new();
    for client in ["postman", "other"] {
        let answer = app.post("/api/profiles/create").bearer(&app.token(client).await).json(&person).send().await;
        assert_eq!(answer.status, 201, "{client} learns nothing of the other team");
        ids.insert(answer.text("/id"));
    }
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn a_team_is_the_callers_own_unless_it_has_all() {
    let app = App::new().await;
    let create = async |client: &str, team: Value| {
        let body = json!({ "userID": unique("user"), "team": team });
        app.post("/api/profiles/create").bearer(&app.token(client).await).json(&body).send().await
    };
    assert_eq!(create("postman", "team_123".into()).await.status, 201);
    let refused = create("postman", "team_456".into()).await;
    assert_eq!((refused.status, &refused.body["error"]), (403, &json!("Team not allowed")));
    assert_eq!(create("teamless", "team_456".into()).await.status, 403);
    assert_eq!(create("postman", 7.into()).await.status, 400);
    assert_eq!(create("postman", "x".repeat(65).into()).await.status, 400);
    let made = create("root", "team_456".into()).await;
    assert_eq!(made.status, 201);
    let path = format!("/api/profiles/{}", made.text("/id"));
    assert_eq!(app.get(&path).bearer(&app.token("other").await).send().await.status, 200);
    assert_eq!(app.get(&path).bearer(&app.token("postman").await).send().await.status, 404);
    assert_eq!(app.get(&path).bearer(&app.token("teamless").await).send().await.status, 404);
}

#[tokio::test]
async fn a_caller_without_team_sees_records_without_team() {
    let app = App::new().await;
    let (id, flow) = app.profile("teamless").await;
    let path = format!("/api/profiles/{id}");
    assert_eq!(app.get(&path).bearer(&app.token("teamless").await).send().await.status, 200);
    assert_eq!(app.get(&path).bearer(&flow).send().await.status, 200);
    assert_eq!(app.get(&path).bearer(&app.token("postman").await).send().await.status, 404);
    assert_eq!(app.get(&path).bearer(&app.token("root").await).send().await.status, 200);
}

#[tokio::test]
async fn a_malformed_team_is_refused_in_requests_and_settings() {
    let app = App::new().await;
    let token = app.token("root").await;
    for team in [
        r#"a" || team != ""#,
        r"back\slash\",
        "it's",
        "a && b",
        "%",
        "a b",
        "日本",
        "@request.auth.id",
        &"x".repeat(65),
    ] {
        let body = json!({ "userID": unique("user"), "team": team });
        let answer = app.post("/api/profiles/create").bearer(&token).json(&body).send().await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!("team")), "{team}");
        let clients = json!([{ "client_id": "odd", "client_secret": "odd-secret", "team_id": team, "scopes": [] }]);
        let env = [("JWT_CLIENTS_JSON".to_owned(), clients.to_string())].into_iter().collect();
        assert!(shared::auth::TokenClientSettings::from_env(&env).is_err(), "{team}");
    }
}

#[tokio::test]
async fn a_flow_token_cannot_set_a_decision() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    for field in [
        "verification_status",
        "document_type",
        "document_number",
        "document_name",
        "country",
        "face_liveness_confidence",
        "face_liveness_status",
        "face_liveness_result",
    ] {
        let form = FormBody::new().text(field, "verified").file("document_front", JPEG);
        let answer = app.patch(&format!("/api/profiles/{id}")).bearer(&flow).form(form).send().await;
        assert_eq!((answer.status, &answer.body["field"]), (403, &json!(field)), "{answer:?}");
    }
    for status in ["verified", "rejected", "in_review", "Pending", "unverified"] {
        let body = json!({ "previous_status": "pending", "new_status": status, "notes": "Me again" });
        let answer = app.post(&format!("/api/status_history/{id}")).bearer(&flow).json(&body).send().await;
        assert_eq!(answer.status, 403, "{status}");
    }
    for (field, value) in [
        ("liveness_session_id", json!(CLAIM)),
        ("liveness_confidence", json!(99.9)),
        ("liveness_status", json!("live")),
    ] {
        let mut body = status_body();
        body[field] = value;
        let answer = app.post(&format!("/api/status_history/{id}")).bearer(&flow).json(&body).send().await;
        assert_eq!((answer.status, &answer.body["field"]), (403, &json!(field)), "{answer:?}");
    }
    let form = verification_form(&app.session(&flow, "live").await)
        .text("status", "verified")
        .text("verification_status", "verified")
        .text("ip_address", "192.0.2.99")
        .text("liveness_verified", "true");
    let answer = app.post(&format!("/api/verification_history/{id}")).bearer(&flow).form(form).send().await;
    assert_eq!(answer.status, 201);
    let superuser = shared().await.superuser().await.unwrap();
    let profile = superuser.find("profiles", &format!("id=\"{id}\"")).await.unwrap();
    assert_eq!((&profile[0]["verification_status"], &profile[0]["document_front"]), (&json!("unverified"), &json!("")));
    let history = superuser.find("verification_history", &format!("profile=\"{id}\"")).await.unwrap();
    assert_eq!((&history[0]["status"], &history[0]["liveness_verified"]), (&json!("pending"), &json!(true)));
    assert_eq!(history[0]["ip_address"], "203.0.113.7", "the address that the gateway saw");
    assert!(superuser.find("status_history", &format!("profile=\"{id}\"")).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_flow_token_may_name_its_liveness_session() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let name = async |session: &str| {
        let form = FormBody::new().text("face_liveness_session_id", session);
        app.patch(&format!("/api/profiles/{id}")).bearer(&flow).form(form).send().await.status
    };
    assert_eq!(name(&app.session(&flow, "live").await).await, 200);
    let (_, other) = app.profile("postman").await;
    for session in [CLAIM, "00000000-0000-4000-8000-000000000000", &app.session(&other, "live").await] {
        assert_eq!(name(session).await, 409, "{session}");
    }
}

#[tokio::test]
async fn once_a_profile_is_decided_its_flow_token_can_write_no_more() {
    let app = App::new().await;
    let token = app.token("postman").await;
    for (by_history, outcome) in [(false, "verified"), (false, "rejected"), (true, "verified"), (true, "Rejected")] {
        let (id, flow) = app.profile("postman").await;
        let form = verification_form(&app.session(&flow, "live").await);
        let unused = app.session(&flow, "live").await;
        let verification = app.post(&format!("/api/verification_history/{id}")).bearer(&flow).form(form);
        let verification = verification.send().await.text("/data/id");
        if by_history {
            let body = json!({ "previous_status": "pending", "new_status": outcome, "notes": "By hand" });
            let path = format!("/api/status_history/{id}");
            assert_eq!(app.post(&path).bearer(&token).json(&body).send().await.status, 201);
        } else {
            let form = FormBody::new().text("verification_status", outcome);
            assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&token).form(form).send().await.status, 200);
        }
        let mut with_verification = status_body();
        with_verification["verification"] = verification.into();
        for answer in [
            app.patch(&format!("/api/profiles/{id}"))
                .bearer(&flow)
                .form(FormBody::new().file("facial_photo", JPEG))
                .send()
                .await,
            app.post(&format!("/api/status_history/{id}")).bearer(&flow).json(&status_body()).send().await,
            app.post(&format!("/api/status_history/{id}")).bearer(&flow).json(&with_verification).send().await,
            app.post(&format!("/api/verification_history/{id}"))
                .bearer(&flow)
                .form(verification_form(&unused))
                .send()
                .await,
            app.post("/api/face-liveness/session").bearer(&flow).send().await,
        ] {
            assert_eq!(answer.status, 409, "{outcome} {by_history} {answer:?}");
        }
        let read = app.get(&format!("/api/profiles/{id}")).bearer(&flow).send().await;
        assert_eq!((read.status, &read.body["data"]["status"]), (200, &json!(outcome)));
    }
}

#[tokio::test]
async fn a_foreign_profile_is_refused_to_a_flow_token_before_any_look_up() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (_, flow) = app.profile("postman").await;
    let routes = TABLE.iter().filter(|(route, _)| route.contains("{id}"));
    for (route, _) in routes {
        // Starts the function.
        call(&app, route, "abc123def456ghi", None).await;
        proxy.calls();
        for id in ["abc123def456ghi", "not-an-id", "../../x"] {
            let answer =
                call(&app, route, &id.replace('/', "%2F"), Some(("authorization", &format!("Bearer {flow}")))).await;
            assert_eq!(answer.status, 403, "{route} {id}");
        }
        assert_eq!(proxy.calls(), [""; 0]);
    }
}

#[tokio::test]
async fn a_partners_key_is_remembered_for_a_minute_and_a_wrong_one_is_not() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let path = format!("/api/profiles/{}", local::seed::SPECIMEN_PROFILE);
    assert_eq!(app.get(&path).key("sk_nobodys").send().await.status, 401);
    proxy.calls();
    assert_eq!(app.get(&path).key(SECRET_KEY).send().await.status, 200);
    assert_eq!(proxy.calls().len(), 2, "the partner, then the profile");
    assert_eq!(app.get(&path).key(SECRET_KEY).send().await.status, 200);
    assert_eq!(proxy.calls().len(), 1);
    for wrong in ["", "nobodys", &"x".repeat(1_000)] {
        assert_eq!(app.get(&path).key(wrong).send().await.status, 401);
        assert!(proxy.calls().is_empty(), "what cannot be a partner's key is not looked up");
    }
}

#[tokio::test]
async fn an_inactive_partners_key_is_refused() {
    let superuser = shared().await.superuser().await.unwrap();
    let key = unique("sk_inactive");
    let partner = json!({ "name": "Former partner", "team": "team_123", "active": false, "secret_key_hash": shared::auth::hash_api_key(&key) });
    superuser.create("partners", partner).await.unwrap();
    let app = App::new().await;
    let answer = app.get(&format!("/api/profiles/{}", local::seed::SPECIMEN_PROFILE)).key(&key).send().await;
    assert_eq!((answer.status, &answer.body["error"]), (401, &json!("Invalid or missing API key")));
}

/// A decision that falls between the look-up and the write of a flow token is not overtaken by the write.
#[tokio::test]
async fn a_decision_made_while_a_flow_token_is_writing_stands() {
    let proxy = Proxy::new().await;
    let slow = App::behind(&proxy, &[]).await;
    let app = App::new().await;
    let token = app.token("postman").await;
    for route in [
        "PATCH /api/profiles/{id}",
        "POST /api/status_history/{id}",
        "POST /api/verification_history/{id}",
        "POST /api/face-liveness/session",
    ] {
        let (id, flow) = app.profile("postman").await;
        let session = slow.session(&flow, "live").await;
        let flow = format!("Bearer {flow}");
        // The first call signs in.
        call(&slow, route, "abc123def456ghi", None).await;
        proxy.set(Mood::Pausing(Stage::Read));
        let decide = async {
            proxy.paused().await;
            let form = FormBody::new().text("verification_status", "verified");
            let decided = app.patch(&format!("/api/profiles/{id}")).bearer(&token).form(form).send().await;
            assert_eq!(decided.status, 200);
            proxy.set(Mood::Honest);
        };
        let write = call_with(&slow, route, &id, &session, Some(("authorization", &flow)));
        let (answer, ()) = futures_util::join!(write, decide);
        assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Profile already decided")), "{route}");
        let profile = app.get(&format!("/api/profiles/{id}")).bearer(&token).send().await;
        assert_eq!(profile.body["data"]["status"], "verified", "{route}");
        assert_eq!(profile.body["data"]["verification_history"], Value::Null, "{route}");
    }
}

/// The same for a decision that is stored only in the history: the entry of the flow token is stored and does not override it.
#[tokio::test]
async fn a_history_entry_of_a_flow_token_does_not_override_a_partners_decision() {
    let proxy = Proxy::new().await;
    let slow = App::behind(&proxy, &[]).await;
    let app = App::new().await;
    let token = app.token("postman").await;
    let (id, flow) = app.profile("postman").await;
    let (route, flow) = ("POST /api/status_history/{id}", format!("Bearer {flow}"));
    call(&slow, route, "abc123def456ghi", None).await;
    proxy.set(Mood::Pausing(Stage::Read));
    let record = async |status: &str| record_status(&app, &token, &id, status).await;
    let decide = async {
        proxy.paused().await;
        record("rejected").await;
        proxy.set(Mood::Honest);
    };
    futures_util::join!(call(&slow, route, &id, Some(("authorization", &flow))), decide);
    let status = async || app.get(&format!("/api/profiles/{id}")).bearer(&token).send().await.text("/data/status");
    assert_eq!(status().await, "rejected");
    assert_eq!(call(&app, route, &id, Some(("authorization", &flow))).await.status, 409);
    // The partner opens it again.
    record("in_review").await;
    assert_eq!(call(&app, route, &id, Some(("authorization", &flow))).await.status, 201);
    assert_eq!(status().await, "pending");
}

async fn record_status(app: &App, token: &str, id: &str, status: &str) {
    let body = json!({ "previous_status": "unverified", "new_status": status, "notes": "By hand" });
    let path = format!("/api/status_history/{id}");
    assert_eq!(app.post(&path).bearer(token).json(&body).send().await.status, 201);
}

/// Calls to other services take seconds. A decision made meanwhile stands.
#[tokio::test]
async fn a_decision_made_while_other_services_are_asked_stands() {
    let (_standins, url) = stand_ins();
    let fingerprint = Proxy::to(&url).await;
    let app = App::with(&[("FINGERPRINT_BASE_URL", &fingerprint.url)]).await;
    let token = app.token("postman").await;
    let (id, flow) = app.profile("postman").await;
    let session = app.session(&flow, "live").await;
    let form = verification_form(&session).text("fingerprint", "good.1");
    fingerprint.set(Mood::Holding);
    let verify = app.post(&format!("/api/verification_history/{id}")).bearer(&flow).form(form).send();
    let decide = async {
        fingerprint.paused().await;
        record_status(&app, &token, &id, "rejected").await;
        fingerprint.set(Mood::Honest);
    };
    let (answer, ()) = futures_util::join!(verify, decide);
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Profile already decided")));
    let profile = app.get(&format!("/api/profiles/{id}")).bearer(&token).send().await;
    assert_eq!(profile.body["data"]["verification_history"], Value::Null);
}

#[tokio::test]
async fn a_caller_without_team_is_not_shown_the_service_accounts_team() {
    let server = crate::support::own_server().await;
    let superuser = server.superuser().await.unwrap();
    let account = superuser.find("users", "").await.unwrap();
    let path = format!("/api/collections/users/records/{}", account[0]["id"].as_str().unwrap());
    superuser.call(reqwest::Method::PATCH, &path, Some(json!({ "team": "team_123" }))).await.unwrap();
    let app = App::at(&server.url, &[]);
    let body = json!({ "userID": "someone" });
    let create =
        async |client: &str| app.post("/api/profiles/create").bearer(&app.token(client).await).json(&body).send().await;
    let theirs = create("postman").await;
    let mine = create("teamless").await;
    assert_eq!(mine.status, 201);
    assert_ne!(mine.text("/id"), theirs.text("/id"));
    let path = format!("/api/profiles/{}", mine.text("/id"));
    assert_eq!(app.get(&path).bearer(&app.token("teamless").await).send().await.status, 200);
    let of_all_teams = create("root").await;
    assert_eq!((of_all_teams.status, of_all_teams.text("/id")), (200, theirs.text("/id")));
}
