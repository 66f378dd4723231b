//! Submissions: authentication of the caller, and the person and profile of the check.

use futures_util::future::try_join;
use lambda_http::http::{HeaderMap, StatusCode};
use shared::auth::{self, Caller, Scope};
use shared::http::{ApiError, Form, credentials, verif};
use shared::pocketbase::records::{Charge, EvidenceOwner, NewProfile, ProfileOverview};
use shared::profiles::{self, Attempts};
use shared::runtime::Backend;
use shared::types::{Budget, Origin, RecordId, Text, UserId};
use uuid::Uuid;

use crate::State;

/// A parsed submission.
pub struct Submission {
    /// The new check's public id.
    pub check_id: String,
    /// The partner's identifier of the person.
    pub user: UserId,
    /// Who opened the link.
    pub origin: Origin,
    /// The profile of the person, as it was when the check started.
    pub profile: ProfileOverview,
    /// The charge for the check.
    pub charge: Charge,
}

impl Submission {
    /// Id of the profile.
    pub fn profile_id(&self) -> &RecordId {
        &self.profile.id
    }

    /// The person, as an owner of evidence.
    pub fn owner(&self) -> EvidenceOwner {
        EvidenceOwner::new(&self.profile.id, self.user.as_str())
    }
}

/// Authenticates the caller: a flow token as bearer, or a secret key in the header or the form.
pub async fn authenticate(state: &State, headers: &HeaderMap, form: &Form) -> Result<Caller, ApiError> {
    let key: Option<Text<256>> = form.get("api_key")?;
    let Backend { authenticator, pocketbase } = &state.backend;
    let credentials = credentials(headers).or_api_key(key.as_ref().map(Text::as_str));
    let caller = authenticator.authenticate(credentials, pocketbase).await.map_err(verif::credential_error)?;
    if caller.is_secret_key() || caller.is_flow() {
        Ok(caller)
    } else {
        Err(ApiError::from(auth::Error::InsufficientScope(Scope::VerificationHistoryWrite))
            .message("Send a secret API key or a flow token"))
    }
}

/// Parses the submission and, for a flow token, counts the attempts that are left today. With a flow token, the profile is the
/// token's. With a key, it is the profile of the team and the identifier, which is created if it does not exist.
pub async fn parse(state: &State, caller: &Caller, form: &Form) -> Result<(Submission, Option<Attempts>), ApiError> {
    let user = match form.get::<UserId>("user_identifier")? {
        Some(user) => Some(user),
        None => form.get::<UserId>("user_id")?,
    };
    if user.is_none() && !caller.is_flow() {
        return Err(missing_user());
    }
    // Missing files are refused before anything is written.
    let missing: Vec<_> = ["selfie_video", "id_photo"].into_iter().filter(|field| !form.has_file(field)).collect();
    if !missing.is_empty() {
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "Both selfie video and ID photo are required")
            .with("missing", missing));
    }
    let charge = async {
        let charge = state.budgets.charge(&state.backend.pocketbase, caller, caller.origin(), Budget::Checks, 1).await;
        charge.map_err(ApiError::from)
    };
    let profile = async {
        match caller.flow_profile() {
            Some(profile) => by_flow_token(state, caller, profile, user).await,
            None => by_key(state, caller, user.ok_or_else(missing_user)?, form).await,
        }
    };
    let (charge, (profile, user)) = try_join(charge, profile).await?;
    let attempts = match caller.is_flow() {
        true => Some(state.daily_limit.attempts(&profile)?),
        false => None,
    };
    let check_id = Uuid::new_v4().to_string();
    Ok((Submission { check_id, user, origin: caller.origin(), profile, charge }, attempts))
}

async fn by_flow_token(
    state: &State,
    caller: &Caller,
    profile: &RecordId,
    user: Option<UserId>,
) -> Result<(ProfileOverview, UserId), ApiError> {
    let profile = profiles::load_open(&state.backend.pocketbase, profile, caller).await?;
    let own = UserId::of_record(&profile.user_id);
    if user.is_some() && user != own {
        return Err(ApiError::from(auth::Error::InsufficientScope(Scope::VerificationHistoryWrite))
            .with("field", "user_identifier")
            .message("A flow token is one person's, and user_identifier names another"));
    }
    Ok((profile, own.ok_or_else(missing_user)?))
}

async fn by_key(
    state: &State,
    caller: &Caller,
    user: UserId,
    form: &Form,
) -> Result<(ProfileOverview, UserId), ApiError> {
    let pocketbase = &state.backend.pocketbase;
    let (email, phone_number) = (form.get("user_email")?, form.get("user_phone")?);
    let team = caller.own_team().cloned();
    let profile = NewProfile { email, phone_number, ..NewProfile::of_user(team, user.clone()) };
    let id = pocketbase.create_profile(&profile, None).await?.into_id();
    Ok((profiles::load(pocketbase, &id, caller).await?, user))
}

fn missing_user() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "User identifier is required")
}
