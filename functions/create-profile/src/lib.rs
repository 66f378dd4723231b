//! POST /api/profiles/create: creates a profile, or finds the existing one.
//!
//! The body decides how an existing profile is found, and the kind of link. With `userID`: one profile per team and `userID`, and a
//! link with a flow token. Without `userID`, for an API key: one profile per team and document type, number and country, and a link
//! without a token.
//! PocketBase calls: one for a new profile, two for an existing one, three for one that lacks declared data which the request has.

use lambda_http::http::StatusCode;
use lambda_http::http::header::WWW_AUTHENTICATE;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::auth::{self, Caller, Scope};
use shared::env::{ConfigError, Env, StartError};
use shared::http::{ApiError, credentials, json_response, parse_json, read_json};
use shared::pocketbase::records::{CreatedProfile, DedupeKey, NewProfile};
use shared::runtime::Backend;
use shared::types::{Day, Origin, RecordId, Team, Teams, Text, UserId};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    links: LinkSettings,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { links: LinkSettings::from_env(env)?, backend: Backend::from_env(env).await? })
    }
}

/// URLs of the hosted flow.
struct LinkSettings {
    /// `CLIENT_URL`: URL for profiles with `userID`, without a trailing slash.
    client_url: String,
    /// `IDENTIVIA_FRONTEND_URL`: URL for profiles by document; `https://identivia.com` by default.
    frontend_url: String,
}

impl LinkSettings {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let frontend_url = env.url("IDENTIVIA_FRONTEND_URL")?;
        Ok(Self {
            client_url: env.url("CLIENT_URL")?.ok_or(ConfigError::Missing("CLIENT_URL"))?,
            frontend_url: frontend_url.unwrap_or_else(|| "https://identivia.com".to_owned()),
        })
    }
}

/// Body with `userID`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ByUser {
    #[serde(rename = "userID")]
    user_id: UserId,
    name: Option<Text<255>>,
    document_type: Option<Text<64>>,
    document_number: Option<Text<128>>,
    country: Option<Text<128>>,
    phone_number: Option<Text<64>>,
    email: Option<Text<254>>,
    security_level: Option<Text<64>>,
    gender: Option<Text<32>>,
    ip_address: Option<Text<45>>,
    language: Option<Text<35>>,
    date_of_birth: Option<Day>,
}

/// Body without `userID`.
#[derive(Deserialize)]
struct ByDocument {
    name: Text<255>,
    document_type: Text<64>,
    document_number: Text<128>,
    nationality: Text<128>,
}

/// Required fields of a body without `userID`.
const DOCUMENT_FIELDS: [&str; 4] = ["name", "document_type", "document_number", "nationality"];

#[derive(Serialize)]
struct CreateResponse {
    success: bool,
    url: String,
    id: RecordId,
    #[serde(skip_serializing_if = "Option::is_none")]
    flow_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'static str>,
}

/// Answers a request.
///
/// # Errors
/// 400 for missing or invalid fields; 401; 403 for a flow token, a missing scope or a team that is not the caller's; 413; 415;
/// PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let body = read_json(&request);
    let body_key = body.as_ref().ok().and_then(|body| body.get("apiKey")).and_then(Value::as_str);
    let credentials = credentials(request.headers()).or_api_key(body_key);
    let caller = state.backend.authenticator.authenticate(credentials, &state.backend.pocketbase).await?;
    caller.require(Scope::ProfilesWrite)?;
    if caller.is_flow() {
        return Err(ApiError::from(auth::Error::InsufficientScope(Scope::ProfilesWrite))
            .message("A flow token opens one profile only"));
    }
    let body = body?;
    let by_user = is_given(&body, "userID");
    if !by_user && !caller.is_key() {
        return Err(ApiError::missing_fields(&["userID"], &["userID"]));
    }
    let team = team(state, &caller, &body).await?;
    let profile = if by_user { profile_of_user(team.clone(), body)? } else { profile_of_document(team.clone(), body)? };
    let (status, message, id) = match state.backend.pocketbase.create_profile(&profile, None).await? {
        CreatedProfile::Created(id) => (StatusCode::CREATED, None, id),
        CreatedProfile::Existing(id) => (StatusCode::OK, Some("Existing record found"), id),
    };
    let flow_token = match by_user {
        true => Some(state.backend.authenticator.flow_token(&id, team.as_ref(), &caller, Origin::Backend)?),
        false => None,
    };
    let url = match &flow_token {
        Some(token) => format!("{}/{id}?token={token}", state.links.client_url),
        None => format!("{}/{id}", state.links.frontend_url),
    };
    Ok(json_response(status, &CreateResponse { success: true, url, id, flow_token, message }))
}

/// Whether a field is present and not blank.
fn is_given(body: &Value, field: &str) -> bool {
    match body.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(_) => true,
    }
}

/// Team of the profile: the team in the body, if the caller may use it; else the caller's own. For a caller of all teams that
/// names no team, it is the service account's team. For a caller without a team it is none, since the caller would otherwise get
/// another team's records.
async fn team(state: &State, caller: &Caller, body: &Value) -> Result<Option<Team>, ApiError> {
    let asked: Option<Team> = match body.get("team") {
        Some(team) if is_given(body, "team") => {
            let name = team.as_str().ok_or_else(|| ApiError::invalid_field("team", "must be a string"))?;
            Some(name.parse().map_err(|reason| ApiError::invalid_field("team", reason))?)
        }
        _ => None,
    };
    match (asked, caller.teams()) {
        (Some(asked), Teams::Only(own)) if own.as_ref() != Some(&asked) => Err(team_not_allowed()),
        (Some(asked), _) => Ok(Some(asked)),
        (None, Teams::Only(own)) => Ok(own.clone()),
        (None, Teams::All) => Ok(state.backend.pocketbase.account().await?.team),
    }
}

/// 403 for a team that is not the caller's.
fn team_not_allowed() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "Team not allowed")
        .message("team must be your own, or absent")
        .header(WWW_AUTHENTICATE, "Bearer realm=\"identivia\", error=\"insufficient_scope\"")
}

fn profile_of_user(team: Option<Team>, body: Value) -> Result<NewProfile, ApiError> {
    let given: ByUser = parse_json(body)?;
    Ok(NewProfile {
        name: given.name,
        document_type: given.document_type,
        document_number: given.document_number,
        country: given.country,
        phone_number: given.phone_number,
        email: given.email,
        security_level: given.security_level,
        gender: given.gender,
        ip_address: given.ip_address,
        language: given.language,
        date_of_birth: given.date_of_birth,
        ..NewProfile::of_user(team, given.user_id)
    })
}

fn profile_of_document(team: Option<Team>, body: Value) -> Result<NewProfile, ApiError> {
    let missing: Vec<_> = DOCUMENT_FIELDS.into_iter().filter(|field| !is_given(&body, field)).collect();
    if !missing.is_empty() {
        return Err(ApiError::missing_fields(&DOCUMENT_FIELDS, &missing));
    }
    let given: ByDocument = parse_json(body)?;
    let (document_type, number, country) = (&given.document_type, &given.document_number, &given.nationality);
    let key = DedupeKey::of_document(team.as_ref(), document_type.as_str(), number.as_str(), country.as_str());
    Ok(NewProfile {
        name: Some(given.name),
        document_type: Some(given.document_type),
        document_number: Some(given.document_number),
        country: Some(given.nationality),
        ..NewProfile::empty(key, team)
    })
}
