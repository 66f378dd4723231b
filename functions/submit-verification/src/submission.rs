//! Who sends a submission, and of whom it is.

use lambda_http::http::header::AUTHORIZATION;
use lambda_http::http::{HeaderMap, StatusCode};
use shared::auth::{Caller, Scope};
use shared::backend::Backend;
use shared::http::{ApiError, Form};
use shared::pocketbase::{NewProfile, Writer};
use shared::types::{RecordId, Team, Text, UserId};
use uuid::Uuid;

use crate::State;

/// A submission that has been read: of whom it is, and who sent it.
pub struct Submission {
    pub check_id: String,
    pub user: UserId,
    pub profile: RecordId,
    pub team: Option<Team>,
    pub writer: Writer,
    /// What the checks are called that a person may still ask for today; none for a partner, who may ask for any number.
    pub attempts: Vec<String>,
}

/// Who is calling: a flow token as bearer, or a secret key in the header or the form.
pub async fn caller(state: &State, headers: &HeaderMap, form: &Form) -> Result<Caller, ApiError> {
    let key: Option<Text<256>> = form.get("api_key")?;
    let Backend { authenticator, pocketbase } = &state.backend;
    let is_key = !headers.contains_key(AUTHORIZATION);
    let judged = authenticator.any(headers, key.as_ref().map(Text::as_str), pocketbase).await;
    let caller = judged.map_err(|error| match error.status() {
        StatusCode::UNAUTHORIZED if is_key => ApiError::invalid_page_key(),
        _ => error,
    })?;
    let caller = caller.ok_or_else(ApiError::missing_page_key)?;
    let is_secret_key = caller.is_key() && !caller.is_publishable();
    if is_secret_key || caller.is_flow() {
        Ok(caller)
    } else {
        Err(ApiError::insufficient_scope(Scope::VerificationHistoryWrite)
            .message("Send a secret API key or a flow token"))
    }
}

/// Whom it is of: a flow token's own profile; with a key the one of the team and the identifier, made or reused.
pub async fn of(state: &State, caller: &Caller, form: &Form) -> Result<Submission, ApiError> {
    let given = match form.get::<UserId>("user_identifier")? {
        Some(user) => Some(user),
        None => form.get::<UserId>("user_id")?,
    };
    if given.is_none() && !caller.is_flow() {
        return Err(missing_user());
    }
    // Before anything is written.
    let missing: Vec<_> = ["selfie_video", "id_photo"].into_iter().filter(|field| !form.has_file(field)).collect();
    if !missing.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Both selfie video and ID photo are required")
            .with("missing", missing));
    }
    match caller.flow_profile() {
        Some(profile) => of_token(state, caller, profile, given).await,
        None => of_key(state, caller, given.ok_or_else(missing_user)?, form).await,
    }
}

async fn of_token(
    state: &State,
    caller: &Caller,
    profile: &RecordId,
    given: Option<UserId>,
) -> Result<Submission, ApiError> {
    let overview = state.backend.pocketbase.profile_overview(profile, caller.teams()).await?;
    let overview = overview.ok_or_else(ApiError::profile_not_found)?;
    if overview.is_decided() {
        return Err(ApiError::already_decided());
    }
    let own: Option<UserId> = overview.user_id.parse().ok();
    if given.is_some() && given != own {
        return Err(ApiError::insufficient_scope(Scope::VerificationHistoryWrite)
            .with("field", "user_identifier")
            .message("A flow token is one person's, and user_identifier names another"));
    }
    let attempts: Vec<_> = overview.checks_left(state.attempts.verifications_per_day).collect();
    if attempts.is_empty() {
        return Err(too_many_attempts());
    }
    Ok(Submission {
        check_id: Uuid::new_v4().to_string(),
        user: own.ok_or_else(missing_user)?,
        profile: overview.id,
        team: overview.team,
        writer: Writer::Flow,
        attempts,
    })
}

async fn of_key(state: &State, caller: &Caller, user: UserId, form: &Form) -> Result<Submission, ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let team = caller.own_team().cloned();
    let (email, phone) = (form.get("user_email")?, form.get("user_phone")?);
    let profile = NewProfile::of_user(team.clone(), user.clone(), email, phone);
    let (profile, _) = pocketbase.create_profile(&profile).await?;
    let check_id = Uuid::new_v4().to_string();
    Ok(Submission { check_id, user, profile, team, writer: Writer::Partner, attempts: Vec::new() })
}

pub fn too_many_attempts() -> ApiError {
    ApiError::too_many_today(
        "Too many verification attempts",
        "This profile has used up its verification attempts for today; try again tomorrow (UTC)",
    )
}

fn missing_user() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "User identifier is required")
}
