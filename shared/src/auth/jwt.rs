//! Bearer tokens: HS256 JWTs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use super::{Caller, Kind, Scope};
use crate::config::{JwtSettings, TokenClient};
use crate::types::{RecordId, Team, Teams};

/// The longest token that is looked at, in bytes. Ours are below 1 kB; API Gateway takes headers of 10 kB in all.
const MAX_TOKEN: usize = 8 * 1024;

/// How far two clocks may differ, in seconds.
const LEEWAY: u64 = 5;

/// Why a token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenError {
    Invalid,
    /// Signed with a secret that is not ours.
    Forged,
    Expired,
}

/// What is signed into a token.
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
}

/// What is read from a token whose signature and times are good. Tokens may come from others who hold the secret.
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
}

/// Signs and verifies tokens.
pub(super) struct Jwt {
    settings: JwtSettings,
    signing: EncodingKey,
    /// With today's secret, and with the one before it.
    verifying: Vec<DecodingKey>,
    validation: Validation,
}

impl Jwt {
    pub(super) fn new(settings: JwtSettings) -> Self {
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

    pub(super) fn verify(&self, token: &str) -> Result<Caller, TokenError> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            return Err(TokenError::Invalid);
        }
        let claims = self.claims_of(token)?;
        let named = claims.scope.iter().flat_map(|scope| scope.split(' '));
        let listed = claims.scopes.iter().flatten().map(String::as_str);
        // Scopes of other services that share the secret mean nothing here.
        let mut scopes: Vec<Scope> = named.chain(listed).filter_map(|scope| scope.parse().ok()).collect();
        let teams = if claims.all_teams { Teams::All } else { Teams::Only(claims.team_id) };
        let (kind, teams) = match (claims.token_use.as_deref(), claims.profile_id) {
            (Some("flow"), Some(profile)) => {
                scopes.retain(|scope| Scope::OF_FLOW_TOKENS.contains(scope));
                (Kind::Flow(profile), teams)
            }
            (Some("flow"), None) | (_, Some(_)) => return Err(TokenError::Invalid),
            _ => (Kind::Machine, teams),
        };
        Ok(Caller {
            kind,
            scopes,
            teams,
            subject: claims.sub,
            client_id: claims.client_id,
            partner_id: claims.partner_id,
        })
    }

    /// What a token says that is signed with one of our secrets.
    fn claims_of(&self, token: &str) -> Result<Presented, TokenError> {
        let mut error = TokenError::Invalid;
        for key in &self.verifying {
            match jsonwebtoken::decode(token, key, &self.validation) {
                Ok(token) => return Ok(token.claims),
                Err(refused) => {
                    error = match refused.kind() {
                        ErrorKind::InvalidSignature => TokenError::Forged,
                        ErrorKind::ExpiredSignature => return Err(TokenError::Expired),
                        _ => return Err(TokenError::Invalid),
                    }
                }
            }
        }
        Err(error)
    }

    /// HMAC-SHA256 of a list with the secret as key, as 43 characters of Base64url. No two lists are the same JSON, and no token
    /// begins as JSON does.
    pub(super) fn keyed_hash(&self, parts: &[&str]) -> Result<String, Error> {
        let message = serde_json::Value::from(parts).to_string();
        jsonwebtoken::crypto::sign(message.as_bytes(), &self.signing, Algorithm::HS256)
    }

    pub(super) fn machine_token(
        &self,
        client: &TokenClient,
        scopes: &[Scope],
        now: SystemTime,
    ) -> Result<String, Error> {
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
        scopes: &[Scope],
        now: SystemTime,
    ) -> Result<String, Error> {
        let claims = Issued {
            client_id: creator.client_id.as_deref(),
            partner_id: creator.partner_id.as_deref(),
            team_id: team,
            profile_id: Some(profile),
            token_use: Some("flow"),
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
        }
    }

    fn sign(&self, claims: &Issued<'_>) -> Result<String, Error> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.signing)
    }
}
