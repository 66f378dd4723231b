//! GET /api/profiles/{id}: a profile with its status and its newest verification.
//!
//! Callers with a bearer token get the body of the backend API. Callers with an API key, and with `PUBLIC_STATUS_LOOKUP` anonymous
//! callers, get the body of the key API. PocketBase calls: one.

use lambda_http::http::StatusCode;
use lambda_http::{Body, Request, Response};
use serde::Serialize;
use shared::auth::{self, Scope};
use shared::env::{Env, StartError};
use shared::http::{ApiError, credentials, path_parameter, success};
use shared::pocketbase::records::{ProfileOverview, VerificationSummary};
use shared::profiles;
use shared::runtime::Backend;
use shared::types::{Decimal, Teams};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    /// `PUBLIC_STATUS_LOOKUP`: whether requests without a credential are answered. False by default.
    is_public: bool,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self { is_public: env.flag("PUBLIC_STATUS_LOOKUP")?, backend: Backend::from_env(env).await? })
    }
}

/// Body of the backend API.
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
    liveness_confidence: Decimal,
    liveness_status: &'a str,
    document_type: &'a str,
    name: &'a str,
    document_number: &'a str,
    country: &'a str,
    created: &'a str,
    updated: &'a str,
}

/// Body of the key API.
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
    let id = path_parameter(&request, "id");
    let Backend { authenticator, pocketbase } = &state.backend;
    let caller = authenticator.authenticate_optional(credentials(request.headers()), pocketbase).await?;
    let (teams, is_bearer) = match &caller {
        Some(caller) => {
            caller.require_for(Scope::ProfilesRead, &id)?;
            (caller.teams(), !caller.is_key())
        }
        None if state.is_public => (&Teams::All, false),
        None => return Err(auth::Error::Missing.into()),
    };
    let profile = pocketbase.profile_overview(&profiles::parse_id(&id)?, teams).await?;
    let profile = profile.ok_or(profiles::Error::NotFound)?;
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
            verification_status: profile.verification_status(),
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
            liveness_confidence: Decimal(verification.liveness_confidence),
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
            verification_status: profile.verification_status(),
            status: profile.status(),
            // PocketBase writes a space in the place of RFC 3339's T.
            created_at: profile.created.replacen(' ', "T", 1),
        }
    }
}
