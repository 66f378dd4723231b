//! Authentication and authorisation: bearer tokens, API keys, scopes and teams.
//!
//! A request is authenticated by one credential: by `Authorization` if it is present, else by the API key. A caller's [`Scope`]s
//! decide what it may do, and its [`Teams`] decide which records it sees.

mod api_key;
mod client;
mod error;
mod jwt;
mod link;
mod scope;

use std::sync::Arc;
use std::time::SystemTime;

pub use api_key::{KEY_PREFIX_PUBLISHABLE, KEY_PREFIX_SECRET, hash_api_key, is_same_secret};
pub use client::{TokenClient, TokenClientSettings, TokenIssuer};
pub use error::Error;
pub use link::{LinkError, sign_link, verify_link};
pub use scope::Scope;

use crate::env::{ConfigError, Env};
use crate::pocketbase::records::PartnerSettings;
use crate::pocketbase::{PocketBase, Writer};
use crate::types::{Origin, RecordId, Team, Teams};
use api_key::ApiKeys;
use jwt::Jwt;

/// Kind of credential of a caller.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Machine,
    Flow(RecordId, Origin),
    SecretKey,
    PublishableKey,
}

/// An authenticated caller.
#[derive(Debug, Clone)]
pub struct Caller {
    kind: Kind,
    scopes: Vec<Scope>,
    teams: Teams,
    subject: String,
    client_id: Option<String>,
    partner_id: Option<String>,
    /// The partner's settings, for a key.
    settings: Option<Arc<PartnerSettings>>,
}

impl Caller {
    /// Teams whose records this caller sees.
    pub fn teams(&self) -> &Teams {
        &self.teams
    }

    /// Whether the credential is an API key.
    pub fn is_key(&self) -> bool {
        matches!(self.kind, Kind::SecretKey | Kind::PublishableKey)
    }

    /// Whether the credential is a secret API key.
    pub fn is_secret_key(&self) -> bool {
        self.kind == Kind::SecretKey
    }

    /// Whether the credential is a publishable API key, which opens only the hosted page.
    pub fn is_publishable(&self) -> bool {
        self.kind == Kind::PublishableKey
    }

    /// Whether the credential is a flow token, held by a person's browser.
    pub fn is_flow(&self) -> bool {
        matches!(self.kind, Kind::Flow(..))
    }

    /// Origin of this caller's writes.
    pub fn writer(&self) -> Writer {
        if self.is_flow() { Writer::Flow } else { Writer::Partner }
    }

    /// Name for the audit: the client's id, else the token's subject.
    pub fn name(&self) -> &str {
        self.client_id.as_deref().unwrap_or(&self.subject)
    }

    /// The client that the token, or the link of a flow token, was issued to.
    pub fn client(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// The caller's partner: the id of the partner's record for a key, the claim `partner_id` for a token.
    pub fn partner(&self) -> Option<&str> {
        self.partner_id.as_deref()
    }

    /// The partner whose API key was used.
    pub fn key_partner(&self) -> Option<RecordId> {
        self.partner().filter(|_| self.is_key()).and_then(|partner| partner.parse().ok())
    }

    /// The settings of the partner whose API key was used.
    pub fn key_settings(&self) -> Option<&PartnerSettings> {
        self.settings.as_deref()
    }

    /// Where a flow token came from. All other callers are the partner's backend.
    pub fn origin(&self) -> Origin {
        match self.kind {
            Kind::Flow(_, origin) => origin,
            _ => Origin::Backend,
        }
    }

    /// The one profile that a flow token opens.
    pub fn flow_profile(&self) -> Option<&RecordId> {
        match &self.kind {
            Kind::Flow(profile, _) => Some(profile),
            _ => None,
        }
    }

    /// The team of records that this caller creates. A caller of all teams has none of its own.
    pub fn own_team(&self) -> Option<&Team> {
        match &self.teams {
            Teams::Only(team) => team.as_ref(),
            Teams::All => None,
        }
    }

    /// Requires a scope.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] without it.
    pub fn require(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.contains(&scope) { Ok(()) } else { Err(Error::InsufficientScope(scope)) }
    }

    /// Requires a scope, and that a flow token is for this profile. Nothing is looked up.
    ///
    /// # Errors
    /// [`Error::InsufficientScope`] otherwise.
    pub fn require_for(&self, scope: Scope, profile: &str) -> Result<(), Error> {
        match &self.kind {
            Kind::Flow(own, _) if own.as_str() != profile => Err(Error::InsufficientScope(scope)),
            _ => self.require(scope),
        }
    }
}

/// Credentials of a request. A header that is not text must be passed as empty text, which is an invalid credential.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a str>,
    /// `x-api-key`, or the API key in the body or the query of routes that accept it there.
    pub api_key: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    /// Adds an API key from the body or the query. It is used only without an `x-api-key` header.
    pub fn or_api_key(self, key: Option<&'a str>) -> Self {
        Self { api_key: self.api_key.or(key), ..self }
    }
}

/// Authenticates requests. Built once per execution environment.
pub struct Authenticator {
    jwt: Jwt,
    keys: ApiKeys,
}

impl Authenticator {
    /// Reads the settings of tokens and API keys.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { jwt: Jwt::from_env(env)?, keys: ApiKeys::from_env(env)? })
    }

    /// Authenticates by bearer token, for routes that accept no API key.
    ///
    /// # Errors
    /// When there is no valid token.
    pub fn authenticate_bearer(&self, credentials: Credentials<'_>) -> Result<Caller, Error> {
        match (credentials.authorization, credentials.api_key) {
            (Some(authorization), _) => self.bearer(authorization),
            (None, Some(_)) => Err(Error::BearerRequired),
            (None, None) => Err(Error::Missing),
        }
    }

    /// Authenticates by bearer token or API key. One call of PocketBase for a partner's key, unless it is cached.
    ///
    /// # Errors
    /// When there is no valid credential, or a partner's key cannot be looked up.
    pub async fn authenticate(&self, credentials: Credentials<'_>, pocketbase: &PocketBase) -> Result<Caller, Error> {
        self.authenticate_optional(credentials, pocketbase).await?.ok_or(Error::Missing)
    }

    /// As [`Self::authenticate`], with `None` for a request without a credential.
    ///
    /// # Errors
    /// When the credential is invalid, or a partner's key cannot be looked up.
    pub async fn authenticate_optional(
        &self,
        credentials: Credentials<'_>,
        pocketbase: &PocketBase,
    ) -> Result<Option<Caller>, Error> {
        match (credentials.authorization, credentials.api_key) {
            (Some(authorization), _) => self.bearer(authorization).map(Some),
            (None, Some(key)) => self.keys.authenticate(key, pocketbase).await.map(Some),
            (None, None) => Ok(None),
        }
    }

    fn bearer(&self, authorization: &str) -> Result<Caller, Error> {
        match authorization.trim().split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => self.authenticate_token(token.trim()),
            _ => Err(Error::InvalidToken),
        }
    }

    /// Authenticates by a token that was not sent in `Authorization`.
    ///
    /// # Errors
    /// When the token is invalid.
    pub fn authenticate_token(&self, token: &str) -> Result<Caller, Error> {
        self.jwt.verify(token)
    }

    /// A name of 43 Base64url characters for this caller and these parts (HMAC-SHA256). The same caller and parts give the same
    /// name; any other caller gets another name.
    ///
    /// # Errors
    /// When the name cannot be computed.
    pub fn keyed_name(&self, caller: &Caller, parts: &[&str]) -> Result<String, Error> {
        let (kind, subject) = match &caller.kind {
            Kind::Flow(profile, _) => ("flow", profile.as_str()),
            Kind::Machine => ("machine", caller.subject.as_str()),
            Kind::SecretKey | Kind::PublishableKey => ("key", caller.subject.as_str()),
        };
        let (client, partner) = (caller.client_id.as_deref(), caller.partner_id.as_deref());
        let team = caller.own_team().map(Team::as_str);
        let identity =
            [kind, subject, client.unwrap_or_default(), partner.unwrap_or_default(), team.unwrap_or_default()];
        Ok(self.jwt.keyed_hash(&[&identity, parts].concat())?)
    }

    /// A flow token: short-lived, for one profile, held by a person's browser.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn flow_token(
        &self,
        profile: &RecordId,
        team: Option<&Team>,
        creator: &Caller,
        origin: Origin,
    ) -> Result<String, Error> {
        Ok(self.jwt.flow_token(profile, team, creator, origin, SystemTime::now())?)
    }
}
