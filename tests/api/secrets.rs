//! `SECRET_ARNS`: the secret in Secrets Manager, read at start, after its time to live, and when a credential is refused.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    App, Clock, FormBody, Recorder, STATIC_KEY, Secret, moto, own_server, photo, refusing_s3, selfie, unique, variables,
};

/// All secret settings, with the values of the tests.
fn secret(more: &Value) -> Value {
    let names = ["PB_USER_EMAIL", "PB_USER_PASSWORD", "JWT_SECRET", "VALID_API_KEYS"];
    let mut secret: Value = variables("")
        .into_iter()
        .filter(|(name, _)| names.contains(&name.as_str()))
        .map(|(n, v)| (n, json!(v)))
        .collect();
    // As the array that it is, which is easier to keep in a secret than JSON within JSON.
    let clients = variables("").into_iter().find(|(name, _)| name == "JWT_CLIENTS_JSON").unwrap().1;
    secret["JWT_CLIENTS_JSON"] = serde_json::from_str(&clients).unwrap();
    for (name, value) in more.as_object().unwrap() {
        secret[name] = value.clone();
    }
    secret
}

/// Functions whose secret settings come from the secret only.
async fn app_with(arns: &str, pocketbase: &str, endpoint: &str, own: &[(&str, &str)]) -> App {
    let none = ["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "JWT_CLIENTS_JSON", "VALID_API_KEYS"]
        .map(|name| (name, ""));
    let given = [("SECRET_ARNS", arns), ("AWS_ENDPOINT_URL_SECRETS_MANAGER", endpoint)];
    App::at(pocketbase, &[&none[..], &given, own].concat())
}

/// The shortest time between two reads of the secret, and a little more.
const REREAD_PAUSE: Duration = Duration::from_millis(5_100);

#[tokio::test]
async fn settings_are_read_from_several_secrets() {
    let all = secret(&json!({}));
    let (account, others): (Vec<_>, Vec<_>) =
        all.as_object().unwrap().clone().into_iter().partition(|(name, _)| name.starts_with("PB_"));
    let [account, others] = [account, others].map(|part| Value::Object(part.into_iter().collect()));
    let (account, others) = (Secret::new(&account).await, Secret::new(&others).await);
    // The template joins the ARNs of two parameters, of which one may be empty.
    let arns = format!("{},{},", account.arn, others.arn);
    let pocketbase = &crate::support::shared().await.url;
    let app = app_with(&arns, pocketbase, &moto().await.url, &[]).await;
    let clock = Clock::stopped();
    let token = app.token("postman").await;
    assert_eq!(app.get("/").bearer(&token).send().await.body["status"], "OK");
    others.put(&json!({ "JWT_SECRET": "another secret, which is long enough" }).to_string()).await;
    clock.advance(Duration::from_secs(301)).await;
    assert_eq!(app.get("/").bearer(&token).send().await.status, 401, "a change of either secret is noticed");
}

#[tokio::test]
async fn settings_are_read_from_the_secret() {
    let recorder = Recorder::new().await;
    let secret = Secret::new(&secret(&json!({ "OPENAI_API_KEY": "of-the-secret", "AWS_ACCESS_KEY_ID": "AKIAOFTHESECRET", "AWS_SECRET_ACCESS_KEY": "s" }))).await;
    // Lambda's own key, which belongs to the function's role.
    let role = [("AWS_ACCESS_KEY_ID", "ASIA"), ("AWS_SESSION_TOKEN", "t"), ("AWS_ENDPOINT_URL_STS", &moto().await.url)];
    let pocketbase = &crate::support::shared().await.url;
    let app = app_with(&secret.arn, pocketbase, &recorder.url, &role).await;
    let token = app.token("postman").await;
    assert_eq!(recorder.bodies().len(), 1, "read once, when the process starts");
    for _ in 0..3 {
        assert_eq!(app.get("/").bearer(&token).send().await.status, 200);
    }
    let health = app.get("/").bearer(&token).send().await;
    assert_eq!(
        (&health.body["aws_faceliveness_status"], &health.body["openai_status"]),
        (&json!("configured"), &json!("configured"))
    );
    assert_eq!(recorder.bodies().len(), 1, "and by the other process");
    let person = json!({ "userID": unique("user") });
    assert_eq!(app.post("/api/profiles/create").key(STATIC_KEY).json(&person).send().await.status, 201);
    // The long-term key of the secret is what asks for a federation token; a role could not.
    assert_eq!(app.get("/api/aws/credentials").bearer(&token).send().await.status, 200);
}

/// After a rotation, the previous secret still verifies tokens that it signed.
#[tokio::test]
async fn a_rotated_jwt_secret_is_noticed_and_old_tokens_live_on() {
    let recorder = Recorder::new().await;
    let stored = Secret::new(&secret(&json!({}))).await;
    let pocketbase = &crate::support::shared().await.url;
    let verifier = app_with(&stored.arn, pocketbase, &recorder.url, &[]).await;
    let old = app_with(&stored.arn, pocketbase, &recorder.url, &[]).await.token("postman").await;
    let clock = Clock::stopped();
    let answer = async |token: &str| verifier.get("/api/settings").bearer(token).send().await.status;
    assert_eq!(answer(&old).await, 200);

    let new_secret = "another-secret-of-the-tests-that-is-long-enough";
    let rotated = json!({ "JWT_SECRET": new_secret, "JWT_SECRET_PREVIOUS": crate::support::JWT_SECRET });
    stored.put(&secret(&rotated).to_string()).await;
    let new = app_with(&stored.arn, pocketbase, &recorder.url, &[]).await.token("postman").await;
    clock.advance(REREAD_PAUSE).await;
    recorder.bodies();
    assert_eq!(answer(&new).await, 200, "a signature that it does not know makes it look");
    assert_eq!(recorder.bodies().len(), 1);
    assert_eq!((answer(&old).await, answer(&new).await), (200, 200));
    assert!(recorder.bodies().is_empty());

    // The rotation is over.
    stored.put(&secret(&json!({ "JWT_SECRET": new_secret })).to_string()).await;
    let verifier = app_with(&stored.arn, pocketbase, &recorder.url, &[]).await;
    assert_eq!(verifier.get("/api/settings").bearer(&old).send().await.status, 401);
    assert_eq!(verifier.get("/api/settings").bearer(&new).send().await.status, 200);
}

#[tokio::test]
async fn forged_tokens_reload_the_secret_at_most_every_five_seconds() {
    let recorder = Recorder::new().await;
    let stored = Secret::new(&secret(&json!({}))).await;
    let app = app_with(&stored.arn, &crate::support::shared().await.url, &recorder.url, &[]).await;
    let clock = Clock::stopped();
    let forged = App::with(&[("JWT_SECRET", "a-secret-that-is-nobodys-but-the-forgers")]).await.token("postman").await;
    assert_eq!(app.get("/api/settings").bearer(&forged).send().await.status, 401);
    clock.advance(REREAD_PAUSE).await;
    recorder.bodies();
    for _ in 0..10 {
        assert_eq!(app.get("/api/settings").bearer(&forged).send().await.status, 401);
        assert_eq!(app.get("/api/settings").bearer("nonsense").send().await.status, 401);
    }
    assert_eq!(recorder.bodies().len(), 1);
}

#[tokio::test]
async fn a_changed_password_of_pocketbase_is_noticed_and_the_request_succeeds() {
    let server = own_server().await;
    let superuser = server.superuser().await.unwrap();
    let stored = Secret::new(&secret(&json!({}))).await;
    let app = app_with(&stored.arn, &server.url, &moto().await.url, &[]).await;
    let clock = Clock::stopped();
    let (id, _) = app.profile("postman").await;
    let token = app.token("postman").await;
    let path = format!("/api/profiles/{id}");
    assert_eq!(app.get(&path).bearer(&token).send().await.status, 200);
    clock.advance(REREAD_PAUSE).await;

    let account = superuser.find("users", "").await.unwrap();
    let record = format!("/api/collections/users/records/{}", account[0]["id"].as_str().unwrap());
    let password =
        json!({ "password": "a-new-password-of-the-service", "passwordConfirm": "a-new-password-of-the-service" });
    superuser.call(reqwest::Method::PATCH, &record, Some(password)).await.unwrap();
    assert_eq!(app.get(&path).bearer(&token).send().await.status, 502, "the secret has the old one");
    stored.put(&secret(&json!({ "PB_USER_PASSWORD": "a-new-password-of-the-service" })).to_string()).await;
    clock.advance(REREAD_PAUSE).await;
    assert_eq!(app.get(&path).bearer(&token).send().await.status, 200);
    let form = crate::support::FormBody::new().text("country", "SG");
    assert_eq!(app.patch(&path).bearer(&token).form(form).send().await.status, 200, "with its body as it was");
}

#[tokio::test]
async fn a_secret_is_read_again_when_it_is_old() {
    let recorder = Recorder::new().await;
    let stored = Secret::new(&secret(&json!({}))).await;
    let pocketbase = &crate::support::shared().await.url;
    let app = app_with(&stored.arn, pocketbase, &recorder.url, &[("SECRETS_TTL_SECONDS", "10")]).await;
    let clock = Clock::stopped();
    let create = async |key: &str| {
        let person = json!({ "userID": unique("user") });
        app.post("/api/profiles/create").key(key).json(&person).send().await.status
    };
    assert_eq!(create(STATIC_KEY).await, 201);
    // A key is revoked. It is not refused before the secret is read again.
    stored.put(&secret(&json!({ "VALID_API_KEYS": "some-other-static-key" })).to_string()).await;
    assert_eq!(create(STATIC_KEY).await, 201, "not old yet");
    clock.advance(Duration::from_millis(10_100)).await;
    assert_eq!(create(STATIC_KEY).await, 401);

    // An unusable secret and an unreachable Secrets Manager leave the settings as they were, and the secret is read again soon.
    clock.advance(Duration::from_secs(5)).await;
    for unusable in ["not json", "{}", "{\"JWT_SECRET\": \"short\"}", "down"] {
        if unusable == "down" {
            recorder.refuse(400, "{}");
        } else {
            stored.put(unusable).await;
        }
        clock.advance(REREAD_PAUSE).await;
        recorder.bodies();
        assert_eq!(create("some-other-static-key").await, 201, "{unusable}");
        assert_eq!(recorder.bodies().len(), 1, "{unusable} has been read");
    }
    recorder.relent();
    stored.put(&secret(&json!({})).to_string()).await;
    clock.advance(REREAD_PAUSE).await;
    assert_eq!((create(STATIC_KEY).await, create("some-other-static-key").await), (201, 401));
}

/// A failure that an outdated secret would explain makes the function read the secret again. A request that has written
/// something before the failure is not handled a second time.
#[tokio::test]
async fn a_request_that_has_written_is_not_handled_again_with_the_new_secret() {
    let stored = Secret::new(&secret(&json!({}))).await;
    let s3 = refusing_s3().await;
    let own = [("AWS_ENDPOINT_URL_S3", &*s3), ("UPLOADS_BUCKET", "identivia-uploads")];
    let app = app_with(&stored.arn, &crate::support::shared().await.url, &moto().await.url, &own).await;
    let clock = Clock::stopped();
    let user = unique("user");
    let submit = async || {
        let person = json!({ "person": "anna" });
        let form = FormBody::new().text("user_identifier", &user);
        let form = form.file("selfie_video", &selfie(&person)).file("id_photo", &photo(&person));
        app.post("/verif/submit").key(STATIC_KEY).form(form).send().await
    };
    assert_eq!(submit().await.text("/error"), "AWS access denied");
    clock.advance(REREAD_PAUSE).await;
    stored.put(&secret(&json!({ "OPENAI_API_KEY": "another-version-of-the-secret" })).to_string()).await;
    assert_eq!(submit().await.text("/error"), "AWS access denied");
    let superuser = crate::support::shared().await.superuser().await.unwrap();
    let checks = superuser.find("checks", &format!("user_identifier=\"{user}\"")).await.unwrap();
    assert_eq!(checks.len(), 2, "one for each submission");
}
