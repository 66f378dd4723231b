//! Environment variables, and the parsing that all settings share.
//!
//! A variable that is missing or malformed stops the function at its start, with a message that names the variable and
//! never repeats its value. Each settings struct is in the module that uses it and is read by its `from_env`.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;
use std::str::FromStr;

use url::Url;

/// Reason why settings cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A required variable is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable has an unusable value.
    #[error("{name} {reason}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What its value must be.
        reason: String,
    },
}

impl ConfigError {
    /// A variable with an unusable value, and what the value must be.
    pub fn malformed(name: &'static str, reason: impl Display) -> Self {
        Self::Malformed { name, reason: reason.to_string() }
    }
}

/// Reason why a function cannot start. Its `Debug` is its message, because that is what `main` prints.
pub struct StartError(String);

impl<E: std::error::Error> From<E> for StartError {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

impl fmt::Debug for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Environment variables of a process. An empty variable counts as not set.
#[derive(Clone, Default)]
pub struct Env(HashMap<String, String>);

impl Env {
    /// The variables of this process.
    pub fn from_process() -> Self {
        // `vars` would panic on a variable that is not Unicode.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The trimmed value of a variable, unless it is empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value of a variable, copied.
    pub fn get_owned(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The value of a required variable.
    ///
    /// # Errors
    /// When it is not set.
    pub fn require(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.get(name).ok_or(ConfigError::Missing(name))
    }

    /// A switch: `true` or `1`, `false` or `0`; false when not set.
    ///
    /// # Errors
    /// For any other value.
    pub fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(ConfigError::malformed(name, "must be true or false")),
        }
    }

    /// A number within a range.
    ///
    /// # Errors
    /// When it is no number, or outside the range.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &self,
        name: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let reason = || format!("must be a number from {} to {}", allowed.start(), allowed.end());
        let number = text.parse().ok().filter(|value| allowed.contains(value));
        number.ok_or_else(|| ConfigError::malformed(name, reason()))
    }

    /// An http or https URL, without its trailing slash.
    ///
    /// # Errors
    /// When the value is not an http or https URL.
    pub fn url(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let is_valid = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if is_valid {
            Ok(Some(text.trim_end_matches('/').to_owned()))
        } else {
            Err(ConfigError::malformed(name, "must be an http or https URL"))
        }
    }

    /// A value of a type that parses itself.
    ///
    /// # Errors
    /// When it does not parse.
    pub fn parse<T: FromStr<Err: Display>>(&self, name: &'static str) -> Result<Option<T>, ConfigError> {
        self.get(name).map(T::from_str).transpose().map_err(|reason| ConfigError::malformed(name, reason))
    }
}

/// A variable that is set twice keeps the later value, so that a secret's variables replace those of the process.
impl Extend<(String, String)> for Env {
    fn extend<I: IntoIterator<Item = (String, String)>>(&mut self, variables: I) {
        self.0.extend(variables);
    }
}

impl FromIterator<(String, String)> for Env {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Env {
    fn from(variables: [(&str, &str); N]) -> Self {
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn malformed_flags_numbers_and_urls_are_refused_without_their_value() {
        let env = Env::from([("FLAG", "maybe"), ("NUMBER", "11"), ("URL", "api.example.com"), ("EMPTY", " ")]);
        let message = |error: ConfigError| error.to_string();
        assert_eq!(message(env.flag("FLAG").unwrap_err()), "FLAG must be true or false");
        assert_eq!(message(env.number("NUMBER", 5, 1..=10).unwrap_err()), "NUMBER must be a number from 1 to 10");
        assert_eq!(message(env.url("URL").unwrap_err()), "URL must be an http or https URL");
        assert_eq!(message(env.require("EMPTY").unwrap_err()), "EMPTY is not set");
    }

    #[test]
    fn a_url_loses_its_trailing_slash() {
        assert_eq!(
            Env::from([("URL", "http://127.0.0.1:8090/")]).url("URL").unwrap().unwrap(),
            "http://127.0.0.1:8090"
        );
    }
}
