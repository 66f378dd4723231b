//! The one secret of AWS Secrets Manager that holds what no variable should.

use std::time::Duration;

use aws_sdk_secretsmanager::Client;
use serde_json::Value;

use crate::aws;
use crate::config::{AwsSettings, ConfigError, Env, SecretsSettings};

/// Why the secret could not be read. It never repeats any of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Secrets Manager did not give it.
    #[error("SECRETS_ARN cannot be read: {0}")]
    Unreadable(String),
    /// It is something else than a JSON object.
    #[error("the secret of SECRETS_ARN must be a JSON object")]
    Malformed,
}

/// The secret as it was when it was read.
pub(crate) struct Secret {
    /// The id of this version: it changes with every change of the secret.
    pub(crate) version: String,
    variables: Vec<(String, String)>,
}

impl Secret {
    /// The variables of the process with the secret's put over them.
    pub(crate) fn over(&self, process: &Env) -> Env {
        let mut env = process.clone();
        const KEY: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        if self.variables.iter().any(|(name, value)| KEY.contains(&name.as_str()) && !value.is_empty()) {
            // No part of the role's key is left beside a part of the secret's; it stays where the role itself is meant.
            let of_role = KEY.map(|name| (format!("ROLE_{name}"), env.get(name).unwrap_or_default().to_owned()));
            env.extend(of_role);
            env.extend(KEY.map(|name| (name.to_owned(), String::new())));
        }
        env.extend(self.variables.iter().cloned());
        env
    }
}

/// Reads the secret.
pub(crate) struct Secrets {
    client: Client,
    arn: String,
    pub(crate) ttl: Duration,
}

impl Secrets {
    /// A reader of the secret, unless none is named. It calls as the function's role.
    pub(crate) async fn from_env(env: &Env) -> Result<Option<Self>, ConfigError> {
        let settings = SecretsSettings::from_env(env)?;
        let Some(arn) = settings.arn else { return Ok(None) };
        let config = aws::config(&AwsSettings::from_env(env)?, "SECRETS_MANAGER").await;
        Ok(Some(Self { client: Client::new(&config), arn, ttl: settings.ttl }))
    }

    /// The secret as it is now. One call of Secrets Manager.
    pub(crate) async fn read(&self) -> Result<Secret, SecretError> {
        let answer = self.client.get_secret_value().secret_id(&self.arn).send().await;
        let answer = answer.map_err(|error| SecretError::Unreadable(aws::said(&error)))?;
        let variables = variables(answer.secret_string().unwrap_or_default()).ok_or(SecretError::Malformed)?;
        Ok(Secret { version: answer.version_id().unwrap_or_default().to_owned(), variables })
    }
}

/// The variables in a secret. What is not a string (a number, or `JWT_CLIENTS_JSON` as the array that it is) is taken as its
/// JSON; null as not set, whatever the process has.
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
    fn a_key_in_the_secret_takes_the_place_of_the_roles() {
        let process: Env = [("AWS_ACCESS_KEY_ID", "ASIA"), ("AWS_SECRET_ACCESS_KEY", "r"), ("AWS_SESSION_TOKEN", "t")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        let variables_of = |secret| Secret { version: String::new(), variables: variables(secret).unwrap() };
        let env = variables_of(r#"{"AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": "s"}"#).over(&process);
        assert!(AwsSettings::from_env(&env).unwrap().has_long_term_key());
        let half = variables_of(r#"{"AWS_ACCESS_KEY_ID": "AKIA"}"#);
        assert!(AwsSettings::from_env(&half.over(&process)).is_err(), "half a key is none");
        let none = variables_of(r#"{"AWS_ACCESS_KEY_ID": null}"#).over(&process);
        // Null is "not set", also where the process has a value.
        assert_eq!((none.get("AWS_ACCESS_KEY_ID"), none.get("AWS_SESSION_TOKEN")), (None, Some("t")));
    }
}
