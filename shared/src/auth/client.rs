//! Clients of the client credentials grant, and the tokens issued to them.

use std::time::SystemTime;

use serde::Deserialize;

use super::jwt::Jwt;
use super::{Error, Scope};
use crate::env::{ConfigError, Env};
use crate::types::Team;

/// A client that may request machine tokens.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClient {
    /// Its id, which becomes the `sub` and `client_id` of its tokens.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// Its partner.
    #[serde(default)]
    pub partner_id: Option<String>,
    /// The team whose records it sees; without one, it sees only records that have none.
    #[serde(default)]
    pub team_id: Option<Team>,
    /// Whether it sees the records of every team.
    #[serde(default)]
    pub all_teams: bool,
    /// The scopes that it may request.
    pub scopes: Vec<Scope>,
}

/// Settings of token clients.
#[derive(Clone)]
pub struct TokenClientSettings {
    /// `JWT_CLIENTS_JSON`, an array, followed by the single client of `JWT_CLIENT_ID`, `JWT_CLIENT_SECRET`,
    /// `JWT_CLIENT_SCOPES`, `JWT_CLIENT_PARTNER_ID` and `JWT_CLIENT_TEAM_ID`. Empty when neither is set.
    pub clients: Vec<TokenClient>,
}

impl TokenClientSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the JSON is malformed, names an unknown scope or a client twice, or a client has no secret.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        const JSON: &str = "JWT_CLIENTS_JSON";
        let mut clients: Vec<TokenClient> = match env.get(JSON) {
            // serde's messages can quote the input, which holds secrets: only the position is shown.
            Some(text) => serde_json::from_str(text).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                ConfigError::malformed(
                    JSON,
                    format!("must be a JSON array of clients (see line {line}, column {column})"),
                )
            })?,
            None => Vec::new(),
        };
        if let Some(client_id) = env.get("JWT_CLIENT_ID") {
            let scopes = env.get("JWT_CLIENT_SCOPES").unwrap_or_default().split([' ', ',']);
            let unknown_scope = || ConfigError::malformed("JWT_CLIENT_SCOPES", "names an unknown scope");
            clients.push(TokenClient {
                client_id: client_id.to_owned(),
                client_secret: env.require("JWT_CLIENT_SECRET")?.to_owned(),
                partner_id: env.get_owned("JWT_CLIENT_PARTNER_ID"),
                team_id: env.parse("JWT_CLIENT_TEAM_ID")?,
                all_teams: false,
                scopes: scopes
                    .filter(|scope| !scope.is_empty())
                    .map(|scope| scope.parse().map_err(|()| unknown_scope()))
                    .collect::<Result<_, _>>()?,
            });
        }
        let mut names: Vec<_> = clients.iter().map(|client| client.client_id.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() < clients.len() {
            return Err(ConfigError::malformed(JSON, "names a client twice"));
        }
        if clients.iter().any(|client| client.client_id.is_empty() || client.client_secret.is_empty()) {
            return Err(ConfigError::malformed(JSON, "has a client without id or secret"));
        }
        Ok(Self { clients })
    }
}

/// Issues machine tokens. Built once per execution environment.
pub struct TokenIssuer(Jwt);

impl TokenIssuer {
    /// Reads the settings of tokens.
    ///
    /// # Errors
    /// When a setting is missing or malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self(Jwt::from_env(env)?))
    }

    /// Lifetime of its tokens in seconds.
    pub fn expires_in(&self) -> u64 {
        self.0.ttl().as_secs()
    }

    /// A token for a client, with these scopes.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue(&self, client: &TokenClient, scopes: &[Scope]) -> Result<String, Error> {
        Ok(self.0.machine_token(client, scopes, SystemTime::now())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_clients_are_refused_without_showing_a_secret() {
        for bad in [
            "not json",
            r#"{"client_id":"a"}"#,
            r#"[{"client_id":"a","client_secret":"hush-hush","scopes":["no:such"]}]"#,
            r#"[{"client_id":"a","client_secret":"hush-hush","scopes":[],"extra":1}]"#,
            r#"[{"client_id":"a","client_secret":"","scopes":[]}]"#,
            r#"[{"client_id":"a","client_secret":"hush-hush","scopes":[]},{"client_id":"a","client_secret":"b","scopes":[]}]"#,
        ] {
            let refused = TokenClientSettings::from_env(&Env::from([("JWT_CLIENTS_JSON", bad)])).err();
            let complaint = refused.map(|error| error.to_string()).unwrap_or_default();
            assert!(complaint.starts_with("JWT_CLIENTS_JSON "), "{bad}: {complaint}");
            assert!(!complaint.contains("hush"), "{complaint}");
        }
    }
}
