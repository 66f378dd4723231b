//! Bearer tokens: accepted and refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::support::{App, JWT_SECRET};

const INVALID: &str = "Invalid bearer token";
const EXPIRED: &str = "Bearer token expired";

fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn claims() -> Value {
    json!({
        "iss": "identivia-backend",
        "aud": "identivia-api",
        "sub": "someone",
        "exp": now() + 600,
        "scope": "settings:read",
        "team_id": "team_123",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn signed(claims: &Value) -> String {
    signed_with(claims, Algorithm::HS256, JWT_SECRET)
}

fn signed_with(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap()
}

/// A token whose header says one thing and whose signature is an HS256 one all the same.
fn with_header(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

async fn ask(app: &App, authorization: &str) -> (u16, String) {
    let answer = app.get("/api/settings").header("authorization", authorization).send().await;
    if answer.status == 401 {
        assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
        assert_eq!(answer.body.as_object().unwrap().len(), 1, "nothing but the error: {answer:?}");
    }
    (answer.status, answer.body["error"].as_str().unwrap_or_default().to_owned())
}

macro_rules! refused {
    ($($name:ident: $token:expr => $error:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            assert_eq!(ask(&App::new().await, &format!("Bearer {}", $token)).await, (401, $error.to_owned()));
        }
    )*};
}

refused! {
    a_token_without_algorithm_is_refused: with_header(&json!({ "alg": "none", "typ": "JWT" }), &claims()) => INVALID;
    an_unsigned_token_is_refused: {
        let token = with_header(&json!({ "alg": "none" }), &claims());
        token.rsplit_once('.').unwrap().0.to_owned() + "."
    } => INVALID;
    a_token_that_claims_rs256_is_refused: with_header(&json!({ "alg": "RS256", "typ": "JWT" }), &claims()) => INVALID;
    a_token_with_a_critical_extension_is_refused:
        with_header(&json!({ "alg": "HS256", "typ": "JWT", "crit": ["exp"] }), &claims()) => INVALID;
    a_token_signed_with_hs384_is_refused: signed_with(&claims(), Algorithm::HS384, JWT_SECRET) => INVALID;
    a_token_of_another_secret_is_refused:
        signed_with(&claims(), Algorithm::HS256, "another-secret-that-is-long-enough-too") => INVALID;
    a_token_with_a_stripped_signature_is_refused: signed(&claims()).rsplit_once('.').unwrap().0 => INVALID;
    a_token_with_an_empty_signature_is_refused: format!("{}.", signed(&claims()).rsplit_once('.').unwrap().0) => INVALID;
    a_token_with_an_extra_segment_is_refused: format!("{}.extra", signed(&claims())) => INVALID;
    a_tampered_payload_is_refused: {
        let (mine, yours) = (signed(&claims()), signed(&with("team_id", "team_456".into())));
        let (mine, yours): (Vec<_>, Vec<_>) = (mine.split('.').collect(), yours.split('.').collect());
        [mine[0], yours[1], mine[2]].join(".")
    } => INVALID;
    a_wrong_issuer_is_refused: signed(&with("iss", "someone-else".into())) => INVALID;
    a_missing_issuer_is_refused: signed(&without("iss")) => INVALID;
    a_wrong_audience_is_refused: signed(&with("aud", "another-api".into())) => INVALID;
    a_missing_audience_is_refused: signed(&without("aud")) => INVALID;
    a_missing_expiry_is_refused: signed(&without("exp")) => INVALID;
    an_expiry_that_is_no_number_is_refused: signed(&with("exp", "tomorrow".into())) => INVALID;
    a_future_not_before_is_refused: signed(&with("nbf", (now() + 60).into())) => INVALID;
    a_token_that_expired_ten_seconds_ago_is_refused: signed(&with("exp", (now() - 10).into())) => EXPIRED;
    an_empty_token_is_refused: "" => INVALID;
    a_token_of_nine_kilobytes_is_refused: signed(&with("sub", "x".repeat(9_000).into())) => INVALID;
    a_flow_token_without_a_profile_is_refused: signed(&with("token_use", "flow".into())) => INVALID;
    a_profile_in_a_token_for_another_use_is_refused: signed(&with("profile_id", "abc123def456ghi".into())) => INVALID;
    a_team_that_could_not_be_one_is_refused: signed(&with("team_id", "a\nb".into())) => INVALID;
    scopes_that_are_no_text_are_refused: signed(&with("scope", 7.into())) => INVALID;
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let app = App::new().await;
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        assert_eq!(ask(&app, &format!("{scheme} {}", signed(&claims()))).await.0, 200, "{scheme}");
    }
}

#[tokio::test]
async fn other_schemes_and_bare_tokens_are_refused() {
    let app = App::new().await;
    for authorization in
        [signed(&claims()), format!("Basic {}", signed(&claims())), "Bearer".into(), " ".into(), "Bearer  ".into()]
    {
        assert_eq!(ask(&app, &authorization).await, (401, INVALID.to_owned()), "{authorization}");
    }
}

#[tokio::test]
async fn a_clock_that_is_three_seconds_off_is_forgiven() {
    let app = App::new().await;
    for claims in [with("exp", (now() - 2).into()), with("nbf", (now() + 3).into())] {
        assert_eq!(ask(&app, &format!("Bearer {}", signed(&claims))).await.0, 200);
    }
}

#[tokio::test]
async fn scopes_may_be_an_array() {
    let app = App::new().await;
    let mut claims = without("scope");
    assert_eq!(ask(&app, &format!("Bearer {}", signed(&claims))).await, (403, "Insufficient scope".to_owned()));
    claims["scopes"] = json!(["unknown:scope", "settings:read"]);
    assert_eq!(ask(&app, &format!("Bearer {}", signed(&claims))).await.0, 200);
}

#[tokio::test]
async fn without_issuer_and_audience_set_none_is_asked_for() {
    let app = App::with(&[("JWT_ISSUER", ""), ("JWT_AUDIENCE", "")]).await;
    let mut claims = without("iss");
    claims["aud"] = "whoever".into();
    assert_eq!(ask(&app, &format!("Bearer {}", signed(&claims))).await.0, 200);
}

#[tokio::test]
async fn a_present_authorization_is_judged_alone() {
    let app = App::new().await;
    let (id, _) = app.profile("postman").await;
    let answer = app
        .get(&format!("/api/profiles/{id}"))
        .header("authorization", "Bearer forged")
        .key(crate::support::STATIC_KEY)
        .send()
        .await;
    assert_eq!(answer.status, 401, "a good key does not help a bad token");
}

#[tokio::test]
async fn insufficient_scope_is_said_as_rfc_6750_says_it() {
    let app = App::new().await;
    let answer = app.get("/api/settings").bearer(&app.token("limited").await).send().await;
    assert_eq!(answer.status, 403);
    assert_eq!(answer.body, json!({ "error": "Insufficient scope", "required": ["settings:read"] }));
    assert!(answer.header("www-authenticate").contains(r#"error="insufficient_scope", scope="settings:read""#));
}

#[tokio::test]
async fn issued_tokens_carry_the_promised_claims() {
    let app = App::new().await;
    let read = |token: &str| -> Value {
        let payload = token.split('.').nth(1).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
    };
    let machine = read(&app.token("postman").await);
    for (claim, value) in [
        ("iss", "identivia-backend"),
        ("aud", "identivia-api"),
        ("sub", "postman"),
        ("client_id", "postman"),
        ("partner_id", "internal-tools"),
        ("team_id", "team_123"),
    ] {
        assert_eq!(machine[claim], value, "{claim}");
    }
    assert_eq!(machine["exp"].as_i64().unwrap() - machine["iat"].as_i64().unwrap(), 3_600);
    assert!(machine["nbf"].is_number() && machine["jti"].as_str().unwrap().len() == 32);
    assert!(machine.get("all_teams").is_none() && machine.get("token_use").is_none());
    assert_eq!(read(&app.token("root").await)["all_teams"], true);

    let (id, flow) = app.profile("postman").await;
    let flow = read(&flow);
    assert_eq!(
        (&flow["profile_id"], &flow["token_use"], &flow["team_id"]),
        (&json!(id), &json!("flow"), &json!("team_123"))
    );
    assert_eq!(flow["exp"].as_i64().unwrap() - flow["iat"].as_i64().unwrap(), 1_800);
}
