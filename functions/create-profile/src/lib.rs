//! POST /api/profiles/create: makes a profile, or finds the one that is already there.
//!
//! The body's shape chooses what a person is told apart by. With `userID`: one profile per team and `userID`, and a link
//! with a flow token. Without, and with an API key: one per team, document type, number and country, and a plain link.
//! PocketBase calls: one for a new profile, two for a known one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::auth::{Caller, Scope};
use shared::backend::Backend;
use shared::config::{Env, LinkSettings};
use shared::http::{ApiError, StartError, json_response, parse_json, read_json};
use shared::pocketbase::{DedupeKey, NewProfile, Reused};
use shared::types::{RecordId, Team, Teams, Text, UserId, VerificationStatus};

/// What is made once in a process's life.
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

/// The body of the bearer contract.
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
}

/// The body of the key contract.
#[derive(Deserialize)]
struct ByDocument {
    name: Text<255>,
    document_type: Text<64>,
    document_number: Text<128>,
    nationality: Text<128>,
}

/// What the key contract requires.
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
/// 400 for missing or invalid fields; 401; 403 for a flow token, a missing scope or another's team; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let body = read_json(&request);
    let body_key = body.as_ref().ok().and_then(|body| body.get("apiKey")).and_then(Value::as_str);
    let caller = state.backend.authenticator.any(request.headers(), body_key, &state.backend.pocketbase).await?;
    let caller = caller.ok_or_else(ApiError::missing_bearer)?;
    caller.require(Scope::ProfilesWrite)?;
    if caller.is_flow() {
        return Err(ApiError::insufficient_scope(Scope::ProfilesWrite).message("A flow token opens one profile only"));
    }
    let body = body?;
    let by_user = is_given(&body, "userID");
    if !by_user && !caller.is_key() {
        return Err(ApiError::missing_fields(&["userID"], &["userID"]));
    }
    let team = team(state, &caller, &body).await?;
    let profile = if by_user { profile_of_user(team.clone(), body)? } else { profile_of_document(team.clone(), body)? };
    let (id, reused) = state.backend.pocketbase.create_profile(&profile).await?;
    let flow_token = match by_user {
        true => Some(state.backend.authenticator.flow_token(&id, team.as_ref(), &caller)?),
        false => None,
    };
    let url = match &flow_token {
        Some(token) => format!("{}/{id}?token={token}", state.links.client_url),
        None => format!("{}/{id}", state.links.frontend_url),
    };
    let (status, message) = match reused {
        Reused::No => (StatusCode::CREATED, None),
        Reused::Yes => (StatusCode::OK, Some("Existing record found")),
    };
    Ok(json_response(status, &CreateResponse { success: true, url, id, flow_token, message }))
}

/// Whether a field is there and not blank.
fn is_given(body: &Value, field: &str) -> bool {
    match body.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.trim().is_empty(),
        Some(_) => true,
    }
}

/// Whose the profile will be: as the body says, where the caller may say so; else the caller's own. For a caller of all teams
/// that names none it is the service account's; not so for a caller without a team, who would be shown what another team has.
async fn team(state: &State, caller: &Caller, body: &Value) -> Result<Option<Team>, ApiError> {
    let asked: Option<Team> = match body.get("team") {
        Some(team) if is_given(body, "team") => {
            let name = team.as_str().ok_or_else(|| ApiError::invalid_field("team", "must be a string"))?;
            Some(name.parse().map_err(|reason| ApiError::invalid_field("team", reason))?)
        }
        _ => None,
    };
    match (asked, caller.teams()) {
        (Some(asked), Teams::Only(own)) if own.as_ref() != Some(&asked) => Err(ApiError::team_not_allowed()),
        (Some(asked), _) => Ok(Some(asked)),
        (None, Teams::Only(own)) => Ok(own.clone()),
        (None, Teams::All) => Ok(state.backend.pocketbase.account().await?.team),
    }
}

fn profile_of_user(team: Option<Team>, body: Value) -> Result<NewProfile, ApiError> {
    let given: ByUser = parse_json(body)?;
    Ok(NewProfile {
        dedupe_key: DedupeKey::of_user(team.as_ref(), &given.user_id),
        team,
        user_id: Some(given.user_id),
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
        verification_status: VerificationStatus::Unverified,
    })
}

fn profile_of_document(team: Option<Team>, body: Value) -> Result<NewProfile, ApiError> {
    let missing: Vec<_> = DOCUMENT_FIELDS.into_iter().filter(|field| !is_given(&body, field)).collect();
    if !missing.is_empty() {
        return Err(ApiError::missing_fields(&DOCUMENT_FIELDS, &missing));
    }
    let given: ByDocument = parse_json(body)?;
    let (document_type, number, country) = (&given.document_type, &given.document_number, &given.nationality);
    Ok(NewProfile {
        dedupe_key: DedupeKey::of_document(team.as_ref(), document_type.as_str(), number.as_str(), country.as_str()),
        team,
        user_id: None,
        name: Some(given.name),
        document_type: Some(given.document_type),
        document_number: Some(given.document_number),
        country: Some(given.nationality),
        phone_number: None,
        email: None,
        security_level: None,
        gender: None,
        ip_address: None,
        language: None,
        verification_status: VerificationStatus::Unverified,
    })
}
