//! POST /api/auth/token: the OAuth 2.0 client credentials grant, and attacks on it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::support::{Answer, App};

const FORM: &str = "application/x-www-form-urlencoded";

async fn form(app: &App, body: &str) -> Answer {
    app.post("/api/auth/token").body(FORM, body).send().await
}

#[tokio::test]
async fn the_client_credentials_grant_works_with_the_secret_in_the_form() {
    let body =
        "grant_type=client_credentials&client_id=postman&client_secret=replace-me&scope=profiles%3Aread+health%3Aread";
    let answer = form(&App::new().await, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.body["scope"], "profiles:read health:read");
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), ("no-store", "no-cache"));
}

#[tokio::test]
async fn the_client_credentials_grant_works_with_http_basic() {
    let app = App::new().await;
    for secret in ["replace-me", "replace%2Dme"] {
        let basic = STANDARD.encode(format!("postman:{secret}"));
        let ask = app.post("/api/auth/token").header("authorization", &format!("Basic {basic}"));
        let answer = ask.body(FORM, "grant_type=client_credentials").send().await;
        assert_eq!(answer.status, 200, "{secret}: {answer:?}");
    }
    let wrong = format!("Basic {}", STANDARD.encode("postman:wrong"));
    for authorization in [wrong.as_str(), "Basic !!!", "Basic", "Bearer x"] {
        let ask = app.post("/api/auth/token").header("authorization", authorization);
        let answer = ask.body(FORM, "grant_type=client_credentials").send().await;
        assert_eq!((answer.status, &answer.body["error"]), (401, &json!("invalid_client")), "{authorization}");
        assert!(answer.header("www-authenticate").starts_with("Basic "));
    }
}

#[tokio::test]
async fn oauth_errors_have_their_names() {
    let app = App::new().await;
    let basic = format!("Basic {}", STANDARD.encode("postman:replace-me"));
    let twice = app.post("/api/auth/token").header("authorization", &basic);
    let twice = twice.body(FORM, "grant_type=client_credentials&client_secret=replace-me").send().await;
    for (answer, status, error) in [
        (form(&app, "client_id=postman&client_secret=replace-me").await, 400, "invalid_request"),
        (
            form(&app, "grant_type=password&client_id=postman&client_secret=replace-me").await,
            400,
            "unsupported_grant_type",
        ),
        (form(&app, "grant_type=client_credentials&client_id=postman").await, 400, "invalid_request"),
        (form(&app, "grant_type=client_credentials&client_id=postman&client_id=postman").await, 400, "invalid_request"),
        (
            form(&app, "grant_type=client_credentials&client_id=postman&client_secret=wrong").await,
            401,
            "invalid_client",
        ),
        (
            form(&app, "grant_type=client_credentials&client_id=nobody&client_secret=replace-me").await,
            401,
            "invalid_client",
        ),
        (
            form(&app, "grant_type=client_credentials&client_id=postman&client_secret=other-secret").await,
            401,
            "invalid_client",
        ),
        (twice, 400, "invalid_request"),
    ] {
        assert_eq!((answer.status, &answer.body["error"]), (status, &json!(error)), "{answer:?}");
        assert!(answer.body["error_description"].is_string());
    }
}

#[tokio::test]
async fn a_scope_outside_the_clients_is_refused_and_none_means_all() {
    let app = App::new().await;
    let ask = |scope: Option<&str>| {
        let mut body = json!({ "client_id": "limited", "client_secret": "limited-secret" });
        body["scope"] = scope.into();
        app.post("/api/auth/token").json(&body)
    };
    for scope in ["profiles:read", "documents:analyze profiles:read", "no:such"] {
        let answer = ask(Some(scope)).send().await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("invalid_scope")), "{scope}");
    }
    for scope in [None, Some(""), Some("documents:analyze")] {
        assert_eq!(ask(scope).send().await.body["scope"], "documents:analyze");
    }
}

#[tokio::test]
async fn json_without_credentials_says_which_are_missing() {
    let app = App::new().await;
    let answer = app.post("/api/auth/token").json(&json!({ "client_id": "postman" })).send().await;
    assert_eq!((answer.status, &answer.body["missing"]), (400, &json!(["client_secret"])));
    let answer = app.post("/api/auth/token").json(&json!({ "client_id": 7, "client_secret": "x" })).send().await;
    assert_eq!((answer.status, &answer.body["field"]), (400, &json!("client_id")));
    let answer = app.post("/api/auth/token").body("text/plain", "x").send().await;
    assert_eq!((answer.status, &answer.body["error"]), (415, &json!("invalid_request")));
    let answer = app.post("/api/auth/token").body("application/json", "{").send().await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("invalid_request")));
    let answer = form(&app, &"x=1&".repeat(5_000)).await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn without_clients_there_is_nothing_to_issue() {
    let app = App::with(&[("JWT_CLIENTS_JSON", "")]).await;
    let answer = app.post("/api/auth/token").json(&json!({ "client_id": "a", "client_secret": "b" })).send().await;
    assert_eq!(answer.status, 501);
    let one = [
        ("JWT_CLIENTS_JSON", ""),
        ("JWT_CLIENT_ID", "one"),
        ("JWT_CLIENT_SECRET", "two"),
        ("JWT_CLIENT_SCOPES", "health:read"),
    ];
    let answer = App::with(&one).await;
    let answer =
        answer.post("/api/auth/token").json(&json!({ "client_id": "one", "client_secret": "two" })).send().await;
    assert_eq!((answer.status, &answer.body["scope"]), (200, &json!("health:read")));
}
