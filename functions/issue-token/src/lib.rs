//! POST /api/auth/token: issues a machine token to a client with its secret.
//!
//! The request is JSON (`client_id`, `client_secret`, `scope`), or the client credentials grant of OAuth 2.0 (RFC 6749, 4.4): a
//! form with `grant_type=client_credentials`, and the secret in the form or in HTTP Basic. Errors have OAuth's names (5.2). No
//! upstream service is called.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA, WWW_AUTHENTICATE};
use lambda_http::http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use shared::auth::{Scope, TokenClient, TokenClientSettings, TokenIssuer, is_same_secret};
use shared::env::{Env, StartError};
use shared::http::{ApiError, JsonError, json_response, parse_json, read_json};

/// The largest form that is read, in bytes.
const MAX_FORM: usize = 16 * 1024;

/// The form's media type.
const FORM: &str = "application/x-www-form-urlencoded";

/// State built once per execution environment.
pub struct State {
    clients: Vec<TokenClient>,
    issuer: TokenIssuer,
}

impl State {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { clients: TokenClientSettings::from_env(env)?.clients, issuer: TokenIssuer::from_env(env)? })
    }
}

/// Token request.
#[derive(Default, Deserialize)]
struct TokenRequest {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
}

#[derive(Serialize)]
struct TokenResponse {
    access_token: String,
    token_type: &'static str,
    expires_in: u64,
    scope: String,
}

/// Answers a request.
///
/// # Errors
/// 400 with an OAuth error name; 401 `invalid_client`; 413; 415 for another content type; 501 when no client is configured.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    if state.clients.is_empty() {
        return Err(ApiError::new(StatusCode::NOT_IMPLEMENTED, "Token clients not configured")
            .message("JWT_CLIENTS_JSON, or JWT_CLIENT_ID and JWT_CLIENT_SECRET, must be set"));
    }
    let asked = read(&request)?;
    let basic = basic_credentials(request.headers())?;
    let client = match &basic {
        Some(_) if asked.client_secret.is_some() => {
            return Err(oauth_error("invalid_request", "Send the client's secret in one place, not in two"));
        }
        Some((id, secret)) => {
            // RFC 6749 requires form encoding of the credentials inside Basic. Some libraries omit it, so both forms are accepted.
            state.client(id, secret).or_else(|| state.client(&form_decoded(id), &form_decoded(secret)))
        }
        None => {
            let missing = missing_credentials(&asked);
            if !missing.is_empty() {
                return Err(oauth_error("invalid_request", "client_id and client_secret are required")
                    .with("required", ["client_id", "client_secret"].as_slice())
                    .with("missing", missing));
            }
            state.client(&asked.client_id.unwrap_or_default(), &asked.client_secret.unwrap_or_default())
        }
    };
    let client = client.ok_or_else(|| invalid_client(basic.is_some()))?;
    let scopes = granted(client, asked.scope.as_deref())?;
    let body = TokenResponse {
        access_token: state.issuer.issue(client, &scopes)?,
        token_type: "Bearer",
        expires_in: state.issuer.expires_in(),
        scope: Scope::join(&scopes),
    };
    let mut response = json_response(StatusCode::OK, &body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

impl State {
    /// The client with this id and secret. All clients are compared, so that the response time reveals nothing.
    fn client(&self, id: &str, secret: &str) -> Option<&TokenClient> {
        self.clients.iter().fold(None, |found, client| {
            let matches = is_same_secret(&client.client_id, id) & is_same_secret(&client.client_secret, secret);
            if matches { Some(client) } else { found }
        })
    }
}

fn read(request: &Request) -> Result<TokenRequest, ApiError> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(FORM));
    let asked = if is_form { read_form(request.body())? } else { read_json_request(request)? };
    match asked.grant_type.as_deref() {
        None if is_form => Err(oauth_error("invalid_request", "grant_type is required")),
        None | Some("client_credentials") => Ok(asked),
        Some(_) => Err(oauth_error("unsupported_grant_type", "grant_type must be client_credentials")),
    }
}

fn read_json_request(request: &Request) -> Result<TokenRequest, ApiError> {
    let body = read_json(request).map_err(|error| match error {
        JsonError::WrongContentType => ApiError::wrong_content_type(&format!("application/json or {FORM}")),
        error => error.into(),
    });
    body.and_then(parse_json).map_err(invalid_request)
}

fn read_form(body: &[u8]) -> Result<TokenRequest, ApiError> {
    if body.len() > MAX_FORM {
        return Err(invalid_request(ApiError::too_large("The form must be at most 16 kB")));
    }
    let malformed = || oauth_error("invalid_request", "The body is not a form");
    let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body).map_err(|_| malformed())?;
    let mut fields = BTreeMap::new();
    for (name, value) in pairs {
        // RFC 6749, 3.2: parameters must not be repeated, and one without a value counts as absent.
        if fields.insert(name, Some(value).filter(|value| !value.is_empty())).is_some() {
            return Err(oauth_error("invalid_request", "A parameter is given twice"));
        }
    }
    let mut take = |name: &str| fields.remove(name).flatten();
    Ok(TokenRequest {
        grant_type: take("grant_type"),
        client_id: take("client_id"),
        client_secret: take("client_secret"),
        scope: take("scope"),
    })
}

/// The id and secret of HTTP Basic; `None` without an `Authorization` header.
fn basic_credentials(headers: &HeaderMap) -> Result<Option<(String, String)>, ApiError> {
    let Some(header) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let credentials =
        header.to_str().ok().and_then(|value| value.trim().split_once(' ')).and_then(|(scheme, encoded)| {
            let decoded = STANDARD.decode(encoded.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
            let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
            Some((id.to_owned(), secret.to_owned()))
        });
    credentials.map(Some).ok_or_else(|| invalid_client(true))
}

fn form_decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

fn missing_credentials(asked: &TokenRequest) -> Vec<&'static str> {
    let fields = [("client_id", &asked.client_id), ("client_secret", &asked.client_secret)];
    fields.into_iter().filter(|(_, value)| value.as_deref().is_none_or(str::is_empty)).map(|(name, _)| name).collect()
}

/// The requested scopes; all of the client's when the request names none.
fn granted(client: &TokenClient, asked: Option<&str>) -> Result<Vec<Scope>, ApiError> {
    let mut scopes = Vec::new();
    for name in asked.unwrap_or_default().split_whitespace() {
        match name.parse() {
            Ok(scope) if client.scopes.contains(&scope) => scopes.push(scope),
            _ => return Err(oauth_error("invalid_scope", "A requested scope is not among the client's")),
        }
    }
    Ok(if scopes.is_empty() { client.scopes.clone() } else { scopes })
}

fn oauth_error(error: &str, description: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, error).with("error_description", description)
}

/// Replaces the short text of an error by OAuth's `invalid_request`.
fn invalid_request(error: ApiError) -> ApiError {
    error.with("error", "invalid_request")
}

fn invalid_client(by_basic: bool) -> ApiError {
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_client")
        .with("error_description", "Unknown client, or its secret is wrong")
        .retry_after_secret_reload();
    if by_basic { error.header(WWW_AUTHENTICATE, "Basic realm=\"identivia\"") } else { error }
}
