//! Every example request of the seed documents for these routes, with the status and the body that they document.
//!
//! 001 and 002 are the backend API (bearer tokens), 000 and 003 the key API (static keys). Public look-ups are on, as 000
//! and 003 have them.
//!
//! | seed | example | status | test |
//! |---|---|---|---|
//! | 001 | token issuance | 200 | `s001_token_issuance` |
//! | 001 | health check | 200 | `s001_health_check` |
//! | 001 | create profile, new and existing | 201, 200 | `s001_create_profile_new_and_existing` |
//! | 001 | create profile, errors | 400, 401 | `s001_create_profile_without_user_id_or_token` |
//! | 001, 002 | get profile (002 shows only the request) | 200 | `s001_get_profile` |
//! | 001 | get profile, error | 404 | `s001_get_profile_that_does_not_exist` |
//! | 001 | update profile | 200 | `s001_update_profile` |
//! | 001 | get settings | 200 | `s001_settings` |
//! | 001 | create status history | 201 | `s001_status_history` |
//! | 001 | create verification history | 201 | `s001_verification_history` |
//! | 001 | create Face Liveness session | 200, 501 | `s001_create_face_liveness_session` |
//! | 001 | get Face Liveness results | 200, 404 | `s001_face_liveness_results` |
//! | 001 | document analysis | 200 | `s001_document_analysis` |
//! | 001 | temporary AWS credentials | 200 | `s001_temporary_aws_credentials` |
//! | 002 | client of the example configuration | 200 | `s002_the_client_of_the_example_configuration` |
//! | 000, 003 | create profile, new and existing | 201, 200 | `s000_and_s003_create_profile_new_and_existing` |
//! | 000, 003 | `apiKey` in the body | 201, 401 | `s000_the_key_may_stand_in_the_body_of_create` |
//! | 003 | create profile, errors | 400, 401 | `s003_create_profile_errors` |
//! | 000, 003 | get profile and its error | 200, 404 | `s000_and_s003_public_status_lookup` |
//! | 000 | update profile | 200 | `s000_update_profile` |
//! | 000 | status history | 201 | `s000_status_history_with_liveness` |
//! | 000, 003 | health check | 200 | `s000_and_s003_health_check` |

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::{App, FormBody, JPEG, MP4, NO_AWS, PNG, STATIC_KEY, assert_shape, unique};

async fn app() -> App {
    App::with(&[("PUBLIC_HEALTH", "true"), ("PUBLIC_STATUS_LOOKUP", "true")]).await
}

/// 001, create profile: the request of the example, for a user of this test's own.
fn john(user: &str) -> Value {
    json!({
        "userID": user,
        "name": "John Doe",
        "documentType": "passport",
        "documentNumber": "A12345678",
        "country": "US",
        "email": "john@example.com",
        "securityLevel": "high",
    })
}

/// 000 and 003, create profile: the request of the example, for a document of this test's own.
fn jane(number: &str) -> Value {
    json!({ "name": "Jane Doe", "document_type": "passport", "document_number": number, "nationality": "SG" })
}

#[tokio::test]
async fn s001_token_issuance() {
    let asked = json!({ "client_id": "postman", "client_secret": "replace-me", "scope": "profiles:read health:read" });
    let answer = app().await.post("/api/auth/token").json(&asked).send().await;
    assert_eq!(answer.status, 200);
    assert_shape(
        &answer.body,
        &json!({
            "access_token": "<token>",
            "token_type": "Bearer",
            "expires_in": 3600,
            "scope": "profiles:read health:read",
        }),
    );
}

#[tokio::test]
async fn s002_the_client_of_the_example_configuration() {
    let clients = r#"[{"client_id":"postman","client_secret":"replace-me","partner_id":"internal-tools","team_id":"team_123","scopes":["profiles:read","profiles:write","health:read"]}]"#;
    let app = App::with(&[("JWT_CLIENTS_JSON", clients), ("JWT_TTL_SECONDS", "3600")]).await;
    let token = app.token("postman").await;
    assert_eq!(app.get("/").bearer(&token).send().await.status, 200);
    assert_eq!(app.get("/api/settings").bearer(&token).send().await.status, 403);
}

#[tokio::test]
async fn s001_health_check() {
    let own = [
        ("LIVENESS_CLIENT_ROLE_ARN", "arn:aws:iam::123456789012:role/liveness"),
        ("OPENAI_API_KEY", "key"),
        ("FINGERPRINT_SECRET_KEY", "key"),
    ];
    let app = App::with(&own).await;
    let answer = app.get("/").bearer(&app.token("postman").await).send().await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "status": "OK",
        "service": "Identivia Integration API with AWS Face Liveness",
        "timestamp": "<rfc 3339>",
        "uptime": "<number>",
        "memory": { "rss": "<memory>", "heapTotal": "<memory>", "heapUsed": "<memory>" },
        "pocketbase_status": "authenticated",
        "pocketbase_url": crate::support::shared().await.url,
        "pocketbase_user_email": "service@identivia.test",
        "aws_faceliveness_status": "configured",
        "openai_model": "o4-mini",
        "openai_status": "configured",
        "faceliveness_threshold": 75,
        "fingerprint_status": "configured",
    });
    assert_shape(&answer.body, &expected);
}

#[tokio::test]
async fn s001_create_profile_new_and_existing() {
    let app = app().await;
    let (token, user) = (app.token("postman").await, unique("user"));
    let created = app.post("/api/profiles/create").bearer(&token).json(&john(&user)).send().await;
    assert_eq!(created.status, 201);
    let mut expected = json!({
        "success": true,
        "url": "https://app.identivia.com/<id>?token=<token>",
        "id": "<id>",
        "flow_token": "<token>",
    });
    assert_shape(&created.body, &expected);
    let link = format!("https://app.identivia.com/{}?token={}", created.text("/id"), created.text("/flow_token"));
    assert_eq!(created.text("/url"), link);

    let again = app.post("/api/profiles/create").bearer(&token).json(&john(&user)).send().await;
    assert_eq!(again.status, 200);
    expected["message"] = "Existing record found".into();
    assert_shape(&again.body, &expected);
    assert_eq!(again.text("/id"), created.text("/id"));
}

#[tokio::test]
async fn s001_create_profile_without_user_id_or_token() {
    let app = app().await;
    let token = app.token("postman").await;
    let missing = app.post("/api/profiles/create").bearer(&token).json(&json!({ "name": "John Doe" })).send().await;
    assert_eq!(missing.status, 400);
    let expected = json!({ "error": "Missing required fields", "required": ["userID"], "missing": ["userID"] });
    assert_shape(&missing.body, &expected);
    let anonymous = app.post("/api/profiles/create").json(&john("any")).send().await;
    assert_eq!(anonymous.status, 401);
    assert_shape(&anonymous.body, &json!({ "error": "Missing bearer token" }));
}

#[tokio::test]
async fn s001_get_profile() {
    let app = app().await;
    let token = app.token("postman").await;
    let mut person = john(&unique("user"));
    person["language"] = "en".into();
    let id = app.post("/api/profiles/create").bearer(&token).json(&person).send().await.text("/id");
    let path = format!("/api/profiles/{id}");
    let answer = app.get(&path).bearer(&token).send().await;
    assert_eq!(answer.status, 200);
    let mut data = json!({
        "name": "John Doe",
        "document_type": "passport",
        "document_number": "A12345678",
        "country": "US",
        "language": "en",
        "verification_status": "unverified",
        "status": "unverified",
        "security_level": "high",
        "createdAt": "<pocketbase date>",
        "verification_history": null,
    });
    assert_shape(&answer.body, &json!({ "success": true, "data": data }));

    let verification =
        app.post(&format!("/api/verification_history/{id}")).bearer(&token).form(verification()).send().await;
    assert_eq!(verification.status, 201, "{verification:?}");
    let status = json!({ "previous_status": "unverified", "new_status": "pending", "notes": "Verification submitted" });
    let status = app.post(&format!("/api/status_history/{id}")).bearer(&token).json(&status).send().await;
    assert_eq!(status.status, 201);
    let answer = app.get(&path).bearer(&token).send().await;
    data["status"] = "pending".into();
    data["verification_history"] = json!({
        "id": verification.text("/data/id"),
        "profile": id,
        "status": "pending",
        "liveness_session_id": "session-xyz",
        "liveness_confidence": 95.5,
        "liveness_status": "live",
        "document_type": "passport",
        "name": "John Doe",
        "document_number": "A12345678",
        "country": "US",
        "created": "<pocketbase date>",
        "updated": "<pocketbase date>",
    });
    assert_shape(&answer.body, &json!({ "success": true, "data": data }));
}

#[tokio::test]
async fn s001_get_profile_that_does_not_exist() {
    let app = app().await;
    let token = app.token("postman").await;
    // The example's own id, which is too short for a record, and one that could be.
    for id in ["abc123def456", "abc123def456ghi"] {
        let answer = app.get(&format!("/api/profiles/{id}")).bearer(&token).send().await;
        assert_eq!(answer.status, 404);
        assert_shape(
            &answer.body,
            &json!({ "error": "Identivia record not found", "message": "Invalid or expired ID" }),
        );
    }
}

#[tokio::test]
async fn s001_update_profile() {
    let app = app().await;
    let (id, _) = app.profile("postman").await;
    let form = FormBody::new()
        .text("verification_status", "pending")
        .text("document_type", "passport")
        .text("document_number", "A12345678")
        .text("document_name", "John Doe")
        .text("country", "US")
        .text("face_liveness_session_id", "session-xyz")
        .text("face_liveness_confidence", "95.5")
        .text("face_liveness_status", "live")
        .text("face_liveness_result", r#"{"Status":"SUCCEEDED"}"#)
        .file("document_front", JPEG)
        .file("document_back", JPEG)
        .file("facial_photo", PNG)
        .file("facial_video", MP4);
    let token = app.token("postman").await;
    let answer = app.patch(&format!("/api/profiles/{id}")).bearer(&token).form(form).send().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let expected = json!({
        "success": true,
        "message": "Record updated successfully",
        "data": {
            "id": id,
            "status": "pending",
            "document_type": "passport",
            "document_number": "A12345678",
            "document_name": "John Doe",
            "country": "US",
            "document_front": "<file>",
            "document_back": "<file>",
            "facial_photo": "<file>",
            "facial_video": "<file>",
            "updated": "<pocketbase date>",
        },
    });
    assert_shape(&answer.body, &expected);
    let stored = crate::support::shared()
        .await
        .superuser()
        .await
        .unwrap()
        .find("profiles", &format!("id=\"{id}\""))
        .await
        .unwrap();
    assert_eq!(stored[0]["face_liveness_result"], json!({ "Status": "SUCCEEDED" }));
    assert_eq!(stored[0]["face_liveness_confidence"], json!(95.5));
}

#[tokio::test]
async fn s001_settings() {
    let app = app().await;
    let answer = app.get("/api/settings").bearer(&app.token("postman").await).send().await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "success": true,
        "data": {
            "manual_review": true,
            "support_email": "support@identivia.test",
            "supported_documents": ["passport", "national_id", "driving_license"],
        },
    });
    assert_shape(&answer.body, &expected);
    let (_, flow) = app.profile("postman").await;
    let answer = app.get("/api/settings").bearer(&flow).send().await;
    assert_eq!(
        answer.body["data"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["support_email", "supported_documents"]
    );
}

#[tokio::test]
async fn s001_status_history() {
    let app = app().await;
    let (id, _) = app.profile("postman").await;
    let token = app.token("postman").await;
    let verification =
        app.post(&format!("/api/verification_history/{id}")).bearer(&token).form(verification()).send().await;
    let body = json!({
        "previous_status": "unverified",
        "new_status": "pending",
        "notes": "Verification submitted",
        "verification": verification.text("/data/id"),
    });
    let answer = app.post(&format!("/api/status_history/{id}")).bearer(&token).json(&body).send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let superuser = crate::support::shared().await.superuser().await.unwrap();
    let account = superuser.find("users", r#"email="service@identivia.test""#).await.unwrap();
    let expected = json!({
        "success": true,
        "message": "Status history record created",
        "data": {
            "id": "<id>",
            "profile": id,
            "updated_by": account[0]["id"],
            "previous_status": "unverified",
            "new_status": "pending",
            "notes": "Verification submitted",
            "created": "<pocketbase date>",
        },
    });
    assert_shape(&answer.body, &expected);
    let profile = superuser.find("profiles", &format!("id=\"{id}\"")).await.unwrap();
    assert_eq!(profile[0]["verification_status"], "unverified", "the history records; it does not change the profile");
}

fn verification() -> FormBody {
    FormBody::new()
        .text("liveness_session_id", "session-xyz")
        .text("liveness_confidence", "95.5")
        .text("document_type", "passport")
        .text("liveness_status", "live")
        .text("document_number", "A12345678")
        .text("country", "US")
        .text("name", "John Doe")
        .text("gender", "male")
        .text("date_of_birth", "1990-01-15")
        .text("fingerprint", r#"{"visitorId":"v1"}"#)
        .file("facial_photo", JPEG)
        .file("document_front", JPEG)
}

#[tokio::test]
async fn s001_verification_history() {
    let app = app().await;
    let (id, _) = app.profile("postman").await;
    let path = format!("/api/verification_history/{id}");
    let answer = app.post(&path).bearer(&app.token("postman").await).form(verification()).send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let expected = json!({
        "success": true,
        "message": "Verification history record created",
        "data": {
            "id": "<id>",
            "profile": id,
            "liveness_session_id": "session-xyz",
            "liveness_confidence": 95.5,
            "document_type": "passport",
            "document_number": "A12345678",
            "facial_photo": "<file>",
            "document_front": "<file>",
            "document_back": "",
            "country": "US",
            "liveness_status": "live",
            "name": "John Doe",
            "address": "",
            "created": "<pocketbase date>",
            "updated": "<pocketbase date>",
        },
    });
    assert_shape(&answer.body, &expected);
    let stored = crate::support::shared().await.superuser().await.unwrap();
    let stored = stored.find("verification_history", &format!("profile=\"{id}\"")).await.unwrap();
    assert_eq!(stored[0]["liveness_verified"], json!(false), "nobody has asked AWS");
    assert_eq!(stored[0]["ip_address"], "203.0.113.7", "the address that the gateway saw");
    assert_eq!(stored[0]["date_of_birth"], "1990-01-15 00:00:00.000Z");
    assert_eq!(stored[0]["fingerprint"], json!({ "visitorId": "v1" }));
}

#[tokio::test]
async fn s001_create_face_liveness_session() {
    let app = app().await;
    let answer = app.post("/api/face-liveness/session").bearer(&app.token("postman").await).send().await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "success": true,
        "sessionId": "<text>",
        "message": "Face Liveness session created successfully",
        "challengeType": "FaceMovementAndLightChallenge",
    });
    assert_shape(&answer.body, &expected);
    let app = App::with(&NO_AWS).await;
    let answer = app.post("/api/face-liveness/session").bearer(&app.token("postman").await).send().await;
    let expected = json!({
        "error": "AWS credentials not configured",
        "message": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set in environment variables",
    });
    assert_eq!((answer.status, &answer.body), (501, &expected));
}

#[tokio::test]
async fn s001_face_liveness_results() {
    let app = app().await;
    let token = app.token("postman").await;
    let session = app.session(&token, "95.5").await;
    let answer = app.get(&format!("/api/face-liveness/results/{session}")).bearer(&token).send().await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "success": true,
        "data": {
            "sessionId": session,
            "confidenceScore": 95.5,
            "isLive": true,
            "referenceImage": {
                "bytes": "<text>",
                "boundingBox": { "Width": 0.5, "Height": 0.6, "Left": 0.2, "Top": 0.1 },
            },
            "auditImages": [],
        },
        "message": "Face Liveness results retrieved successfully",
    });
    assert_shape(&answer.body, &expected);
    let image = STANDARD.decode(answer.text("/data/referenceImage/bytes")).unwrap();
    assert!(image.starts_with(b"\xff\xd8\xff"), "a JPEG in Base64");

    let answer = app.get("/api/face-liveness/results/session-uuid-here").bearer(&token).send().await;
    let expected = json!({ "error": "Session not found", "message": "Face Liveness session ID is invalid or expired" });
    assert_eq!((answer.status, &answer.body), (404, &expected));
}

#[tokio::test]
async fn s001_document_analysis() {
    let app = app().await;
    let says = json!({
        "name": "John Doe", "document_number": "A12345678", "country": "US", "document_type": "passport", "address": "",
        "gender": "male", "date_of_birth": "1990-01-15", "authenticity": "authentic",
    });
    let photo = [JPEG, format!("specimen:{says}").as_bytes()].concat();
    let form = FormBody::new().part("name=\"document_front\"; filename=\"passport.jpg\"", &photo);
    let form = form.text("document_type_hint", "passport").text("document_number_hint", "A12345678");
    let form = form.text("full_name_hint", "John Doe");
    let token = app.token("postman").await;
    let answer = app.post("/api/ollama/document-analysis").bearer(&token).form(form).send().await;
    assert_eq!(answer.status, 200);
    let mut body = answer.body.clone();
    // Beyond the seed: what is computed, and three fields more of what was read.
    let data = body["data"].as_object_mut().unwrap();
    assert_eq!(data.remove("checks").unwrap()["hints_match"]["result"], "pass");
    let fields = data["analysis_json"].as_object_mut().unwrap();
    for field in ["date_of_expiry", "authenticity_reasons", "mrz_lines"] {
        assert!(fields.remove(field).is_some(), "{field}");
    }
    let expected = json!({
        "success": true,
        "data": {
            "model": "o4-mini",
            "analysis": "<text>",
            "analysis_json": {
                "name": "John Doe",
                "document_number": "A12345678",
                "country": "US",
                "document_type": "passport",
                "address": "",
                "gender": "male",
                "date_of_birth": "1990-01-15 00:00:00.000Z",
                "authenticity": "authentic",
            },
            "verification_history_fields": {
                "name": "John Doe",
                "document_number": "A12345678",
                "country": "US",
                "address": null,
                "gender": "male",
                "date_of_birth": "1990-01-15",
            },
            "document": { "name": "passport.jpg", "mimetype": "image/jpeg", "size": photo.len() },
            "usage": { "prompt_tokens": "<number>", "completion_tokens": "<number>", "total_tokens": "<number>" },
        },
    });
    assert_shape(&body, &expected);
    assert!(serde_json::from_str::<Value>(&answer.text("/data/analysis")).unwrap().is_object(), "a raw JSON string");
}

#[tokio::test]
async fn s001_temporary_aws_credentials() {
    let app = App::with(&[("AWS_ENDPOINT_URL_STS", &crate::support::moto().await.url)]).await;
    let answer = app.get("/api/aws/credentials").bearer(&app.token("postman").await).send().await;
    assert_eq!(answer.status, 200);
    let expected = json!({
        "success": true,
        "data": {
            "accessKeyId": "<text>",
            "secretAccessKey": "<text>",
            "sessionToken": "<text>",
            "expiration": "<rfc 3339>",
        },
    });
    assert_shape(&answer.body, &expected);
}

#[tokio::test]
async fn s000_and_s003_create_profile_new_and_existing() {
    let app = app().await;
    let number = unique("A");
    let created = app.post("/api/profiles/create").key(STATIC_KEY).json(&jane(&number)).send().await;
    assert_eq!(created.status, 201);
    let mut expected = json!({ "success": true, "url": "https://identivia.com/<id>", "id": "<id>" });
    assert_shape(&created.body, &expected);
    let again = app.post("/api/profiles/create").key(STATIC_KEY).json(&jane(&number)).send().await;
    assert_eq!(again.status, 200);
    expected["message"] = "Existing record found".into();
    assert_shape(&again.body, &expected);
    assert_eq!(again.text("/id"), created.text("/id"));
}

#[tokio::test]
async fn s000_the_key_may_stand_in_the_body_of_create() {
    let app = app().await;
    let mut body = jane(&unique("A"));
    body["apiKey"] = STATIC_KEY.into();
    let created = app.post("/api/profiles/create").json(&body).send().await;
    assert_eq!(created.status, 201);
    body["apiKey"] = "not-a-key-of-anyone".into();
    let refused = app.post("/api/profiles/create").json(&body).send().await;
    assert_eq!(refused.status, 401);
    assert_shape(&refused.body, &json!({ "error": "Invalid or missing API key" }));
}

#[tokio::test]
async fn s003_create_profile_errors() {
    let app = app().await;
    let incomplete = json!({ "name": "Jane Doe", "nationality": " " });
    let missing = app.post("/api/profiles/create").key(STATIC_KEY).json(&incomplete).send().await;
    assert_eq!(missing.status, 400);
    let expected = json!({
        "error": "Missing required fields",
        "required": ["name", "document_type", "document_number", "nationality"],
        "missing": ["document_type", "document_number", "nationality"],
    });
    assert_shape(&missing.body, &expected);
    let refused = app.post("/api/profiles/create").key("not-a-key").json(&jane("A1")).send().await;
    assert_eq!(refused.status, 401);
    assert_shape(&refused.body, &json!({ "error": "Invalid or missing API key" }));
}

#[tokio::test]
async fn s000_and_s003_public_status_lookup() {
    let app = app().await;
    let id = app.post("/api/profiles/create").key(STATIC_KEY).json(&jane("A1234567")).send().await.text("/id");
    let status = json!({ "previous_status": "unverified", "new_status": "pending_review", "notes": "Being looked at" });
    assert_eq!(app.post(&format!("/api/status_history/{id}")).key(STATIC_KEY).json(&status).send().await.status, 201);
    let expected = json!({
        "success": true,
        "data": {
            "name": "Jane Doe",
            "document_type": "passport",
            "document_number": "A1234567",
            "nationality": "SG",
            "verification_status": "unverified",
            "status": "pending_review",
            "createdAt": "<rfc 3339>",
        },
    });
    let path = format!("/api/profiles/{id}");
    for answer in [app.get(&path).send().await, app.get(&path).key(STATIC_KEY).send().await] {
        assert_eq!(answer.status, 200);
        assert_shape(&answer.body, &expected);
    }
    let unknown = app.get("/api/profiles/RECORD_ID").send().await;
    assert_eq!(unknown.status, 404);
    assert_shape(&unknown.body, &json!({ "error": "Identivia record not found", "message": "Invalid or expired ID" }));
}

#[tokio::test]
async fn s000_update_profile() {
    let app = app().await;
    let id = app.post("/api/profiles/create").key(STATIC_KEY).json(&jane(&unique("A"))).send().await.text("/id");
    let form =
        FormBody::new().text("verification_status", "verified").file("document_front", JPEG).file("facial_photo", PNG);
    let answer = app.patch(&format!("/api/profiles/{id}")).key(STATIC_KEY).form(form).send().await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.text("/data/status"), "verified");
    assert!(answer.text("/data/document_front").ends_with(".jpg"));
    assert!(answer.text("/data/facial_photo").ends_with(".png"));
}

#[tokio::test]
async fn s000_status_history_with_liveness() {
    let app = app().await;
    let id = app.post("/api/profiles/create").key(STATIC_KEY).json(&jane(&unique("A"))).send().await.text("/id");
    let body = json!({
        "previous_status": "pending",
        "new_status": "verified",
        "notes": "Checked\nby hand",
        "liveness_session_id": "session-xyz",
        "liveness_confidence": 91,
        "liveness_status": "live",
    });
    let answer = app.post(&format!("/api/status_history/{id}")).key(STATIC_KEY).json(&body).send().await;
    assert_eq!(answer.status, 201);
    let stored = crate::support::shared().await.superuser().await.unwrap();
    let stored = stored.find("status_history", &format!("profile=\"{id}\"")).await.unwrap();
    assert_eq!(stored[0]["liveness_session_id"], "session-xyz");
    assert_eq!(stored[0]["liveness_confidence"], json!(91));
    assert_eq!(stored[0]["liveness_status"], "live");
    assert_eq!(stored[0]["notes"], "Checked\nby hand");
}

#[tokio::test]
async fn s000_and_s003_health_check() {
    let app = app().await;
    let expected = json!({ "status": "OK", "service": "Identivia-API", "recordsStored": 0 });
    for answer in [app.get("/").send().await, app.get("/").key(STATIC_KEY).send().await] {
        assert_eq!(answer.status, 200);
        assert_shape(&answer.body, &expected);
    }
}

#[tokio::test]
async fn the_public_look_ups_are_off_unless_asked_for() {
    let app = App::new().await;
    let (id, _) = app.profile("postman").await;
    for path in ["/".to_owned(), format!("/api/profiles/{id}")] {
        let answer = app.get(&path).send().await;
        assert_eq!(answer.status, 401);
        assert_shape(&answer.body, &json!({ "error": "Missing bearer token" }));
    }
}
