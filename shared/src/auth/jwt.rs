//! Bearer tokens: JWTs signed with HS256.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Caller, Error, Kind, Scope, TokenClient};
use crate::env::{ConfigError, Env};
use crate::types::{Origin, RecordId, Team, Teams};

/// The longest token that is parsed, in bytes. Tokens issued here are below 1 kB; API Gateway accepts 10 kB of headers.
const MAX_TOKEN: usize = 8 * 1024;

/// Allowed clock skew, in seconds.
const LEEWAY: u64 = 5;

/// Settings of tokens.
#[derive(Clone)]
struct Settings {
    /// `JWT_SECRET`, at least 32 bytes: an HS256 key shorter than its hash is weak (RFC 7518, 3.2).
    secret: String,
    /// `JWT_SECRET_PREVIOUS`: the secret before the last rotation. Tokens that it signed stay valid.
    previous_secret: Option<String>,
    /// `JWT_ISSUER`: claimed by tokens, and required of them, when set.
    issuer: Option<String>,
    /// `JWT_AUDIENCE`: likewise.
    audience: Option<String>,
    /// `JWT_TTL_SECONDS`: lifetime of machine tokens, 60 to 86,400 s, 3,600 by default.
    ttl: Duration,
    /// `FLOW_TOKEN_TTL_SECONDS`: lifetime of flow tokens, 60 to 86,400 s, 1,800 by default.
    flow_ttl: Duration,
}

impl Settings {
    fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let secret = env.require("JWT_SECRET")?;
        let previous_secret = env.get("JWT_SECRET_PREVIOUS");
        for (name, secret) in [("JWT_SECRET", Some(secret)), ("JWT_SECRET_PREVIOUS", previous_secret)] {
            if secret.is_some_and(|secret| secret.len() < 32) {
                return Err(ConfigError::malformed(name, "must be at least 32 bytes long"));
            }
        }
        Ok(Self {
            secret: secret.to_owned(),
            previous_secret: previous_secret.map(str::to_owned),
            issuer: env.get_owned("JWT_ISSUER"),
            audience: env.get_owned("JWT_AUDIENCE"),
            ttl: Duration::from_secs(env.number("JWT_TTL_SECONDS", 3_600, 60..=86_400)?),
            flow_ttl: Duration::from_secs(env.number("FLOW_TOKEN_TTL_SECONDS", 1_800, 60..=86_400)?),
        })
    }
}

/// Claims of issued tokens.
#[derive(Serialize)]
struct Issued<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    sub: &'a str,
    iat: u64,
    nbf: u64,
    exp: u64,
    jti: String,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partner_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    team_id: Option<&'a Team>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all_teams: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile_id: Option<&'a RecordId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_use: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

/// Claims of presented tokens. Other issuers that share the secret may have issued them.
#[derive(Deserialize)]
struct Presented {
    #[serde(default)]
    sub: String,
    scope: Option<String>,
    scopes: Option<Vec<String>>,
    client_id: Option<String>,
    partner_id: Option<String>,
    team_id: Option<Team>,
    #[serde(default)]
    all_teams: bool,
    profile_id: Option<RecordId>,
    token_use: Option<String>,
    /// Absent in flow tokens of earlier versions.
    origin: Option<Origin>,
}

/// Signs and verifies tokens.
pub(super) struct Jwt {
    settings: Settings,
    signing: EncodingKey,
    /// Keys of the current and of the previous secret.
    verifying: Vec<DecodingKey>,
    validation: Validation,
}

impl Jwt {
    pub(super) fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self::new(Settings::from_env(env)?))
    }

    fn new(settings: Settings) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &settings.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &settings.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        let secret = settings.secret.as_bytes();
        Self {
            signing: EncodingKey::from_secret(secret),
            verifying: std::iter::once(secret)
                .chain(settings.previous_secret.as_deref().map(str::as_bytes))
                .map(DecodingKey::from_secret)
                .collect(),
            validation,
            settings,
        }
    }

    pub(super) fn ttl(&self) -> Duration {
        self.settings.ttl
    }

    pub(super) fn verify(&self, token: &str) -> Result<Caller, Error> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(Error::InvalidToken);
        }
        if has_critical_extensions(token) {
            return Err(Error::InvalidToken);
        }
        let claims = self.claims_of(token)?;
        let named = claims.scope.iter().flat_map(|scope| scope.split(' '));
        let listed = claims.scopes.iter().flatten().map(String::as_str);
        // Scopes of other services that share the secret are ignored.
        let mut scopes: Vec<Scope> = named.chain(listed).filter_map(|scope| scope.parse().ok()).collect();
        let teams = if claims.all_teams { Teams::All } else { Teams::Only(claims.team_id) };
        let (kind, teams) = match (claims.token_use.as_deref(), claims.profile_id) {
            (Some("flow"), Some(profile)) => {
                scopes.retain(|scope| Scope::OF_FLOW_TOKENS.contains(scope));
                (Kind::Flow(profile, claims.origin.unwrap_or(Origin::Backend)), teams)
            }
            (Some("flow"), None) | (_, Some(_)) => return Err(Error::InvalidToken),
            _ => (Kind::Machine, teams),
        };
        Ok(Caller {
            kind,
            scopes,
            teams,
            subject: claims.sub,
            client_id: claims.client_id,
            partner_id: claims.partner_id,
            settings: None,
        })
    }

    /// Claims of a token that is signed with one of the secrets.
    fn claims_of(&self, token: &str) -> Result<Presented, Error> {
        let mut error = Error::InvalidToken;
        for key in &self.verifying {
            match jsonwebtoken::decode(token, key, &self.validation) {
                Ok(token) => return Ok(token.claims),
                Err(refused) => {
                    error = match refused.kind() {
                        ErrorKind::InvalidSignature => Error::ForgedToken,
                        ErrorKind::ExpiredSignature => return Err(Error::Expired),
                        _ => return Err(Error::InvalidToken),
                    }
                }
            }
        }
        Err(error)
    }

    /// HMAC-SHA256 of a list with the secret as key, as 43 Base64url characters. Lists are encoded as JSON, so that different lists
    /// have different encodings, and no encoding is the signed part of a token.
    pub(super) fn keyed_hash(&self, parts: &[&str]) -> Result<String, jsonwebtoken::errors::Error> {
        let message = serde_json::Value::from(parts).to_string();
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing, Algorithm::HS256)
    }

    pub(super) fn machine_token(
        &self,
        client: &TokenClient,
        scopes: &[Scope],
        now: SystemTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = Issued {
            client_id: Some(&client.client_id),
            partner_id: client.partner_id.as_deref(),
            team_id: client.team_id.as_ref(),
            all_teams: client.all_teams,
            ..self.claims(&client.client_id, scopes, now, self.settings.ttl)
        };
        self.sign(&claims)
    }

    pub(super) fn flow_token(
        &self,
        profile: &RecordId,
        team: Option<&Team>,
        creator: &Caller,
        origin: Origin,
        now: SystemTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        // The tokens of links to the hosted page open only that page, and read nothing about the person.
        let scopes = if origin == Origin::Backend { Scope::OF_FLOW_TOKENS } else { Scope::OF_PAGE_TOKENS };
        let claims = Issued {
            client_id: creator.client_id.as_deref(),
            partner_id: creator.partner_id.as_deref(),
            team_id: team,
            profile_id: Some(profile),
            token_use: Some("flow"),
            origin: Some(origin),
            ..self.claims(profile.as_str(), scopes, now, self.settings.flow_ttl)
        };
        self.sign(&claims)
    }

    fn claims<'a>(&'a self, sub: &'a str, scopes: &[Scope], now: SystemTime, ttl: Duration) -> Issued<'a> {
        let iat = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Issued {
            iss: self.settings.issuer.as_deref(),
            aud: self.settings.audience.as_deref(),
            sub,
            iat,
            nbf: iat,
            exp: iat.saturating_add(ttl.as_secs()),
            jti: format!("{:032x}", rand::random::<u128>()),
            scope: Scope::join(scopes),
            client_id: None,
            partner_id: None,
            team_id: None,
            all_teams: false,
            profile_id: None,
            token_use: None,
            origin: None,
        }
    }

    fn sign(&self, claims: &Issued<'_>) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing)
    }
}

/// Whether the header of a token lists extensions that must be understood (RFC 7515, 4.1.11). None is understood here. A header that
/// cannot be read is left to the library.
fn has_critical_extensions(token: &str) -> bool {
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header: Option<Map<String, Value>> = header.and_then(|header| serde_json::from_slice(&header).ok());
    header.is_some_and(|header| header.contains_key("crit"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_weak_or_missing_secret_is_refused() {
        let complaint = |env: Env| Jwt::from_env(&env).err().map(|error| error.to_string());
        assert_eq!(complaint(Env::default()).unwrap(), "JWT_SECRET is not set");
        let weak = Env::from([("JWT_SECRET", "0123456789012345678901234567890")]);
        assert_eq!(complaint(weak).unwrap(), "JWT_SECRET must be at least 32 bytes long");
        assert_eq!(complaint(Env::from([("JWT_SECRET", "01234567890123456789012345678901")])), None);
    }
}
