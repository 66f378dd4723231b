//! Clients of the client credentials grant, and the tokens issued to them.

use std::time::SystemTime;

use serde::Deserialize;

use super::jwt::Jwt;
use super::{Error, Scope, is_same_secret};
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

impl TokenClient {
    /// Whether this client has the secret of another one, and whatever else that one sets.
    fn agrees_with(&self, other: &Self) -> bool {
        let has_scopes = other.scopes.is_empty()
            || (self.scopes.len() == other.scopes.len()
                && other.scopes.iter().all(|scope| self.scopes.contains(scope)));
        is_same_secret(&self.client_secret, &other.client_secret)
            && has_scopes
            && (other.partner_id.is_none() || self.partner_id == other.partner_id)
            && (other.team_id.is_none() || self.team_id == other.team_id)
    }
}

/// Settings of token clients.
#[derive(Clone)]
pub struct TokenClientSettings {
    /// `JWT_CLIENTS_JSON`, an array, followed by the single client of `JWT_CLIENT_ID`, `JWT_CLIENT_SECRET`,
    /// `JWT_CLIENT_SCOPES`, `JWT_CLIENT_PARTNER_ID` and `JWT_CLIENT_TEAM_ID`. Empty when neither is set. The single client may be one of
    /// the array too, if the two agree; the array's is then used.
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
            let single = TokenClient {
                client_id: client_id.to_owned(),
                client_secret: env.require("JWT_CLIENT_SECRET")?.to_owned(),
                partner_id: env.get_owned("JWT_CLIENT_PARTNER_ID"),
                team_id: env.parse("JWT_CLIENT_TEAM_ID")?,
                all_teams: false,
                scopes: scopes
                    .filter(|scope| !scope.is_empty())
                    .map(|scope| scope.parse().map_err(|()| unknown_scope()))
                    .collect::<Result<_, _>>()?,
            };
            match clients.iter().find(|client| client.client_id == single.client_id) {
                None => clients.push(single),
                Some(listed) if listed.agrees_with(&single) => {}
                Some(_) => {
                    return Err(ConfigError::malformed(
                        JSON,
                        "has another client of the name that JWT_CLIENT_ID gives",
                    ));
                }
            }
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
    fn the_single_client_may_be_listed_too_if_both_agree() {
        let listed = r#"[{"client_id":"a","client_secret":"hush","team_id":"t","scopes":["health:read"]}]"#;
        let clients = |own: &[(&str, &str)]| {
            let all = [("JWT_CLIENTS_JSON", listed), ("JWT_CLIENT_ID", "a")].into_iter().chain(own.iter().copied());
            let env: Env = all.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            TokenClientSettings::from_env(&env).map(|settings| settings.clients.len())
        };
        let same = ("JWT_CLIENT_SECRET", "hush");
        assert_eq!(clients(&[same]).ok(), Some(1));
        assert_eq!(clients(&[same, ("JWT_CLIENT_SCOPES", "health:read"), ("JWT_CLIENT_TEAM_ID", "t")]).ok(), Some(1));
        assert!(clients(&[("JWT_CLIENT_SECRET", "other")]).is_err());
        assert!(clients(&[same, ("JWT_CLIENT_SCOPES", "settings:read")]).is_err());
        assert!(clients(&[same, ("JWT_CLIENT_TEAM_ID", "u")]).is_err());
    }

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
