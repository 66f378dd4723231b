//! GET /verif and /verif/: the hosted page, on which a person records a selfie video and takes a photo of an identity document.
//!
//! A link with a publishable key is redirected to a link with a flow token and without the key, which shows the page. A link that the
//! partner signed leads to the profile of the partner's backend. An open link, which anyone can make who has seen the key, leads to a
//! profile of its own, so that it tells nothing of the other and changes nothing of it. The files of the page are in `page/`. The page
//! loads nothing from other origins.
//!
//! PocketBase calls: with a token two at the same time, for the profile and the partner's branding; with a key one for the key, unless it
//! is cached, one to create the profile, two more for an existing one, and one more for the branding of a problem.

mod page;
mod theme;

use chrono::Utc;
use futures_util::future::join;
use lambda_http::http::header::{ACCEPT_LANGUAGE, CACHE_CONTROL, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY};
use lambda_http::http::{Method, StatusCode};
use lambda_http::{Body, Request, RequestExt, Response};
use shared::auth::{self, Caller, Credentials, LinkError, verify_link};
use shared::budgets::Budgets;
use shared::env::{Env, StartError};
use shared::http::{ApiError, verif};
use shared::pocketbase;
use shared::pocketbase::records::{CreatedProfile, LinkMode, NewProfile, ProfileOverview};
use shared::runtime::Backend;
use shared::types::{Budget, Origin, RecordId, Text, UserId};
use storage::{Bucket, RetentionSettings};

use page::{Page, Problem};

/// State built once per execution environment.
pub struct State {
    backend: Backend,
    budgets: Budgets,
    /// `VERIF_ACCEPT_SECRET_KEYS`: whether a link may contain a secret key, as links of the earlier service do. False by
    /// default.
    accepts_secret_keys: bool,
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
            accepts_secret_keys: env.flag("VERIF_ACCEPT_SECRET_KEYS")?,
            retention: RetentionSettings::from_env(env)?,
            bucket: Bucket::from_env(env).await?,
            budgets: Budgets::default(),
            backend: Backend::from_env(env).await?,
        })
    }

    fn page<'a>(&self, languages: &'a str) -> Page<'a> {
        Page { languages, bucket_origin: self.bucket.origin(), retention_days: self.retention.days }
    }
}

/// Answers with the page, or with the redirect to it. Problems of a flow token or a signature are shown as a page; those of a key or of
/// parameters are answered as JSON.
///
/// # Errors
/// 400 without a key and a token, without an identifier, or for a malformed one; 401 for an invalid key; 403 for a secret key,
/// unless those are accepted; 404 and 405 for another path below /verif/; PocketBase's failures.
pub async fn handle(state: &State, request: Request) -> Result<Response<Body>, ApiError> {
    match request.uri().path() {
        "/verif" | "/verif/" => {}
        "/verif/submit" => return Err(ApiError::method_not_allowed(&[Method::POST])),
        _ => return Err(ApiError::no_such_route()),
    }
    let parameters = request.query_string_parameters();
    let given = |name: &str| parameters.first(name).filter(|value| !value.is_empty());
    let languages = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let response = match (given("token"), given("api_key")) {
        (Some(token), _) => with_token(state, token, languages).await?,
        (None, Some(key)) => with_key(state, key, &given, languages).await?,
        (None, None) => return Err(verif::missing_key()),
    };
    Ok(private(response))
}

/// The page for a flow token.
async fn with_token(state: &State, token: &str, languages: &str) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let page = state.page(languages);
    let caller = authenticator.authenticate_token(token).map_err(|error| {
        let problem = if matches!(error, auth::Error::Expired) { Problem::Expired } else { Problem::NotFound };
        ApiError::from(error).shown_as(private(page.problem(StatusCode::UNAUTHORIZED, problem, None)))
    })?;
    let Some(profile) = caller.flow_profile() else {
        return Ok(page.problem(StatusCode::FORBIDDEN, Problem::NotFound, None));
    };
    let branding = pocketbase.branding(caller.partner(), caller.own_team());
    let (overview, branding) = join(pocketbase.profile_overview(profile, caller.teams()), branding).await;
    let branding = branding?;
    match overview? {
        None => Ok(page.problem(StatusCode::NOT_FOUND, Problem::NotFound, branding.as_ref())),
        Some(overview) if overview.is_decided() => {
            Ok(page.problem(StatusCode::CONFLICT, Problem::Decided, branding.as_ref()))
        }
        Some(overview) => Ok(page.open(token, &overview.user_id, branding.as_ref())),
    }
}

/// The redirect for a key and the identifier of a person.
async fn with_key<'a>(
    state: &State,
    key: &str,
    given: &impl Fn(&str) -> Option<&'a str>,
    languages: &str,
) -> Result<Response<Body>, ApiError> {
    let Backend { authenticator, pocketbase } = &state.backend;
    let credentials = Credentials::default().or_api_key(Some(key));
    let caller = authenticator.authenticate(credentials, pocketbase).await.map_err(verif::credential_error)?;
    if !caller.is_publishable() && !state.accepts_secret_keys {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "Publishable key required")
            .message("A secret key must not stand in a link; use your publishable key, and replace this one"));
    }
    let user = given("user_identifier").or_else(|| given("user_id"));
    let user = user.ok_or_else(|| ApiError::new(StatusCode::BAD_REQUEST, "User identifier is required"))?;
    let user: UserId = user.parse().map_err(|reason| ApiError::invalid_field("user_identifier", reason))?;
    let origin = match origin(&caller, &user, given) {
        Ok(origin) => origin,
        Err(LinkError::Expired) => return problem(state, &caller, languages, Problem::Expired).await,
        Err(LinkError::Unsigned | LinkError::Forged) => {
            return problem(state, &caller, languages, Problem::Unsigned).await;
        }
    };
    let (profile, overview) = match person(state, &caller, user, origin, given).await {
        Err(Refusal::UsedUp) => return problem(state, &caller, languages, Problem::UsedUp).await,
        Err(Refusal::Api(error)) => return Err(error),
        Ok(person) => person,
    };
    if overview.is_some_and(|overview| overview.is_decided()) {
        return problem(state, &caller, languages, Problem::Decided).await;
    }
    let token = authenticator.flow_token(&profile, caller.own_team(), &caller, origin)?;
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SEE_OTHER;
    let location = HeaderValue::from_str(&format!("/verif/?token={token}")).map_err(ApiError::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// The page for a link with a key that cannot be used.
async fn problem(
    state: &State,
    caller: &Caller,
    languages: &str,
    problem: Problem,
) -> Result<Response<Body>, ApiError> {
    let branding = state.backend.pocketbase.branding(caller.partner(), caller.own_team()).await?;
    let status = match problem {
        Problem::Decided => StatusCode::CONFLICT,
        Problem::Expired => StatusCode::UNAUTHORIZED,
        Problem::Unsigned => StatusCode::FORBIDDEN,
        Problem::NotFound => StatusCode::NOT_FOUND,
        Problem::UsedUp => StatusCode::TOO_MANY_REQUESTS,
    };
    Ok(state.page(languages).problem(status, problem, branding.as_ref()))
}

/// Origin of a link with a key: signed if it has a valid signature; open if it has none and the partner allows open links.
fn origin<'a>(caller: &Caller, user: &UserId, given: &impl Fn(&str) -> Option<&'a str>) -> Result<Origin, LinkError> {
    let settings = caller.key_settings();
    let (expires, signature) = (given("expires"), given("signature"));
    // Static keys have no partner, and stand in a link only where VERIF_ACCEPT_SECRET_KEYS allows it.
    let is_open = settings.is_none_or(|settings| settings.link_mode == LinkMode::Open);
    if is_open && expires.is_none() && signature.is_none() {
        return Ok(Origin::Open);
    }
    let secret = settings.and_then(|settings| settings.link_secret.as_ref());
    verify_link(secret, user, expires, signature, Utc::now()).map(|()| Origin::Signed)
}

/// Reason why a link leads to no profile.
enum Refusal {
    /// The partner's budget of new people is used up for today.
    UsedUp,
    Api(ApiError),
}

impl<E: Into<ApiError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::Api(error.into())
    }
}

/// Profile of the team and the identifier, which is created if it does not exist; for an existing one also its overview.
async fn person<'a>(
    state: &State,
    caller: &Caller,
    user: UserId,
    origin: Origin,
    given: &impl Fn(&str) -> Option<&'a str>,
) -> Result<(RecordId, Option<ProfileOverview>), Refusal> {
    fn text<const MAX: usize>(name: &str, value: Option<&str>) -> Result<Option<Text<MAX>>, ApiError> {
        value.map(|value| value.parse().map_err(|reason| ApiError::invalid_field(name, reason))).transpose()
    }
    let pocketbase = &state.backend.pocketbase;
    let (email, phone) = (text("user_email", given("user_email"))?, text("user_phone", given("user_phone"))?);
    let team = caller.own_team().cloned();
    let profile = match origin {
        Origin::Open => NewProfile { email, phone_number: phone, ..NewProfile::of_open_link(team, user) },
        // The signature does not cover the contact data, which the person could change.
        Origin::Backend | Origin::Signed => NewProfile::of_user(team, user),
    };
    let charge = state.budgets.charge(pocketbase, caller, origin, Budget::People, 1).await?;
    match pocketbase.create_profile(&profile, Some(&charge)).await {
        Ok(CreatedProfile::Created(id)) => Ok((id, None)),
        Ok(CreatedProfile::Existing(id)) => {
            let overview = pocketbase.profile_overview(&id, caller.teams()).await?;
            Ok((id, overview))
        }
        Err(pocketbase::Error::BudgetUsedUp(_)) => Err(Refusal::UsedUp),
        Err(error) => Err(error.into()),
    }
}

/// Adds headers against caching, and against a `Referer` with the token.
fn private(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}
