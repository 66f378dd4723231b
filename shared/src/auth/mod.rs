//! Who is calling, and what they may do.
//!
//! A caller is judged by one credential. When `Authorization` is present it alone counts; else `x-api-key` (or, on create,
//! the body's `apiKey`). What a caller may do is a set of [`Scope`]s; which records it sees is decided by its [`Teams`].

mod api_key;
mod jwt;
mod scope;

use std::time::SystemTime;

use lambda_http::http::HeaderMap;
use lambda_http::http::header::AUTHORIZATION;

pub use api_key::{KEY_PREFIX_PUBLISHABLE, KEY_PREFIX_SECRET, hash_api_key, same_secret};
pub use scope::Scope;

use crate::config::{ApiKeySettings, ConfigError, Env, JwtSettings, TokenClient};
use crate::http::ApiError;
use crate::pocketbase::PocketBase;
use crate::types::{RecordId, Team, Teams};
use api_key::ApiKeys;
use jwt::{Jwt, TokenError};

/// What kind of credential a caller came with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Machine,
    Flow(RecordId),
    SecretKey,
    PublishableKey,
}

/// Someone whose credential is good.
#[derive(Debug, Clone)]
pub struct Caller {
    kind: Kind,
    scopes: Vec<Scope>,
    teams: Teams,
    subject: String,
    client_id: Option<String>,
    partner_id: Option<String>,
}

impl Caller {
    /// The records this caller sees.
    pub fn teams(&self) -> &Teams {
        &self.teams
    }

    /// Whether it came with an API key and not with a token.
    pub fn is_key(&self) -> bool {
        matches!(self.kind, Kind::SecretKey | Kind::PublishableKey)
    }

    /// Whether it came with a key that may be public, and opens the hosted page alone.
    pub fn is_publishable(&self) -> bool {
        self.kind == Kind::PublishableKey
    }

    /// Whether it is a person's browser, holding a flow token.
    pub fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Flow(_))
    }

    /// Who it is, for the audit: the client's id, else the token's subject.
    pub fn name(&self) -> &str {
        self.client_id.as_deref().unwrap_or(&self.subject)
    }

    /// The partner that it belongs to: by its key the partner's record, by its token what the token says.
    pub fn partner(&self) -> Option<&str> {
        self.partner_id.as_deref()
    }

    /// The partner whose own key it came with.
    pub fn key_partner(&self) -> Option<RecordId> {
        self.partner().filter(|_| self.is_key()).and_then(|partner| partner.parse().ok())
    }

    /// The one profile that a flow token opens.
    pub fn flow_profile(&self) -> Option<&RecordId> {
        match &self.kind {
            Kind::Flow(profile) => Some(profile),
            _ => None,
        }
    }

    /// The team of what this caller makes. A caller of all teams has none of its own.
    pub fn own_team(&self) -> Option<&Team> {
        match &self.teams {
            Teams::Only(team) => team.as_ref(),
            Teams::All => None,
        }
    }

    /// Lets the caller on when it has the scope.
    ///
    /// # Errors
    /// 403 otherwise.
    pub fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(ApiError::insufficient_scope(scope)) }
    }

    /// Lets the caller on when it has the scope and, with a flow token, names that token's own profile. Asks nobody.
    ///
    /// # Errors
    /// 403 otherwise.
    pub fn require_for(&self, scope: Scope, profile: &str) -> Result<(), ApiError> {
        match &self.kind {
            Kind::Flow(own) if own.as_str() != profile => Err(ApiError::insufficient_scope(scope)),
            _ => self.require(scope),
        }
    }
}

/// Judges credentials. Made once in a process's life.
pub struct Authenticator {
    jwt: Jwt,
    keys: ApiKeys,
}

impl Authenticator {
    /// An authenticator for tokens and keys.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { jwt: Jwt::new(JwtSettings::from_env(env)?), keys: ApiKeys::new(ApiKeySettings::from_env(env)?) })
    }

    /// The bearer of a token; for routes that take nothing else.
    ///
    /// # Errors
    /// 401 without a good token.
    pub fn bearer(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        self.authorization(headers).unwrap_or_else(|| {
            let missing = ApiError::missing_bearer();
            Err(match headers.contains_key("x-api-key") {
                true => missing.message("This route takes a bearer token, and no API key"),
                false => missing,
            })
        })
    }

    /// The bearer of a token or the holder of an API key.
    ///
    /// # Errors
    /// 401 without a good credential; PocketBase's failures when a partner key has to be looked up.
    pub async fn bearer_or_key(&self, headers: &HeaderMap, pocketbase: &PocketBase) -> Result<Caller, ApiError> {
        self.any(headers, None, pocketbase).await?.ok_or_else(ApiError::missing_bearer)
    }

    /// Like [`Self::bearer_or_key`], with a key that stood in the body as the last place to look, and with `None` for a
    /// caller that has no credential at all.
    ///
    /// # Errors
    /// 401 for a bad credential; PocketBase's failures when a partner key has to be looked up.
    pub async fn any(
        &self,
        headers: &HeaderMap,
        body_key: Option<&str>,
        pocketbase: &PocketBase,
    ) -> Result<Option<Caller>, ApiError> {
        if let Some(judged) = self.authorization(headers) {
            return judged.map(Some);
        }
        let key = match headers.get("x-api-key") {
            Some(header) => Some(header.to_str().map_err(|_| ApiError::invalid_api_key())?),
            None => body_key,
        };
        match key {
            Some(key) => self.keys.judge(key, pocketbase).await.map(Some),
            None => Ok(None),
        }
    }

    /// A name of 43 characters of Base64url for something that this caller asks for: the same for the same caller and the same
    /// parts, and nobody else's, whatever they choose.
    ///
    /// # Errors
    /// When it cannot be computed.
    pub fn name_for(&self, caller: &Caller, parts: &[&str]) -> Result<String, ApiError> {
        let (kind, who) = match &caller.kind {
            Kind::Flow(profile) => ("flow", profile.as_str()),
            Kind::Machine => ("machine", caller.subject.as_str()),
            Kind::SecretKey | Kind::PublishableKey => ("key", caller.subject.as_str()),
        };
        let (client, partner) = (caller.client_id.as_deref(), caller.partner_id.as_deref());
        let team = caller.own_team().map(Team::as_str);
        let identity = [kind, who, client.unwrap_or_default(), partner.unwrap_or_default(), team.unwrap_or_default()];
        self.jwt.keyed_hash(&[&identity, parts].concat()).map_err(ApiError::internal)
    }

    fn authorization(&self, headers: &HeaderMap) -> Option<Result<Caller, ApiError>> {
        let header = headers.get(AUTHORIZATION)?;
        let token = header
            .to_str()
            .ok()
            .and_then(|value| value.trim().split_once(' '))
            .and_then(|(scheme, token)| scheme.eq_ignore_ascii_case("bearer").then(|| token.trim()));
        Some(token.ok_or_else(ApiError::invalid_bearer).and_then(|token| self.token(token)))
    }

    /// The bearer of a token that stands elsewhere than in `Authorization`.
    ///
    /// # Errors
    /// 401 for one that is not good.
    pub fn token(&self, token: &str) -> Result<Caller, ApiError> {
        self.jwt.verify(token).map_err(|error| match error {
            TokenError::Expired => ApiError::bearer_expired(),
            TokenError::Forged => ApiError::forged_bearer(),
            TokenError::Invalid => ApiError::invalid_bearer(),
        })
    }

    /// A short-lived token that opens one profile, for a person's browser.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn flow_token(&self, profile: &RecordId, team: Option<&Team>, creator: &Caller) -> Result<String, ApiError> {
        // Anyone may have a publishable key: what it opens is the hosted page, and nothing that is known of a person.
        let scopes = if creator.is_publishable() { Scope::OF_PAGE_TOKENS } else { Scope::OF_FLOW_TOKENS };
        self.jwt.flow_token(profile, team, creator, scopes, SystemTime::now()).map_err(ApiError::internal)
    }
}

/// Issues machine tokens. Made once in a process's life.
pub struct TokenIssuer(Jwt);

impl TokenIssuer {
    /// An issuer.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self(Jwt::new(JwtSettings::from_env(env)?)))
    }

    /// How long its tokens are valid, in seconds.
    pub fn expires_in(&self) -> u64 {
        self.0.ttl().as_secs()
    }

    /// A token for a client, allowing `scopes`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, client: &TokenClient, scopes: &[Scope]) -> Result<String, ApiError> {
        self.0.machine_token(client, scopes, SystemTime::now()).map_err(ApiError::internal)
    }
}
