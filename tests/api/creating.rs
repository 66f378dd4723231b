//! POST /api/profiles/create: stored fields, refusals, and deduplication.

use serde_json::{Value, json};

use crate::support::{Answer, App, STATIC_KEY, shared, unique};

async fn create(app: &App, token: &str, body: &Value) -> Answer {
    app.post("/api/profiles/create").bearer(token).json(body).send().await
}

#[tokio::test]
async fn awkward_user_ids_are_stored_and_found_exactly_or_refused() {
    let app = App::new().await;
    let token = app.token("postman").await;
    let superuser = shared().await.superuser().await.unwrap();
    let mark = unique("");
    for awkward in [
        r#"double " quote"#,
        "single ' quote",
        r"back\slash",
        r#"\" || 1=1 || ""#,
        r#"" || user_id != ""#,
        "a && b || c",
        "%",
        "_",
        "//comment",
        "{:placeholder}",
        "@request.auth.id",
        "é",
        "👩",
        "null",
        "0",
        &"x".repeat(100),
    ] {
        let user = format!("u{awkward}{mark}{awkward}.");
        let made = create(&app, &token, &json!({ "userID": user })).await;
        assert_eq!(made.status, 201, "{user:?} {made:?}");
        let again = create(&app, &token, &json!({ "userID": user })).await;
        assert_eq!((again.status, again.text("/id")), (200, made.text("/id")), "{user:?}");
        let stored = superuser.find("profiles", &format!("id=\"{}\"", made.text("/id"))).await.unwrap();
        assert_eq!(stored[0]["user_id"], user, "stored as it came");
    }
    let ends_in_a_backslash = json!({ "userID": format!(r"{mark}\") });
    assert_eq!(create(&app, &token, &ends_in_a_backslash).await.status, 201);
    assert_eq!(create(&app, &token, &ends_in_a_backslash).await.status, 200);
    for refused in [
        "line\nbreak",
        "nul\0",
        "tab\t",
        "\u{7f}",
        "\u{85}",
        " leading",
        "trailing ",
        "\u{a0}",
        // What cannot be seen, or has another form that looks the same.
        "e\u{301}",
        "👩\u{200d}👩",
        "a\u{2028}b",
        "a\u{200b}b",
        "\u{feff}a",
        "a\u{202e}b",
        &"x".repeat(256),
        &"x".repeat(10_240),
    ] {
        let answer = create(&app, &token, &json!({ "userID": refused })).await;
        assert_eq!((answer.status, &answer.body["error"].is_string()), (400, &true), "{refused:?} {answer:?}");
    }
}

#[tokio::test]
async fn user_ids_that_look_alike_are_different_people() {
    let app = App::new().await;
    let token = app.token("postman").await;
    let mark = unique("");
    let mut ids = std::collections::BTreeSet::new();
    let alike = ["user", "User", "user.", "us\u{435}r", "é", "e"];
    for user in alike {
        ids.insert(create(&app, &token, &json!({ "userID": format!("{user}{mark}") })).await.text("/id"));
    }
    assert_eq!(ids.len(), alike.len());
}

#[tokio::test]
async fn wrong_fields_are_named_and_their_values_are_not_repeated() {
    let app = App::new().await;
    let token = app.token("postman").await;
    for (field, value) in [
        ("userID", json!(12_345)),
        ("userID", json!(["secret-value"])),
        ("name", json!({ "first": "secret-value" })),
        ("name", json!("x".repeat(256))),
        ("email", json!("secret-value\nBcc: someone")),
        ("documentNumber", json!(true)),
        ("language", json!("x".repeat(36))),
    ] {
        let mut body = json!({ "userID": unique("user") });
        body[field] = value;
        let answer = create(&app, &token, &body).await;
        assert_eq!(
            (answer.status, &answer.body["error"], &answer.body["field"]),
            (400, &json!("Invalid field"), &json!(field))
        );
        assert!(
            answer.text("/message").starts_with(field) && !answer.body.to_string().contains("secret"),
            "{answer:?}"
        );
    }
    for blank in [json!(null), json!(""), json!("  ")] {
        let answer = create(&app, &token, &json!({ "userID": blank })).await;
        assert_eq!((answer.status, &answer.body["missing"]), (400, &json!(["userID"])));
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_object_are_refused() {
    let app = App::new().await;
    let token = app.token("postman").await;
    let ask =
        |content_type: &str, body: &[u8]| app.post("/api/profiles/create").bearer(&token).body(content_type, body);
    for body in
        [&b""[..], b"{", b"[]", b"null", b"\"text\"", b"{\"userID\":\"a\"} x", b"\xff\xfe", &b"[".repeat(50_000)]
    {
        let answer = ask("application/json", body).send().await;
        assert_eq!(
            (answer.status, &answer.body["error"]),
            (400, &json!("Invalid JSON")),
            "{:?}",
            &body[..body.len().min(20)]
        );
    }
    let large = json!({ "userID": "a", "padding": "x".repeat(70_000) }).to_string();
    assert_eq!(ask("application/json", large.as_bytes()).send().await.status, 413);
    for other in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        assert_eq!(ask(other, br#"{"userID":"a"}"#).send().await.status, 415, "{other}");
    }
}

#[tokio::test]
async fn a_known_person_keeps_what_is_stored_and_gets_what_is_not() {
    let app = App::new().await;
    let token = app.token("postman").await;
    let user = unique("user");
    let id = create(&app, &token, &json!({ "userID": user, "name": "First", "country": "US" })).await.text("/id");
    let again = create(&app, &token, &json!({ "userID": user, "name": "Second", "documentNumber": "X" })).await;
    assert_eq!((again.status, again.text("/id")), (200, id.clone()));
    let profile = app.get(&format!("/api/profiles/{id}")).bearer(&token).send().await;
    assert_eq!(
        (&profile.body["data"]["name"], &profile.body["data"]["document_number"]),
        (&json!("First"), &json!("X"))
    );
}

#[tokio::test]
async fn documents_are_compared_without_case_and_padding() {
    let app = App::new().await;
    let number = unique("Ab");
    let create = async |document_type: &str, number: &str, nationality: &str| {
        let body = json!({ "name": "Jane", "document_type": document_type, "document_number": number, "nationality": nationality });
        app.post("/api/profiles/create").key(STATIC_KEY).json(&body).send().await
    };
    let made = create("passport", &number, "sg").await;
    assert_eq!(made.status, 201);
    let same = create(" PASSPORT ", &number.to_uppercase(), "SG").await;
    assert_eq!((same.status, same.text("/id")), (200, made.text("/id")));
    assert_eq!(create("id_card", &number, "SG").await.status, 201);
    assert_eq!(create("passport", &number, "MY").await.status, 201);
}

#[tokio::test]
async fn user_ids_and_documents_never_share_a_record() {
    let app = App::new().await;
    let number = unique("A");
    let by_user =
        json!({ "userID": unique("user"), "documentType": "passport", "documentNumber": number, "country": "SG" });
    let by_document =
        json!({ "name": "Jane", "document_type": "passport", "document_number": number, "nationality": "SG" });
    let first = app.post("/api/profiles/create").key(STATIC_KEY).json(&by_user).send().await;
    assert!(first.status == 201 && first.body["flow_token"].is_string(), "with userID a key gets the newer contract");
    let second = app.post("/api/profiles/create").key(STATIC_KEY).json(&by_document).send().await;
    assert_eq!(second.status, 201);
    assert_ne!(first.text("/id"), second.text("/id"));
}

#[tokio::test]
async fn a_profile_is_found_by_the_document_it_was_created_with() {
    let app = App::new().await;
    let body =
        json!({ "name": "Jane", "document_type": "passport", "document_number": unique("A"), "nationality": "SG" });
    let create = || app.post("/api/profiles/create").key(STATIC_KEY).json(&body);
    let id = create().send().await.text("/id");
    let form = crate::support::FormBody::new().text("document_number", "CHANGED").text("country", "MY");
    assert_eq!(app.patch(&format!("/api/profiles/{id}")).key(STATIC_KEY).form(form).send().await.status, 200);
    let again = create().send().await;
    assert_eq!((again.status, again.text("/id")), (200, id));
}
