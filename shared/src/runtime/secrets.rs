//! The secrets in AWS Secrets Manager, with the settings that must not be plain environment variables.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::config::Builder;
use futures_util::future::join_all;
use serde_json::Value;

use crate::aws;
use crate::env::{ConfigError, Env};

/// Failure to read a secret. The message repeats nothing of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// Secrets Manager refused or did not answer.
    #[error("a secret of SECRET_ARNS cannot be read: {0}")]
    Unreadable(aws::Error),
    /// A secret is no JSON object.
    #[error("a secret of SECRET_ARNS must be a JSON object")]
    Malformed,
}

/// Versions of all secrets, read at the same time.
pub(super) struct Secret {
    /// Ids of the versions.
    pub(super) version: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Secret {
    /// The variables of the process, overridden by those of the secrets.
    pub(super) fn over(&self, process: &Env) -> Env {
        let mut env = process.clone();
        const KEY: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        if self.variables.iter().any(|(name, value)| KEY.contains(&name.as_str()) && !value.is_empty()) {
            // The role's key must not mix with a secret's. It is kept for calls that are made with the role.
            let of_role = KEY.map(|name| (format!("ROLE_{name}"), env.get(name).unwrap_or_default().to_owned()));
            env.extend(of_role);
            env.extend(KEY.map(|name| (name.to_owned(), String::new())));
        }
        env.extend(self.variables.iter().cloned());
        env
    }
}

/// Reader of the secrets.
pub(super) struct Secrets {
    client: Client,
    /// `SECRET_ARNS`: the ARNs of the secrets, separated by commas. Each secret is a JSON object with the names of variables. The last
    /// one that has a variable sets it.
    arns: Vec<String>,
    /// `SECRETS_TTL_SECONDS`: age at which the secrets are read again, 10 to 86,400 s, 300 by default.
    pub(super) ttl: Duration,
}

impl Secrets {
    /// A reader that calls with the function's role; `None` when no secret is configured.
    pub(super) async fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        let ttl = Duration::from_secs(env.number("SECRETS_TTL_SECONDS", 300, 10..=86_400)?);
        let arns = env.get("SECRET_ARNS").unwrap_or_default().split(',').map(str::trim);
        let arns: Vec<_> = arns.filter(|arn| !arn.is_empty()).map(str::to_owned).collect();
        if arns.is_empty() {
            return Ok(None);
        }
        let config = aws::config(&aws::Settings::from_env(env)?, "SECRETS_MANAGER").await;
        let config = Builder::from(&config).interceptor(aws::CountCalls("SecretsManager")).build();
        Ok(Some(Self { client: Client::from_conf(config), arns, ttl }))
    }

    /// The current versions of the secrets. One call of Secrets Manager for each, at the same time.
    pub(super) async fn read(&self) -> Result<Secret, SecretError> {
        let answers = self.arns.iter().map(|arn| self.client.get_secret_value().secret_id(arn).send());
        let mut secret = Secret { version: Vec::new(), variables: Vec::new() };
        for answer in join_all(answers).await {
            let answer = answer.map_err(|error| SecretError::Unreadable(error.into()))?;
            let variables = variables(answer.secret_string().unwrap_or_default()).ok_or(SecretError::Malformed)?;
            secret.variables.extend(variables);
            secret.version.push(answer.version_id().unwrap_or_default().to_owned());
        }
        Ok(secret)
    }
}

/// Variables of a secret. A value that is not a string, such as a number or an array for `JWT_CLIENTS_JSON`, becomes its JSON
/// text. Null means not set, even when the process has a value.
fn variables(secret: &str) -> Option<Vec<(String, String)>> {
    let Ok(Value::Object(fields)) = serde_json::from_str(secret) else { return None };
    let variables = fields.into_iter().map(|(name, value)| match value {
        Value::Null => (name, String::new()),
        Value::String(text) => (name, text),
        other => (name, other.to_string()),
    });
    Some(variables.collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_secret_is_an_object_of_variables() {
        let secret = r#"{"A": "text", "B": 60, "C": [{"client_id": "x"}], "D": null, "E": true}"#;
        let env: Env = variables(secret).unwrap().into_iter().collect();
        let all = ["A", "B", "C", "D", "E"].map(|name| env.get(name));
        assert_eq!(all, [Some("text"), Some("60"), Some(r#"[{"client_id":"x"}]"#), None, Some("true")]);
        for bad in ["", "text", "[]", "\"A\"", "{\"A\": "] {
            assert!(variables(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_key_in_the_secret_replaces_the_key_of_the_role() {
        let process: Env = [("AWS_ACCESS_KEY_ID", "ASIA"), ("AWS_SECRET_ACCESS_KEY", "r"), ("AWS_SESSION_TOKEN", "t")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let variables_of = |secret| Secret { version: Vec::new(), variables: variables(secret).unwrap() };
        let env = variables_of(r#"{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}"#).over(&process);
        assert!(aws::Settings::from_env(&env).unwrap().has_long_term_key());
        let half = variables_of(r#"{"AWS_ACCESS_KEY_ID": "AKIA"}"#);
        assert!(aws::Settings::from_env(&half.over(&process)).is_err(), "half a key is none");
        let none = variables_of(r#"{"AWS_ACCESS_KEY_ID": null}"#).over(&process);
        // Null is "not set", also where the process has a value.
        assert_eq!((none.get("AWS_ACCESS_KEY_ID"), none.get("AWS_SESSION_TOKEN")), (None, Some("t")));
    }
}
