//! GET /api/profiles/{id}: a profile, where it stands, and its newest verification.
//!
//! Bearers get the backend API's body; API keys, and with `PUBLIC_STATUS_LOOKUP` anyone who has the id, get the key API's.
//! PocketBase calls: one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::auth::Scope;
use shared::backend::Backend;
use shared::config::{Env, PublicSettings};
use shared::http::{ApiError, StartError, path_id, profile_id, success};
use shared::pocketbase::{ProfileOverview, VerificationSummary};
use shared::types::Teams;

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    public: PublicSettings,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { public: PublicSettings::from_env(env)?, backend: Backend::from_env(env).await? })
    }
}

/// The backend API's body.
#[derive(Serialize)]
struct ProfileView<'a> {
    name: &'a str,
    document_type: &'a str,
    document_number: &'a str,
    country: &'a str,
    language: &'a str,
    verification_status: &'a str,
    status: &'a str,
    security_level: &'a str,
    #[serde(rename = "createdAt")]
    created_at: &'a str,
    verification_history: Option<VerificationView<'a>>,
}

#[derive(Serialize)]
struct VerificationView<'a> {
    id: &'a str,
    profile: &'a str,
    status: &'a str,
    liveness_session_id: &'a str,
    liveness_confidence: f64,
    liveness_status: &'a str,
    document_type: &'a str,
    name: &'a str,
    document_number: &'a str,
    country: &'a str,
    created: &'a str,
    updated: &'a str,
}

/// The key API's body.
#[derive(Serialize)]
struct StatusView<'a> {
    name: &'a str,
    document_type: &'a str,
    document_number: &'a str,
    nationality: &'a str,
    verification_status: &'a str,
    status: &'a str,
    #[serde(rename = "createdAt")]
    created_at: String,
}

/// Answers a request.
///
/// # Errors
/// 401; 403 for a missing scope or another profile than a flow token's; 404 for a profile that does not exist or is another
/// team's; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let id = path_id(&request);
    let caller = state.backend.authenticator.any(request.headers(), None, &state.backend.pocketbase).await?;
    let (teams, is_bearer) = match &caller {
        Some(caller) => {
            caller.require_for(Scope::ProfilesRead, &id)?;
            (caller.teams(), !caller.is_key())
        }
        None if state.public.status_lookup => (&Teams::All, false),
        None => return Err(ApiError::missing_bearer()),
    };
    let profile = state.backend.pocketbase.profile_overview(&profile_id(&id)?, teams).await?;
    let profile = profile.ok_or_else(ApiError::profile_not_found)?;
    Ok(match is_bearer {
        true => success(StatusCode::OK, None, ProfileView::from(&profile)),
        false => success(StatusCode::OK, None, StatusView::from(&profile)),
    })
}

impl<'a> From<&'a ProfileOverview> for ProfileView<'a> {
    fn from(profile: &'a ProfileOverview) -> Self {
        Self {
            name: &profile.name,
            document_type: &profile.document_type,
            document_number: &profile.document_number,
            country: &profile.country,
            language: &profile.language,
            verification_status: &profile.verification_status,
            status: profile.status(),
            security_level: &profile.security_level,
            created_at: &profile.created,
            verification_history: profile.verification().map(|newest| VerificationView::of(profile, newest)),
        }
    }
}

impl<'a> VerificationView<'a> {
    fn of(profile: &'a ProfileOverview, verification: &'a VerificationSummary) -> Self {
        Self {
            id: &verification.id,
            profile: profile.id.as_str(),
            status: &verification.status,
            liveness_session_id: &verification.liveness_session_id,
            liveness_confidence: verification.liveness_confidence,
            liveness_status: &verification.liveness_status,
            document_type: &verification.document_type,
            name: &verification.name,
            document_number: &verification.document_number,
            country: &verification.country,
            created: &verification.created,
            updated: &verification.updated,
        }
    }
}

impl<'a> From<&'a ProfileOverview> for StatusView<'a> {
    fn from(profile: &'a ProfileOverview) -> Self {
        Self {
            name: &profile.name,
            document_type: &profile.document_type,
            document_number: &profile.document_number,
            nationality: &profile.country,
            verification_status: &profile.verification_status,
            status: profile.status(),
            // PocketBase writes RFC 3339 with a space for the T.
            created_at: profile.created.replacen(' ', "T", 1),
        }
    }
}
