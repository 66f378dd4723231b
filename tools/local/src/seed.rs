//! Development data in PocketBase. Seeding again changes nothing.

use reqwest::Method;
use serde_json::{Value, json};
use shared::auth::hash_api_key;
use shared::env::Env;
use shared::pocketbase::records::DedupeKey;
use shared::types::Invalid;

use crate::Error;
use crate::pocketbase::Superuser;

/// The id of the profile in the sample events.
pub const SPECIMEN_PROFILE: &str = "specimen0000001";

/// The `userID` of that profile.
pub const SPECIMEN_USER: &str = "specimen";

/// The id of a redacted profile.
pub const REDACTED_PROFILE: &str = "specimen0000002";

/// The id of the Face Liveness session in the sample events.
pub const SPECIMEN_SESSION: &str = "5bec1e50-0000-4000-8000-000000000001";

/// The team of the development credentials.
pub const TEAM: &str = "team_123";

/// Creates what is missing of: the service account, a partner with keys, settings, a specimen profile and a Face Liveness result.
///
/// # Errors
/// When a setting is missing or PocketBase fails.
pub async fn seed(superuser: &Superuser, env: &Env) -> Result<(), Error> {
    service_account(superuser, env.require("PB_USER_EMAIL")?, env.require("PB_USER_PASSWORD")?).await?;
    let missing = |found: Vec<Value>| found.is_empty();
    if missing(superuser.find("partners", r#"name="Development partner""#).await?) {
        let hash = |name| env.require(name).map(hash_api_key);
        let partner = json!({
            "name": "Development partner",
            "team": TEAM,
            "active": true,
            "secret_key_hash": hash("DEV_PARTNER_SECRET_KEY")?,
            "publishable_key_hash": hash("DEV_PARTNER_PUBLISHABLE_KEY")?,
            "link_mode": "open",
            "link_secret": env.get("DEV_PARTNER_LINK_SECRET").unwrap_or_default(),
        });
        superuser.create("partners", partner).await?;
    }
    webhook(superuser, env).await?;
    if missing(superuser.find("settings", "").await?) {
        for (key, value, public) in [
            ("supported_documents", json!(["passport", "national_id", "driving_license"]), true),
            ("support_email", json!("support@identivia.test"), true),
            ("manual_review", json!(true), false),
        ] {
            superuser.create("settings", json!({ "key": key, "value": value, "public": public })).await?;
        }
    }
    if missing(superuser.find("profiles", &format!(r#"id="{SPECIMEN_PROFILE}""#)).await?) {
        let user = SPECIMEN_USER.parse().map_err(|invalid: Invalid| Error::new(invalid.0))?;
        let specimen = json!({
            "id": SPECIMEN_PROFILE,
            "team": TEAM,
            "user_id": SPECIMEN_USER,
            "dedupe_key": DedupeKey::of_user(TEAM.parse().ok().as_ref(), &user),
            "name": "Specimen Person",
            "document_type": "passport",
            "document_number": "X00000000",
            "country": "UTO",
            "verification_status": "unverified",
        });
        superuser.create("profiles", specimen).await?;
    }
    if missing(superuser.find("profiles", &format!(r#"id="{REDACTED_PROFILE}""#)).await?) {
        let dedupe_key = format!("redacted:{REDACTED_PROFILE}");
        let redacted = json!({ "id": REDACTED_PROFILE, "team": TEAM, "dedupe_key": dedupe_key, "redacted": true });
        superuser.create("profiles", redacted).await?;
    }
    if missing(superuser.find("liveness_sessions", &format!(r#"session_id="{SPECIMEN_SESSION}""#)).await?) {
        let session =
            json!({ "session_id": SPECIMEN_SESSION, "team": TEAM, "status": "SUCCEEDED", "confidence": 95.5 });
        superuser.create("liveness_sessions", session).await?;
    }
    Ok(())
}

/// Creates the service account of the functions, or sets its password to the configured one.
async fn service_account(superuser: &Superuser, email: &str, password: &str) -> Result<(), Error> {
    let account = json!({
        "email": email,
        "password": password,
        "passwordConfirm": password,
        "verified": true,
        "role": "service",
    });
    let found = superuser.find("users", &format!("email={}", Value::from(email))).await?;
    let Some(id) = found.first().and_then(|user| user.get("id")).and_then(Value::as_str) else {
        superuser.create("users", account).await?;
        return Ok(());
    };
    let credentials = json!({ "identity": email, "password": password });
    let sign_in = superuser.call(Method::POST, "/api/collections/users/auth-with-password", Some(credentials)).await;
    if sign_in.is_err() {
        superuser.call(Method::PATCH, &format!("/api/collections/users/records/{id}"), Some(account)).await?;
    }
    Ok(())
}

/// Sends the development partner's webhooks to the local receiver, unless the partner has another endpoint.
async fn webhook(superuser: &Superuser, env: &Env) -> Result<(), Error> {
    let Some(port) = env.get("RECEIVER_PORT") else { return Ok(()) };
    let secret = env.require("DEV_PARTNER_SIGNING_SECRET")?;
    let found = superuser.find("partners", r#"name="Development partner""#).await?;
    let Some(partner) = found.first() else { return Ok(()) };
    let text = |field| partner.get(field).and_then(Value::as_str).unwrap_or_default();
    let url = text("webhook_url");
    if !url.is_empty() && !url.starts_with("http://127.0.0.1:") {
        return Ok(());
    }
    let changes = json!({
        "webhook_url": format!("http://127.0.0.1:{port}/webhook"),
        "webhook_secrets": [{ "secret": secret }],
        "webhook_events": ["check.completed", "profile.status_changed"],
        "webhook_disabled": "",
        "webhook_failing_since": "",
    });
    let path = format!("/api/collections/partners/records/{}", text("id"));
    superuser.call(Method::PATCH, &path, Some(changes)).await.map(|_| ())
}
