//! GET /verif/: access to the hosted page, its settings and headers. Its behaviour in a browser is tested in tests/page.

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use shared::auth::hash_api_key;

use crate::support::{
    Answer, App, FormBody, JWT_SECRET, PUBLISHABLE_KEY, SECRET_KEY, STATIC_KEY, Storage, shared, unique,
};

/// The link that a redirect leads to.
fn location(answer: &Answer) -> String {
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.header("location").to_owned()
}

/// The settings in the page.
fn settings(answer: &Answer) -> Value {
    let html = answer.body.as_str().unwrap();
    let start = html.find("id=\"settings\"").unwrap();
    let start = start + html[start..].find('>').unwrap() + 1;
    let end = start + html[start..].find("</script>").unwrap();
    serde_json::from_str(&html[start..end]).unwrap()
}

#[tokio::test]
async fn a_publishable_key_is_exchanged_for_a_flow_token_of_one_person() {
    let storage = Storage::new().await;
    let app = App::with(&storage.variables()).await;
    let user = unique("user");
    let link = format!(
        "/verif/?api_key={PUBLISHABLE_KEY}&user_identifier={user}&user_email=anna@example.com&user_phone=%2B65"
    );
    let first = app.get(&link).send().await;
    let target = location(&first);
    assert!(target.starts_with("/verif/?token=") && !target.contains(PUBLISHABLE_KEY) && !target.contains(&user));
    assert_eq!((first.header("cache-control"), first.header("referrer-policy")), ("no-store", "no-referrer"));
    let superuser = shared().await.superuser().await.unwrap();
    let profile = superuser.find("profiles", &format!("user_id=\"{user}\"")).await.unwrap().remove(0);
    assert_eq!(
        (&profile["team"], &profile["email"], &profile["phone_number"]),
        (&json!("team_123"), &json!("anna@example.com"), &json!("+65"))
    );

    let page = app.get(&target).header("accept-language", "de-AT,en;q=0.5").send().await;
    assert_eq!((page.status, page.header("cache-control")), (200, "no-store"), "{page:?}");
    let given = settings(&page);
    assert_eq!(
        (&given["userIdentifier"], &given["language"], &given["problem"]),
        (&json!(user), &json!("de"), &Value::Null)
    );
    assert_eq!(given["partner"]["name"], "Development partner");
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'nonce-") && !policy.contains("unsafe"), "{policy}");
    assert!(policy.contains(&format!("connect-src 'self' {};", storage.url)), "{policy}");
    let nonce = policy.split('\'').find(|part| part.starts_with("nonce-")).unwrap().trim_start_matches("nonce-");
    let html = page.body.as_str().unwrap();
    assert_eq!(html.matches("nonce=").count(), html.matches(&format!("nonce=\"{nonce}\"")).count());
    assert!(!html.contains("http://") && !html.replace("xmlns=\"http", "").contains("src=\"http"), "nothing is loaded");
    // Every page has a nonce of its own.
    assert_ne!(app.get(&target).send().await.header("content-security-policy"), policy);

    // The token opens what the page needs, and that person alone.
    let token = given["token"].as_str().unwrap();
    assert_eq!(app.announce("id_photo", "image/png", 9).bearer(token).send().await.status, 201);
    let id = profile["id"].as_str().unwrap();
    for (method, path) in [
        ("GET", format!("/api/profiles/{id}")),
        ("PATCH", format!("/api/profiles/{id}")),
        ("POST", format!("/api/verification_history/{id}")),
        ("GET", "/api/aws/credentials".to_owned()),
        ("POST", "/api/ollama/document-analysis".to_owned()),
    ] {
        assert_eq!(app.ask(method, &path).bearer(token).send().await.status, 403, "{method} {path}");
    }
    let again = app.get(&link).send().await;
    assert_eq!(settings(&app.get(&location(&again)).send().await)["userIdentifier"], json!(user));
    assert_eq!(superuser.find("profiles", &format!("user_id=\"{user}\"")).await.unwrap().len(), 1);
}

#[tokio::test]
async fn errors_are_those_of_the_contract() {
    let app = App::new().await;
    for (query, status, error) in [
        ("/".to_owned(), 400, "API key is required"),
        ("?user_id=x".to_owned(), 400, "API key is required"),
        ("/?user_id=x".to_owned(), 400, "API key is required"),
        (format!("/?api_key={PUBLISHABLE_KEY}"), 400, "User identifier is required"),
        (format!("?api_key={PUBLISHABLE_KEY}&user_id=%00"), 400, "Invalid field"),
        ("?api_key=nonsense&user_id=x".to_owned(), 401, "Invalid API key"),
        ("?api_key=pk_nobody&user_id=x".to_owned(), 401, "Invalid API key"),
        (format!("?api_key={SECRET_KEY}&user_id=x"), 403, "Publishable key required"),
        (format!("?api_key={STATIC_KEY}&user_id=x"), 403, "Publishable key required"),
    ] {
        let answer = app.get(&format!("/verif{query}")).send().await;
        assert_eq!((answer.status, answer.text("/error").as_str()), (status, error), "{query}");
    }
    for (path, status) in [("/verif/other", 404), ("/verif/other/one", 404), ("/verif/submit", 405)] {
        let answer = app.get(path).send().await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (status, if status == 405 { "POST" } else { "" }),
            "{path}"
        );
    }
    assert_eq!(app.post("/verif/").send().await.header("allow"), "GET");
    let app = App::with(&[("VERIF_ACCEPT_SECRET_KEYS", "true")]).await;
    let answer = app.get(&format!("/verif/?api_key={SECRET_KEY}&user_identifier={}", unique("user"))).send().await;
    assert!(!location(&answer).contains(SECRET_KEY));
}

#[tokio::test]
async fn a_link_that_cannot_be_used_says_so_to_the_person() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let problem = async |token: &str| {
        let page = app.get(&format!("/verif/?token={token}")).send().await;
        (page.status, settings(&page)["problem"].as_str().unwrap().to_owned())
    };
    assert_eq!(problem("nonsense").await, (401, "not_found".to_owned()));
    assert_eq!(problem(&app.token("postman").await).await, (403, "not_found".to_owned()));
    let claims = |exp: u64, profile: &str| {
        let claims = json!({
            "iss": "identivia-backend", "aud": "identivia-api", "sub": profile, "exp": exp, "team_id": "team_123",
            "token_use": "flow", "profile_id": profile, "scope": "profiles:read",
        });
        encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).unwrap()
    };
    assert_eq!(problem(&claims(1_700_000_000, &id)).await, (401, "expired".to_owned()));
    assert_eq!(problem(&claims(4_000_000_000, "000000000000000")).await, (404, "not_found".to_owned()));
    let verdict = FormBody::new().text("verification_status", "rejected");
    let token = app.token("postman").await;
    assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&token).form(verdict).send().await.status, 200);
    assert_eq!(problem(&flow).await, (409, "decided".to_owned()));
    // Nor does a signed link reopen it.
    let superuser = shared().await.superuser().await.unwrap();
    let user =
        superuser.find("profiles", &format!("id=\"{id}\"")).await.unwrap()[0]["user_id"].as_str().unwrap().to_owned();
    let partner = app.partner(json!({ "team": "team_123" })).await;
    let page = app.get(&partner.signed_link(&user, 600)).send().await;
    assert_eq!((page.status, &settings(&page)["problem"]), (409, &json!("decided")));
    assert!(settings(&page)["token"].is_null());
}

#[tokio::test]
async fn a_hostile_partner_record_stays_text() {
    let superuser = shared().await.superuser().await.unwrap();
    let (key, team) = (unique("pk_"), unique("team"));
    let name = "</script><script>alert(1)</script>{{script}}";
    let partner = json!({
        "name": name, "team": team, "active": true, "publishable_key_hash": hash_api_key(&key), "link_mode": "open",
        "theme": {
            "primary": "red;}</style><script>alert(2)</script>", "background": "url(https://evil.example)",
            "logo": "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9J2FsZXJ0KDEpJy8+",
        },
    });
    superuser.create("partners", partner).await.unwrap();
    let app = App::new().await;
    let opened = app.get(&format!("/verif/?api_key={key}&user_identifier={}", unique("user"))).send().await;
    let page = app.get(&location(&opened)).send().await;
    let html = page.body.as_str().unwrap();
    assert!(!html.contains("alert(1)</script>") && !html.contains("alert(2)") && !html.contains("evil.example"));
    assert_eq!(html.matches("<script").count(), html.matches("</script>").count());
    assert_eq!(
        (&settings(&page)["partner"]["name"], &settings(&page)["partner"]["logo"]),
        (&json!(name), &Value::Null)
    );
}

#[tokio::test]
async fn branding_is_taken_from_the_partner_of_the_key_or_of_the_team() {
    let superuser = shared().await.superuser().await.unwrap();
    let (key, team) = (unique("pk_"), unique("team"));
    for (name, own) in [
        ("First of the team", json!({})),
        ("Second", json!({ "publishable_key_hash": hash_api_key(&key), "link_mode": "open" })),
    ] {
        let mut partner = json!({ "name": name, "team": team, "active": true, "theme": { "primary": "#00695c" } });
        partner.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
        superuser.create("partners", partner).await.unwrap();
    }
    let app = App::new().await;
    let opened = app.get(&format!("/verif/?api_key={key}&user_identifier={}", unique("user"))).send().await;
    let page = app.get(&location(&opened)).send().await;
    assert_eq!(settings(&page)["partner"]["name"], "Second");
    assert!(page.body.as_str().unwrap().contains("--accent:#00695c;--on-accent:#ffffff"));
    // A link of POST /api/profiles/create.
    let (_, flow) = app.profile("postman").await;
    let page = app.get(&format!("/verif/?token={flow}")).send().await;
    assert_eq!((page.status, &settings(&page)["partner"]["name"]), (200, &json!("Development partner")));
}
