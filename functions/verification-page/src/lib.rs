//! GET /verif/: the hosted page, on which a person records a selfie video and takes a photo of a document.
//!
//! A link with a publishable key is answered with a redirect to one with a flow token and without the key; that one is the page. What it
//! looks like and does stands in `page/`; it loads nothing from anywhere.
//!
//! PocketBase calls: with a token two at once, the profile and its partner's theme; with a key one to make the profile, and one more for
//! one that is there already.

mod page;
mod theme;

use futures_util::future::join;
use lambda_http::http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY};
use lambda_http::http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request, RequestExt, Response};
use shared::auth::Caller;
use shared::backend::Backend;
use shared::config::{Env, PageSettings, RetentionSettings};
use shared::http::{ApiError, StartError};
use shared::pocketbase::{NewProfile, ProfileOverview, Reused};
use shared::types::{RecordId, Text, UserId};
use storage::Bucket;

use page::{Page, Problem};

/// What is made once in a process's life.
pub struct State {
    backend: Backend,
    settings: PageSettings,
    retention: RetentionSettings,
    bucket: Bucket,
}

impl State {
    /// Reads the settings and signs in at PocketBase.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub async fn from_env(env: &Env) -> Result<Self, StartError> {
        Ok(Self {
            settings: PageSettings::from_env(env)?,
            retention: RetentionSettings::from_env(env)?,
            bucket: Bucket::from_env(env).await?,
            backend: Backend::from_env(env).await?,
        })
    }

    fn page<'a>(&self, languages: &'a str) -> Page<'a> {
        Page { languages, bucket_origin: self.bucket.origin(), retention_days: self.retention.days }
    }
}

/// Answers a request: with the page, or with the redirect to it. A person is told in the page what is wrong with a link; a partner, whose
/// key or parameters are wrong, in JSON.
///
/// # Errors
/// 400 without a key and a token, without an identifier, or for a malformed one; 401 for a key that is none; 403 for a secret key, unless those are
/// accepted; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    let parameters = request.query_string_parameters();
    let given = |name: &str| parameters.first(name).filter(|value| !value.is_empty());
    let languages = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let response = match (given("token"), given("api_key")) {
        (Some(token), _) => with_token(state, token, languages).await?,
        (None, Some(key)) => with_key(state, key, &given, languages).await?,
        (None, None) => return Err(ApiError::missing_page_key()),
    };
    Ok(private(response))
}

/// The page for a flow token.
async fn with_token(state: &State, token: &str, languages: &str) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let page = state.page(languages);
    let caller = match authenticator.token(token) {
        Ok(caller) => caller,
        Err(error) => {
            let is_expired = error.text("error") == Some("Bearer token expired");
            let problem = if is_expired { Problem::Expired } else { Problem::NotFound };
            // As an error, since a secret that was changed may explain it, and the page may open after all.
            return Err(error.shown_as(private(page.problem(StatusCode::UNAUTHORIZED, problem, None))));
        }
    };
    let Some(profile) = caller.flow_profile() else {
        return Ok(page.problem(StatusCode::FORBIDDEN, Problem::NotFound, None));
    };
    let look = pocketbase.partner_look(caller.partner(), caller.own_team());
    let (overview, look) = join(pocketbase.profile_overview(profile, caller.teams()), look).await;
    let look = look?;
    match overview? {
        None => Ok(page.problem(StatusCode::NOT_FOUND, Problem::NotFound, look.as_ref())),
        Some(overview) if overview.is_decided() => {
            Ok(page.problem(StatusCode::CONFLICT, Problem::Decided, look.as_ref()))
        }
        Some(overview) => Ok(page.open(token, &overview.user_id, look.as_ref())),
    }
}

/// The redirect for a key, which names a person.
async fn with_key<'a>(
    state: &State,
    key: &str,
    given: &impl Fn(&str) -> Option<&'a str>,
    languages: &str,
) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let judged = authenticator.any(&HeaderMap::new(), Some(key), pocketbase).await;
    let caller = judged.map_err(|error| match error.status() {
        StatusCode::UNAUTHORIZED => ApiError::invalid_page_key(),
        _ => error,
    })?;
    let caller = caller.ok_or_else(ApiError::missing_page_key)?;
    if !caller.is_publishable() && !state.settings.accept_secret_keys {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Publishable key required")
            .message("A secret key must not stand in a link; use your publishable key, and replace this one"));
    }
    let user = given("user_identifier").or_else(|| given("user_id"));
    let user = user.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "User identifier is required"))?;
    let user: UserId = user.parse().map_err(|reason| ApiError::invalid_field("user_identifier", reason))?;
    let (profile, overview) = person(state, &caller, user, given).await?;
    if overview.is_some_and(|overview| overview.is_decided()) {
        let look = pocketbase.partner_look(caller.partner(), caller.own_team()).await?;
        return Ok(state.page(languages).problem(StatusCode::CONFLICT, Problem::Decided, look.as_ref()));
    }
    let token = authenticator.flow_token(&profile, caller.own_team(), &caller)?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(&format!("/verif/?token={token}")).map_err(ApiError::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// The profile of the team and the identifier, made or found; of one that is found, how it stands.
async fn person<'a>(
    state: &State,
    caller: &Caller,
    user: UserId,
    given: &impl Fn(&str) -> Option<&'a str>,
) -> Result<(RecordId, Option<ProfileOverview>), ApiError> {
    fn text<const MAX: usize>(name: &str, value: Option<&str>) -> Result<Option<Text<MAX>>, ApiError> {
        value.map(|value| value.parse().map_err(|reason| ApiError::invalid_field(name, reason))).transpose()
    }
    let pocketbase = &state.backend.pocketbase;
    let (email, phone) = (text("user_email", given("user_email"))?, text("user_phone", given("user_phone"))?);
    let profile = NewProfile::of_user(caller.own_team().cloned(), user, email, phone);
    let (id, reused) = pocketbase.create_profile(&profile).await?;
    let overview = match reused {
        Reused::No => None,
        Reused::Yes => pocketbase.profile_overview(&id, caller.teams()).await?,
    };
    Ok((id, overview))
}

/// What every answer has: nobody keeps it, and nobody is told where the person came from.
fn private(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}
