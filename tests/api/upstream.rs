//! Failures of PocketBase, the session of the service account, and the number of calls to PocketBase.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use local::server::Server;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, App, BY_PASSWORD, Clock, FormBody, JPEG, Mood, Proxy, STATIC_KEY, Stage, own_server, root, shared, unique,
    variables,
};

/// One request of each route that asks PocketBase, in an order in which each can succeed.
async fn every_route(app: &App, id: &str) -> Vec<(&'static str, Answer)> {
    let token = token();
    let status = json!({ "previous_status": "unverified", "new_status": "pending", "notes": "Submitted" });
    let verification = FormBody::new()
        .text("liveness_session_id", "session-xyz")
        .text("liveness_confidence", "95.5")
        .text("document_type", "passport")
        .text("liveness_status", "live");
    let files = FormBody::new().file("document_front", JPEG).file("facial_photo", JPEG);
    vec![
        (
            "create",
            app.post("/api/profiles/create").bearer(&token).json(&json!({ "userID": unique("user") })).send().await,
        ),
        ("get", app.get(&format!("/api/profiles/{id}")).bearer(&token).send().await),
        ("update", app.patch(&format!("/api/profiles/{id}")).bearer(&token).form(files).send().await),
        ("status", app.post(&format!("/api/status_history/{id}")).bearer(&token).json(&status).send().await),
        (
            "verification",
            app.post(&format!("/api/verification_history/{id}")).bearer(&token).form(verification).send().await,
        ),
        ("session", app.post("/api/face-liveness/session").bearer(&token).send().await),
        ("settings", app.get("/api/settings").bearer(&token).send().await),
    ]
}

/// A token of the first client, which has all scopes, made without a request.
fn token() -> String {
    let env = crate::support::settings();
    let clients = shared::auth::TokenClientSettings::from_env(&env).unwrap().clients;
    shared::auth::TokenIssuer::from_env(&env).unwrap().issue(&clients[0], &clients[0].scopes).unwrap()
}

fn good(status: u16) -> bool {
    matches!(status, 200 | 201)
}

/// The answers of each route during a failure of PocketBase. Afterwards each route must succeed.
async fn in_mood(mood: Mood, expected: u16) -> Vec<Answer> {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (id, _) = app.profile("postman").await;
    // The second round is for processes that have signed in before the trouble begins.
    let mut answers = Vec::new();
    for round in 0..2 {
        proxy.set(mood);
        let answered = every_route(&app, &id);
        let answered = if mood == Mood::Silent { without_waiting(&proxy, answered).await } else { answered.await };
        for (route, answer) in answered {
            assert_eq!(answer.status, expected, "round {round}, {route}: {answer:?}");
            assert!(!answer.body.to_string().contains("secret-of-the-upstream"), "{answer:?}");
            answers.push(answer);
        }
        proxy.set(Mood::Honest);
        for (route, answer) in every_route(&app, &id).await {
            assert!(good(answer.status), "round {round}, the next {route}: {answer:?}");
        }
    }
    answers
}

/// The longest time limit of a call: that of a form with files.
const LONGEST: Duration = Duration::from_secs(20);

/// The output of requests whose calls are never answered. The clock is set past the time limit of a call when the call arrives.
async fn without_waiting<T>(proxy: &Proxy, calls: impl Future<Output = T>) -> T {
    let clock = Clock::stopped();
    let mut calls = pin!(calls);
    loop {
        tokio::select! {
            outcome = &mut calls => return outcome,
            () = proxy.paused() => clock.advance(LONGEST).await,
        }
    }
}

#[tokio::test]
async fn a_slow_pocketbase_is_504() {
    in_mood(Mood::Silent, 504).await;
}

#[tokio::test]
async fn a_page_instead_of_json_is_502() {
    in_mood(Mood::Html(200), 502).await;
    in_mood(Mood::Html(404), 502).await;
    in_mood(Mood::Html(500), 502).await;
}

#[tokio::test]
async fn json_of_another_kind_is_502() {
    in_mood(Mood::Nonsense, 502).await;
}

#[tokio::test]
async fn a_throttling_pocketbase_is_503_with_its_own_retry_after() {
    for (said, passed_on) in [(Some(17), "17"), (None, "5"), (Some(86_400), "300")] {
        for answer in in_mood(Mood::Throttling(said), 503).await {
            assert_eq!(answer.header("retry-after"), passed_on);
        }
    }
}

#[tokio::test]
async fn a_connection_cut_in_the_middle_of_an_answer_is_503() {
    in_mood(Mood::HangingUp, 503).await;
}

#[tokio::test]
async fn a_pocketbase_that_is_down_is_503_and_once_restarted_all_is_well() {
    let mut server = own_server().await;
    let app = App::at(&server.url, &[]);
    let (id, _) = app.profile("postman").await;
    every_route(&app, &id).await;
    server.down();
    for (route, answer) in every_route(&app, &id).await {
        assert_eq!(answer.status, 503, "{route}: {answer:?}");
        assert_eq!(answer.header("retry-after"), "5");
    }
    let degraded = app.get("/").bearer(&token()).send().await;
    assert_eq!((degraded.status, &degraded.body["status"]), (503, &json!("DEGRADED")));
    assert_eq!(degraded.body["pocketbase_status"], "unreachable");
    assert_eq!(degraded.body.as_object().unwrap().len(), 13, "the same fields as when all is well");

    server.up().unwrap();
    server.superuser().await.unwrap();
    for (route, answer) in every_route(&app, &id).await {
        assert!(good(answer.status), "{route}: {answer:?}");
    }
    // Restarted between two requests, while connections are open.
    server.down();
    server.up().unwrap();
    server.superuser().await.unwrap();
    for (route, answer) in every_route(&app, &id).await {
        assert!(good(answer.status), "after a restart, {route}: {answer:?}");
    }
    assert_eq!(app.get("/").bearer(&token()).send().await.status, 200);
}

#[tokio::test]
async fn a_function_that_started_while_pocketbase_was_down_works_once_it_is_up() {
    let mut server = own_server().await;
    server.down();
    let app = App::at(&server.url, &[BY_PASSWORD]);
    assert_eq!(app.get("/api/settings").bearer(&token()).send().await.status, 503);
    server.up().unwrap();
    server.superuser().await.unwrap();
    assert_eq!(app.get("/api/settings").bearer(&token()).send().await.status, 200);
}

#[tokio::test]
async fn a_wrong_password_is_502_and_says_nothing() {
    let app = App::with(&[BY_PASSWORD, ("PB_USER_PASSWORD", "not-the-password")]).await;
    let answer = app.get("/api/settings").bearer(&token()).send().await;
    assert_eq!((answer.status, &answer.body["error"]), (502, &json!("Bad gateway")));
    let health = app.get("/").bearer(&token()).send().await;
    assert_eq!((health.status, &health.body["pocketbase_status"]), (503, &json!("unauthenticated")));
}

/// Makes PocketBase forget every session of the account, as a changed password does.
async fn sign_everyone_out(server: &Server, superuser: &local::pocketbase::Superuser) {
    let account = superuser.find("users", r#"email="service@identivia.test""#).await.unwrap();
    let path = format!("/api/collections/users/records/{}", account[0]["id"].as_str().unwrap());
    let password =
        crate::support::variables(&server.url).into_iter().find(|(name, _)| name == "PB_USER_PASSWORD").unwrap().1;
    let again = json!({ "password": password, "passwordConfirm": password });
    superuser.call(Method::PATCH, &path, Some(again)).await.unwrap();
}

#[tokio::test]
async fn a_revoked_session_is_renewed_once_and_the_request_succeeds() {
    let server = own_server().await;
    let superuser = server.superuser().await.unwrap();
    let proxy = Proxy::to(&server.url).await;
    let app = App::behind(&proxy, &[BY_PASSWORD]).await;
    let (id, _) = app.profile("postman").await;
    every_route(&app, &id).await;
    sign_everyone_out(&server, &superuser).await;
    proxy.calls();
    for (route, answer) in every_route(&app, &id).await {
        assert!(good(answer.status), "{route}: {answer:?}");
    }
    let signed_in = proxy.calls().into_iter().filter(|call| call.ends_with("auth-with-password")).count();
    assert_eq!(signed_in, 7, "each of the seven functions signs in once");
    proxy.calls();
    every_route(&app, &id).await;
    assert!(!proxy.calls().iter().any(|call| call.contains("auth-")), "and then no more");
}

#[tokio::test]
async fn a_revoked_session_does_not_hide_a_known_person() {
    let server = own_server().await;
    let superuser = server.superuser().await.unwrap();
    let app = App::at(&server.url, &[BY_PASSWORD]);
    let body = json!({ "name": "Jane", "document_type": "passport", "document_number": "A1", "nationality": "SG" });
    let made = app.post("/api/profiles/create").key(STATIC_KEY).json(&body).send().await;
    sign_everyone_out(&server, &superuser).await;
    let again = app.post("/api/profiles/create").key(STATIC_KEY).json(&body).send().await;
    assert_eq!((made.status, again.status, made.text("/id")), (201, 200, again.text("/id")));
    // What does not exist is still not found, and a bad key is still refused.
    sign_everyone_out(&server, &superuser).await;
    assert_eq!(app.get("/api/profiles/abc123def456ghi").bearer(&token()).send().await.status, 404);
    assert_eq!(app.get("/api/profiles/abc123def456ghi").key("sk_nobodys").send().await.status, 401);
}

#[tokio::test]
async fn a_session_that_is_about_to_end_is_renewed_before_it_is_used() {
    let server = own_server().await;
    let superuser = server.superuser().await.unwrap();
    // Shorter than the minute before its end in which a token is not used any more.
    let short = json!({ "authToken": { "duration": 59 } });
    superuser.call(Method::PATCH, "/api/collections/users", Some(short)).await.unwrap();
    let proxy = Proxy::to(&server.url).await;
    let app = App::behind(&proxy, &[BY_PASSWORD]).await;
    assert_eq!(app.get("/api/settings").bearer(&token()).send().await.status, 200);
    proxy.calls();
    assert_eq!(app.get("/api/settings").bearer(&token()).send().await.status, 200);
    assert_eq!(
        proxy.calls(),
        ["POST /api/collections/users/auth-with-password", "GET /api/collections/settings/records"]
    );
}

#[tokio::test]
async fn a_long_lived_token_spares_the_password_until_it_is_revoked() {
    let server = own_server().await;
    let superuser = server.superuser().await.unwrap();
    let account = superuser.find("users", r#"email="service@identivia.test""#).await.unwrap();
    let path = format!("/api/collections/users/impersonate/{}", account[0]["id"].as_str().unwrap());
    let minted = superuser.call(Method::POST, &path, Some(json!({ "duration": 86_400 }))).await.unwrap();
    let proxy = Proxy::to(&server.url).await;
    let app = App::behind(&proxy, &[("PB_AUTH_TOKEN", minted["token"].as_str().unwrap())]).await;
    let (id, _) = app.profile("postman").await;
    every_route(&app, &id).await;
    assert!(!proxy.calls().iter().any(|call| call.ends_with("auth-with-password")));
    sign_everyone_out(&server, &superuser).await;
    for (route, answer) in every_route(&app, &id).await {
        assert!(good(answer.status), "{route}: {answer:?}");
    }
    assert_eq!(proxy.calls().iter().filter(|call| call.ends_with("auth-with-password")).count(), 7);
    let broken = App::behind(&proxy, &[("PB_AUTH_TOKEN", "not.a.token")]).await;
    assert_eq!(broken.get("/api/settings").bearer(&token()).send().await.status, 200);
}

#[tokio::test]
async fn a_superuser_can_stand_in_for_the_service_account() {
    let app = App::with(&[&Server::superuser_variables()[..], &[BY_PASSWORD]].concat()).await;
    let (id, _) = app.profile("postman").await;
    for (route, answer) in every_route(&app, &id).await {
        assert!(good(answer.status), "{route}: {answer:?}");
    }
    assert_eq!(app.get("/api/profiles/abc123def456ghi").bearer(&token()).send().await.status, 404);
}

#[tokio::test]
async fn the_service_account_may_do_what_the_functions_do_and_no_more() {
    let server = shared().await;
    let http = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", server.url);
    let env = crate::support::variables(&server.url);
    let value = |name: &str| env.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let credentials = json!({ "identity": value("PB_USER_EMAIL"), "password": value("PB_USER_PASSWORD") });
    let signed_in =
        http.post(url("/api/collections/users/auth-with-password")).json(&credentials).send().await.unwrap();
    let signed_in: Value = signed_in.json().await.unwrap();
    let account = signed_in["token"].as_str().unwrap().to_owned();
    let specimen = local::seed::SPECIMEN_PROFILE;
    let profile = format!("/api/collections/profiles/records/{specimen}");
    let list = |collection: &str| format!("/api/collections/{collection}/records");
    let body =
        json!({ "key": "x", "name": "x", "email": "x@y.z", "password": "x2345678", "passwordConfirm": "x2345678" });
    let ask = async |method: Method, path: &str, token: &str| {
        let request = http.request(method, url(path)).header("authorization", token).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let forbidden = [
        (Method::DELETE, profile.clone()),
        (Method::POST, list("settings")),
        (Method::POST, list("partners")),
        (Method::POST, list("users")),
        (Method::POST, list("_superusers")),
        (Method::GET, "/api/collections".to_owned()),
        (Method::GET, "/api/settings".to_owned()),
        (Method::GET, "/api/logs".to_owned()),
        (Method::POST, "/api/backups".to_owned()),
    ];
    for (method, path) in forbidden {
        for token in [account.as_str(), ""] {
            let status = ask(method.clone(), &path, token).await;
            assert!(matches!(status, 400..=404), "{method} {path}: {status}");
        }
    }
    assert_eq!(ask(Method::GET, &profile, "").await, 401);
    assert_eq!(ask(Method::GET, &profile, &account).await, 200);
}

/// The hooks refuse such requests. The rules of the collections would too.
#[tokio::test]
async fn without_the_hooks_the_rules_show_nothing_to_unauthenticated_requests() {
    let (folder, migrations) = (tempfile::tempdir().unwrap(), root().join("pocketbase/migrations"));
    let server = Server::on(folder, "127.0.0.1", &migrations, false).unwrap();
    local::seed::seed(&server.superuser().await.unwrap(), &variables(&server.url).into_iter().collect()).await.unwrap();
    for collection in [
        "profiles",
        "profile_overview",
        "verification_overview",
        "status_history",
        "verification_history",
        "settings",
        "partners",
    ] {
        let url = format!("{}/api/collections/{collection}/records", server.url);
        let found: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        assert_eq!(found["items"], json!([]), "{collection}");
    }
    let url = format!("{}/api/collections/profiles/records/{}", server.url, local::seed::SPECIMEN_PROFILE);
    assert_eq!(reqwest::get(url).await.unwrap().status(), 404);
}

/// The number of calls that PocketBase gets, once a process has signed in.
#[tokio::test]
async fn each_route_makes_the_documented_number_of_calls() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (id, flow) = app.profile("postman").await;
    every_route(&app, &id).await;
    let token = app.token("postman").await;
    let user = unique("user");
    let create = || app.post("/api/profiles/create").bearer(&token).json(&json!({ "userID": user }));
    let form = || FormBody::new().file("document_front", JPEG).file("facial_photo", JPEG);
    let verification = || {
        let form = FormBody::new().text("liveness_session_id", "s").text("liveness_confidence", "95.5");
        form.text("document_type", "passport").text("liveness_status", "live")
    };
    let path = |route: &str| format!("/api/{route}/{id}");
    let verified =
        app.post(&path("verification_history")).bearer(&token).form(verification()).send().await.text("/data/id");
    let status = |verification: Option<&str>| json!({ "previous_status": "a", "new_status": "pending", "notes": "n", "verification": verification });
    proxy.calls();
    let credentials = json!({ "client_id": "postman", "client_secret": "replace-me" });
    for (what, ask, expected, calls) in [
        ("token", app.post("/api/auth/token").json(&credentials), 200, 0),
        ("a new profile", create(), 201, 1),
        ("a known profile", create(), 200, 2),
        ("get", app.get(&path("profiles")).bearer(&token), 200, 1),
        ("get by key", app.get(&path("profiles")).key(STATIC_KEY), 200, 1),
        ("get by flow token", app.get(&path("profiles")).bearer(&flow), 200, 1),
        ("get of a malformed id", app.get("/api/profiles/nonsense").bearer(&token), 404, 0),
        ("update", app.patch(&path("profiles")).bearer(&token).form(form()), 200, 2),
        ("update by flow token", app.patch(&path("profiles")).bearer(&flow).form(form()), 200, 2),
        ("status", app.post(&path("status_history")).bearer(&token).json(&status(None)), 201, 2),
        (
            "status with verification",
            app.post(&path("status_history")).bearer(&flow).json(&status(Some(&verified))),
            201,
            2,
        ),
        ("settings", app.get("/api/settings").bearer(&token), 200, 1),
        (
            "verification with files",
            app.post(&path("verification_history"))
                .bearer(&token)
                .form(verification().file("facial_photo", JPEG).file("document_front", JPEG)),
            201,
            2,
        ),
        ("no such route", app.get("/nowhere"), 404, 0),
    ] {
        let answer = ask.send().await;
        assert_eq!(answer.status, expected, "{what}: {answer:?}");
        assert_eq!(proxy.calls().len(), calls, "{what}");
    }
    let answer = app.post(&path("verification_history")).bearer(&token).form(verification()).send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let (files, others): (Vec<_>, Vec<_>) = proxy.calls().into_iter().partition(|call| call.contains("/api/files/"));
    assert_eq!((others.len(), files.len()), (2, 2), "two calls beside the two files copied: {others:?} {files:?}");

    // The first call signs in.
    app.get("/api/face-liveness/results/00000000-0000-4000-8000-000000000000").bearer(&flow).send().await;
    // The hosted flow. A session that the results have been read of is known by its record alone.
    for (is_read, calls) in [(true, 4), (false, 5)] {
        proxy.calls();
        let session = app.session(&flow, "live").await;
        assert_eq!(proxy.calls().len(), 2, "a session");
        let results = format!("/api/face-liveness/results/{session}");
        if is_read {
            assert_eq!(app.get(&results).bearer(&flow).send().await.status, 200);
            assert_eq!(proxy.calls().len(), 2, "a result that is read for the first time");
            assert_eq!(app.get(&results).bearer(&flow).send().await.status, 200);
            let calls: Vec<_> = proxy.calls().into_iter().filter(|call| !call.ends_with("/api/files/token")).collect();
            assert_eq!(calls.len(), 2, "a result that has been kept, with its image: {calls:?}");
        }
        let form = FormBody::new().text("liveness_session_id", &session).text("liveness_confidence", "95.5");
        let form = form.text("document_type", "passport").text("liveness_status", "live");
        let form = form.file("facial_photo", JPEG).file("document_front", JPEG);
        let answer = app.post(&path("verification_history")).bearer(&flow).form(form).send().await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(proxy.calls().len(), calls, "a verification, result read before: {is_read}");
    }
    // The first analysis by flow token signs in.
    for (token, calls) in [(&token, 0), (&flow, 3), (&flow, 2)] {
        let form = FormBody::new().file("document_front", JPEG);
        assert_eq!(app.post("/api/ollama/document-analysis").bearer(token).form(form).send().await.status, 200);
        assert_eq!(proxy.calls().len(), calls, "an analysis");
    }
}

/// A profile with its three files, and a verification that copies them.
async fn with_files(app: &App) -> (String, FormBody) {
    let (id, _) = app.profile("postman").await;
    let files = FormBody::new().file("document_front", JPEG).file("document_back", JPEG).file("facial_photo", JPEG);
    let stored = app.patch(&format!("/api/profiles/{id}")).bearer(&token()).form(files).send().await;
    assert_eq!(stored.status, 200);
    let form = FormBody::new().text("liveness_session_id", "s").text("liveness_confidence", "95.5");
    (id, form.text("document_type", "national_id").text("liveness_status", "live"))
}

#[tokio::test]
async fn a_process_that_copies_its_first_three_files_asks_for_one_file_token() {
    let proxy = Proxy::new().await;
    let (id, form) = with_files(&App::new().await).await;
    let app = App::behind(&proxy, &[]).await;
    let answer = app.post(&format!("/api/verification_history/{id}")).bearer(&token()).form(form).send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let calls = proxy.calls();
    let count = |part: &str| calls.iter().filter(|call| call.contains(part)).count();
    assert_eq!((count("files/token"), count("files/profiles"), count("/records")), (1, 3, 2), "{calls:?}");
}

#[tokio::test]
async fn a_pocketbase_that_throttles_files_is_503() {
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &[]).await;
    let (id, form) = with_files(&app).await;
    proxy.set(Mood::ThrottlingFiles);
    let answer = app.post(&format!("/api/verification_history/{id}")).bearer(&token()).form(form).send().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "9"));
}

#[tokio::test]
async fn a_file_that_is_replaced_while_it_is_copied_is_409() {
    let proxy = Proxy::new().await;
    let slow = App::behind(&proxy, &[]).await;
    let app = App::new().await;
    let (id, form) = with_files(&app).await;
    let path = format!("/api/verification_history/{id}");
    slow.post("/api/verification_history/abc123def456ghi").bearer(&token()).form(FormBody::new()).send().await;
    proxy.set(Mood::Pausing(Stage::Read));
    let replace = async {
        proxy.paused().await;
        let photo = FormBody::new().file("facial_photo", JPEG);
        assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&token()).form(photo).send().await.status, 200);
        proxy.set(Mood::Honest);
    };
    let (answer, ()) = futures_util::join!(slow.post(&path).bearer(&token()).form(form).send(), replace);
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Profile changed")));
}

#[tokio::test]
async fn an_account_without_the_service_role_is_502_and_not_an_empty_result() {
    let server = own_server().await;
    let superuser = server.superuser().await.unwrap();
    let app = App::at(&server.url, &[BY_PASSWORD]);
    let (id, _) = app.profile("postman").await;
    let path = format!("/api/profiles/{id}");
    assert_eq!(app.get(&path).bearer(&token()).send().await.status, 200);
    let account = superuser.find("users", "").await.unwrap();
    let record = format!("/api/collections/users/records/{}", account[0]["id"].as_str().unwrap());
    superuser.call(Method::PATCH, &record, Some(json!({ "role": "" }))).await.unwrap();
    for app in [app, App::at(&server.url, &[BY_PASSWORD])] {
        assert_eq!(app.get(&path).bearer(&token()).send().await.status, 502);
        assert_eq!(app.get(&path).key("sk_development_partner_secret").send().await.status, 502);
        let health = app.get("/").bearer(&token()).send().await;
        assert_eq!((health.status, &health.body["pocketbase_status"]), (503, &json!("unauthenticated")));
        assert_eq!(health.header("retry-after"), "5");
    }
}
