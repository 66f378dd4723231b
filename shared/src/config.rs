//! Settings, read once when a process starts: one struct per topic, each field named with its variable.
//!
//! A variable that is missing or malformed stops the function with a message that names the variable and never its value.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::auth::Scope;
use crate::types::Team;

/// Why a function cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A variable that the function needs is not set.
    #[error("{0} is not set")]
    Missing(&'static str),
    /// A variable is set to something unusable.
    #[error("{name} {reason}")]
    Malformed {
        /// The variable.
        name: &'static str,
        /// What it must be.
        reason: String,
    },
}

fn malformed(name: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Malformed { name, reason: reason.into() }
}

/// The variables a process was started with. An empty one counts as not set.
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

    /// The value of a variable, trimmed, unless empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The value of a variable that must be set.
    ///
    /// # Errors
    /// When it is not set.
    pub fn require(&self, name: &'static str) -> Result<&str, ConfigError> {
        self.get(name).ok_or(ConfigError::Missing(name))
    }

    fn flag(&self, name: &'static str) -> Result<bool, ConfigError> {
        match self.get(name).map(str::to_ascii_lowercase).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(malformed(name, "must be true or false")),
        }
    }

    fn number<T: FromStr + PartialOrd + std::fmt::Display>(
        &self,
        name: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(default) };
        let wrong = || malformed(name, format!("must be a number from {} to {}", allowed.start(), allowed.end()));
        text.parse().ok().filter(|value| allowed.contains(value)).ok_or_else(wrong)
    }

    fn url(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let valid = Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if valid {
            Ok(Some(text.trim_end_matches('/').to_owned()))
        } else {
            Err(malformed(name, "must be an http or https URL"))
        }
    }

    fn team(&self, name: &'static str) -> Result<Option<Team>, ConfigError> {
        self.get(name).map(Team::from_str).transpose().map_err(|invalid| malformed(name, invalid.0))
    }
}

/// Variables that are in both are the second's: the secret's are put over those of the process.
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

/// How to reach PocketBase, and as whom.
#[derive(Clone)]
pub struct PocketBaseSettings {
    /// `POCKETBASE_URL`, without a trailing slash.
    pub url: String,
    /// `PB_AUTH_COLLECTION`: `users` (default) or `_superusers`.
    pub auth_collection: String,
    /// `PB_USER_EMAIL`.
    pub email: String,
    /// `PB_USER_PASSWORD`.
    pub password: String,
    /// `PB_AUTH_TOKEN`: a long-lived token of that account, which spares PocketBase the password's bcrypt comparison at each
    /// start of a process. The password is used when there is none, or when PocketBase refuses it.
    pub auth_token: Option<String>,
    /// `PB_TIMEOUT_MS`: the longest that one call may take, 100 to 20,000 ms, 8,000 by default. A request makes at most
    /// two or three, inside the 29 s of a function.
    pub timeout: Duration,
}

impl PocketBaseSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let auth_collection = env.get("PB_AUTH_COLLECTION").unwrap_or("users");
        if !matches!(auth_collection, "users" | "_superusers") {
            return Err(malformed("PB_AUTH_COLLECTION", "must be users or _superusers"));
        }
        Ok(Self {
            url: env.url("POCKETBASE_URL")?.ok_or(ConfigError::Missing("POCKETBASE_URL"))?,
            auth_collection: auth_collection.to_owned(),
            email: env.require("PB_USER_EMAIL")?.to_owned(),
            password: env.require("PB_USER_PASSWORD")?.to_owned(),
            auth_token: env.get("PB_AUTH_TOKEN").map(str::to_owned),
            timeout: Duration::from_millis(env.number("PB_TIMEOUT_MS", 8_000, 100..=20_000)?),
        })
    }
}

/// How bearer tokens are signed and judged.
#[derive(Clone)]
pub struct JwtSettings {
    /// `JWT_SECRET`, at least 32 bytes: an HS256 key shorter than its hash is weak (RFC 7518, 3.2).
    pub secret: String,
    /// `JWT_SECRET_PREVIOUS`: the secret before it was rotated, which still verifies the tokens that it signed.
    pub previous_secret: Option<String>,
    /// `JWT_ISSUER`: put into tokens, and required of them, when set.
    pub issuer: Option<String>,
    /// `JWT_AUDIENCE`: likewise.
    pub audience: Option<String>,
    /// `JWT_TTL_SECONDS`: how long a machine token is valid, 60 to 86,400 s, 3,600 by default.
    pub ttl: Duration,
    /// `FLOW_TOKEN_TTL_SECONDS`: how long a flow token is valid, 60 to 86,400 s, 1,800 by default.
    pub flow_ttl: Duration,
}

impl JwtSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is missing or malformed, or the secret is too short.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let secret = env.require("JWT_SECRET")?;
        let previous_secret = env.get("JWT_SECRET_PREVIOUS");
        for (name, secret) in [("JWT_SECRET", Some(secret)), ("JWT_SECRET_PREVIOUS", previous_secret)] {
            if secret.is_some_and(|secret| secret.len() < 32) {
                return Err(malformed(name, "must be at least 32 bytes long"));
            }
        }
        Ok(Self {
            secret: secret.to_owned(),
            previous_secret: previous_secret.map(str::to_owned),
            issuer: env.get("JWT_ISSUER").map(str::to_owned),
            audience: env.get("JWT_AUDIENCE").map(str::to_owned),
            ttl: Duration::from_secs(env.number("JWT_TTL_SECONDS", 3_600, 60..=86_400)?),
            flow_ttl: Duration::from_secs(env.number("FLOW_TOKEN_TTL_SECONDS", 1_800, 60..=86_400)?),
        })
    }
}

/// A client that may ask for machine tokens.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenClient {
    /// Its public name, the `sub` and `client_id` of its tokens.
    pub client_id: String,
    /// Its secret.
    pub client_secret: String,
    /// The partner it belongs to.
    #[serde(default)]
    pub partner_id: Option<String>,
    /// The team whose records it sees; without one it sees only records that have none.
    #[serde(default)]
    pub team_id: Option<Team>,
    /// Whether it sees the records of every team.
    #[serde(default)]
    pub all_teams: bool,
    /// What its tokens may allow.
    pub scopes: Vec<Scope>,
}

/// The clients of POST /api/auth/token.
#[derive(Clone)]
pub struct TokenClientSettings {
    /// `JWT_CLIENTS_JSON`, an array, followed by the one client of `JWT_CLIENT_ID`, `JWT_CLIENT_SECRET`,
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
            // serde's messages can quote the input, which holds secrets: only the place is told.
            Some(text) => serde_json::from_str(text).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                malformed(JSON, format!("must be a JSON array of clients (see line {line}, column {column})"))
            })?,
            None => Vec::new(),
        };
        if let Some(client_id) = env.get("JWT_CLIENT_ID") {
            let scopes = env.get("JWT_CLIENT_SCOPES").unwrap_or_default();
            clients.push(TokenClient {
                client_id: client_id.to_owned(),
                client_secret: env.require("JWT_CLIENT_SECRET")?.to_owned(),
                partner_id: env.get("JWT_CLIENT_PARTNER_ID").map(str::to_owned),
                team_id: env.team("JWT_CLIENT_TEAM_ID")?,
                all_teams: false,
                scopes: scopes
                    .split([' ', ','])
                    .filter(|scope| !scope.is_empty())
                    .map(|scope| scope.parse().map_err(|()| malformed("JWT_CLIENT_SCOPES", "names an unknown scope")))
                    .collect::<Result<_, _>>()?,
            });
        }
        let mut names: Vec<_> = clients.iter().map(|client| client.client_id.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() < clients.len() {
            return Err(malformed(JSON, "names a client twice"));
        }
        if clients.iter().any(|client| client.client_id.is_empty() || client.client_secret.is_empty()) {
            return Err(malformed(JSON, "has a client without id or secret"));
        }
        Ok(Self { clients })
    }
}

/// Static API keys.
#[derive(Clone, Default)]
pub struct ApiKeySettings {
    /// `VALID_API_KEYS`, comma separated.
    pub keys: Vec<String>,
    /// `DEFAULT_TEAM_ID`: the team of whoever calls with one of them.
    pub team: Option<Team>,
}

impl ApiKeySettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a key is shorter than 16 characters, or the team is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let keys =
            env.get("VALID_API_KEYS").unwrap_or_default().split(',').map(str::trim).filter(|key| !key.is_empty());
        let keys: Vec<_> = keys.map(str::to_owned).collect();
        if keys.iter().any(|key| key.len() < 16) {
            return Err(malformed("VALID_API_KEYS", "has a key shorter than 16 characters"));
        }
        Ok(Self { keys, team: env.team("DEFAULT_TEAM_ID")? })
    }
}

/// Where people are sent.
#[derive(Clone)]
pub struct LinkSettings {
    /// `CLIENT_URL`: the hosted flow of the bearer contract, without a trailing slash.
    pub client_url: String,
    /// `IDENTIVIA_FRONTEND_URL`: the hosted flow of the key contract; `https://identivia.com` by default.
    pub frontend_url: String,
}

impl LinkSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When `CLIENT_URL` is missing, or one of them is not a URL.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let frontend_url = env.url("IDENTIVIA_FRONTEND_URL")?;
        Ok(Self {
            client_url: env.url("CLIENT_URL")?.ok_or(ConfigError::Missing("CLIENT_URL"))?,
            frontend_url: frontend_url.unwrap_or_else(|| "https://identivia.com".to_owned()),
        })
    }
}

/// What is answered without a credential. Both are off unless asked for.
#[derive(Clone, Copy, Default)]
pub struct PublicSettings {
    /// `PUBLIC_HEALTH`: GET / tells anyone that the service is up.
    pub health: bool,
    /// `PUBLIC_STATUS_LOOKUP`: GET /api/profiles/{id} shows a profile to whoever has its id.
    pub status_lookup: bool,
}

impl PublicSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one of them is neither true nor false.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { health: env.flag("PUBLIC_HEALTH")?, status_lookup: env.flag("PUBLIC_STATUS_LOOKUP")? })
    }
}

/// How the hosted page is opened.
#[derive(Clone, Copy, Default)]
pub struct PageSettings {
    /// `VERIF_ACCEPT_SECRET_KEYS`: whether a link may hold a secret key, as links of the earlier service do. Off unless asked for.
    pub accept_secret_keys: bool,
}

impl PageSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When it is neither true nor false.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { accept_secret_keys: env.flag("VERIF_ACCEPT_SECRET_KEYS")? })
    }
}

/// A key of AWS's.
#[derive(Clone)]
pub struct AwsKey {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: String,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: String,
    /// `AWS_SESSION_TOKEN`: set for the keys of a role, such as a function's own.
    pub session_token: Option<String>,
}

/// How to call AWS.
#[derive(Clone)]
pub struct AwsSettings {
    /// `AWS_REGION`, which Lambda sets; `us-east-1` without it.
    pub region: String,
    /// The key in the variables. Without one, AWS's default places are looked in.
    pub key: Option<AwsKey>,
    /// `LIVENESS_CLIENT_ROLE_ARN`: the role that browsers are given for Face Liveness.
    pub liveness_client_role: Option<String>,
    /// `AWS_ENDPOINT_URL_<SERVICE>`, else `AWS_ENDPOINT_URL`: where the service is, when not at AWS.
    endpoints: Env,
}

impl AwsSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When half a key is set, or the role's ARN or an endpoint is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        const ROLE: &str = "LIVENESS_CLIENT_ROLE_ARN";
        let owned = |name| env.get(name).map(str::to_owned);
        let key = match (owned("AWS_ACCESS_KEY_ID"), owned("AWS_SECRET_ACCESS_KEY")) {
            (Some(_), None) => return Err(malformed("AWS_ACCESS_KEY_ID", "needs AWS_SECRET_ACCESS_KEY beside it")),
            (None, Some(_)) => return Err(malformed("AWS_SECRET_ACCESS_KEY", "needs AWS_ACCESS_KEY_ID beside it")),
            (id, secret) => id.zip(secret),
        };
        let liveness_client_role = owned(ROLE);
        let is_role =
            |arn: &String| arn.starts_with("arn:") && arn.contains(":role/") && (20..=2048).contains(&arn.len());
        if !liveness_client_role.as_ref().is_none_or(is_role) {
            return Err(malformed(ROLE, "must be the ARN of a role"));
        }
        let endpoints = [
            "AWS_ENDPOINT_URL",
            "AWS_ENDPOINT_URL_REKOGNITION",
            "AWS_ENDPOINT_URL_S3",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            "AWS_ENDPOINT_URL_SQS",
            "AWS_ENDPOINT_URL_STS",
        ];
        let endpoints =
            endpoints.into_iter().filter_map(|name| Some(env.url(name).transpose()?.map(|url| (name.to_owned(), url))));
        Ok(Self {
            region: env.get("AWS_REGION").or(env.get("AWS_DEFAULT_REGION")).unwrap_or("us-east-1").to_owned(),
            key: key.map(|(id, secret)| AwsKey { id, secret, session_token: owned("AWS_SESSION_TOKEN") }),
            liveness_client_role,
            endpoints: endpoints.collect::<Result<_, _>>()?,
        })
    }

    /// The settings for what belongs to this deployment, its bucket and its queue: the function's own role calls these, also where
    /// the secret has a user's key for other services.
    ///
    /// # Errors
    /// As [`Self::from_env`].
    pub fn of_role(env: &Env) -> Result<Self, ConfigError> {
        let settings = Self::from_env(env)?;
        let of_role = |name: &str| env.get(&format!("ROLE_{name}")).map(str::to_owned);
        match of_role("AWS_ACCESS_KEY_ID").zip(of_role("AWS_SECRET_ACCESS_KEY")) {
            Some((id, secret)) => {
                let key = Some(AwsKey { id, secret, session_token: of_role("AWS_SESSION_TOKEN") });
                Ok(Self { key, ..settings })
            }
            None => Ok(settings),
        }
    }

    /// Whether the key is a user's and not a role's: only the former can sign GetFederationToken.
    pub fn has_long_term_key(&self) -> bool {
        self.key.as_ref().is_some_and(|key| key.session_token.is_none())
    }

    /// Whether Face Liveness can be used: with a long-term key, or with a role for browsers. A function's own role, which
    /// every function has, does not say so.
    pub fn is_configured(&self) -> bool {
        self.has_long_term_key() || self.liveness_client_role.is_some()
    }

    /// Where a service is, if not at AWS. `service` as in the variable: `REKOGNITION`, `STS`, `SECRETS_MANAGER`.
    pub fn endpoint(&self, service: &str) -> Option<&str> {
        self.endpoints.get(&format!("AWS_ENDPOINT_URL_{service}")).or_else(|| self.endpoints.get("AWS_ENDPOINT_URL"))
    }
}

/// Where uploads and the media of checks are.
#[derive(Clone)]
pub struct StorageSettings {
    /// `UPLOADS_BUCKET`: a bucket of S3; without it there are neither uploads nor checks.
    pub bucket: Option<String>,
}

impl StorageSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the name cannot be one of a bucket.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        const BUCKET: &str = "UPLOADS_BUCKET";
        let bucket = env.get(BUCKET).map(str::to_owned);
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if bucket.as_ref().is_some_and(|name| !(3..=63).contains(&name.len()) || !name.bytes().all(is_plain)) {
            return Err(malformed(BUCKET, "must be 3 to 63 lower-case letters, digits or -"));
        }
        Ok(Self { bucket })
    }
}

/// For how long things stay.
#[derive(Clone, Copy)]
pub struct RetentionSettings {
    /// `RETENTION_DAYS`: after how many days media and faces are deleted, 1 to 365; 7 by default. The bucket's own lifecycle, which
    /// is the backstop, has to be no shorter.
    pub days: u16,
}

impl RetentionSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the number is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { days: env.number("RETENTION_DAYS", 7, 1..=365)? })
    }
}

/// How media are decoded.
#[derive(Clone)]
pub struct MediaSettings {
    /// `FFMPEG_PATH`: where ffmpeg is; `/opt/bin/ffmpeg` by default, which is where the layer puts it.
    pub ffmpeg: PathBuf,
}

impl MediaSettings {
    /// Reads the settings. Whether there is an ffmpeg shows with the first file.
    pub fn from_env(env: &Env) -> Self {
        Self { ffmpeg: env.get("FFMPEG_PATH").unwrap_or("/opt/bin/ffmpeg").into() }
    }
}

/// Who compares faces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaceComparison {
    /// A vision model behind OpenAI's API.
    OpenAiVision,
    /// Amazon Rekognition CompareFaces.
    Rekognition,
}

impl FaceComparison {
    /// Reads `FACE_COMPARISON`: `openai_vision` (default) or `rekognition`.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        match env.get("FACE_COMPARISON") {
            None | Some("openai_vision") => Ok(Self::OpenAiVision),
            Some("rekognition") => Ok(Self::Rekognition),
            Some(_) => Err(malformed("FACE_COMPARISON", "must be openai_vision or rekognition")),
        }
    }
}

/// From which similarities, 0 to 100, a check is decided.
#[derive(Debug, Clone, Copy)]
pub struct DecisionSettings {
    /// `FACE_MATCH_THRESHOLD`: from here on the faces are one person's; 80 by default.
    pub verify_from: f64,
    /// `FACE_MATCH_HIGH_THRESHOLD`: from here on that is said with high confidence; 90 by default.
    pub high_from: f64,
    /// `FACE_MISMATCH_THRESHOLD`: below it they are two persons'; 40 by default.
    pub reject_below: f64,
    /// `COMPARE_FACES_THRESHOLD`: below it Rekognition disagrees with a model that says that they are one person's; 90 by default.
    pub compare_faces_from: f64,
}

impl DecisionSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is malformed, or a match would begin below a mismatch.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let settings = Self {
            verify_from: env.number("FACE_MATCH_THRESHOLD", 80.0, 0.0..=100.0)?,
            high_from: env.number("FACE_MATCH_HIGH_THRESHOLD", 90.0, 0.0..=100.0)?,
            reject_below: env.number("FACE_MISMATCH_THRESHOLD", 40.0, 0.0..=100.0)?,
            compare_faces_from: env.number("COMPARE_FACES_THRESHOLD", 90.0, 0.0..=100.0)?,
        };
        if settings.reject_below > settings.verify_from {
            return Err(malformed("FACE_MISMATCH_THRESHOLD", "must be at most FACE_MATCH_THRESHOLD"));
        }
        Ok(settings)
    }
}

/// How webhooks are sent.
#[derive(Clone)]
pub struct WebhookSettings {
    /// `WEBHOOK_QUEUE_URL`: a queue of SQS that makes them prompt; without it the sweep finds them, a minute later.
    pub queue_url: Option<String>,
    /// `ALLOW_PRIVATE_WEBHOOKS`: whether they may go to private addresses, and by http; for development alone.
    pub allow_private: bool,
}

impl WebhookSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { queue_url: env.url("WEBHOOK_QUEUE_URL")?, allow_private: env.flag("ALLOW_PRIVATE_WEBHOOKS")? })
    }
}

/// When somebody is taken to be live.
#[derive(Clone, Copy)]
pub struct LivenessSettings {
    /// `FACE_LIVENESS_THRESHOLD`: from which confidence a session is live, 0 to 100, 75 by default.
    pub threshold: f64,
}

impl LivenessSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the threshold is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self { threshold: env.number("FACE_LIVENESS_THRESHOLD", 75.0, 0.0..=100.0)? })
    }
}

/// How to reach a service with the Chat Completions API.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// `OPENAI_API_KEY`; without it nothing is analysed.
    pub api_key: Option<String>,
    /// `OPENAI_BASE_URL`, without a trailing slash; `https://api.openai.com/v1` by default.
    pub base_url: String,
    /// `OPENAI_MODEL`, `o4-mini` by default.
    pub model: String,
    /// `OPENAI_TIMEOUT_MS`: the longest that the model may take, 1,000 to 25,000 ms, 24,000 by default: a request has 27 s.
    pub timeout: Duration,
}

impl OpenAiSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the base URL is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            api_key: env.get("OPENAI_API_KEY").map(str::to_owned),
            base_url: env.url("OPENAI_BASE_URL")?.unwrap_or_else(|| "https://api.openai.com/v1".to_owned()),
            model: env.get("OPENAI_MODEL").unwrap_or("o4-mini").to_owned(),
            timeout: Duration::from_millis(env.number("OPENAI_TIMEOUT_MS", 24_000, 1_000..=25_000)?),
        })
    }
}

/// How to reach Fingerprint's Server API.
#[derive(Clone)]
pub struct FingerprintSettings {
    /// `FINGERPRINT_SECRET_KEY`; without it devices are not checked.
    pub secret_key: Option<String>,
    /// The Server API of `FINGERPRINT_REGION` (`us` by default, `eu`, `ap`), or `FINGERPRINT_BASE_URL`; without a trailing slash.
    pub base_url: String,
    /// `FINGERPRINT_MAX_AGE_SECONDS`: how old an identification may be, 60 to 86,400 s; 1,800 by default, as long as a flow
    /// token lives.
    pub max_age: Duration,
}

impl FingerprintSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When the region, the URL or the age is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let region = match env.get("FINGERPRINT_REGION").unwrap_or("us") {
            "us" => "https://api.fpjs.io",
            "eu" => "https://eu.api.fpjs.io",
            "ap" => "https://ap.api.fpjs.io",
            _ => return Err(malformed("FINGERPRINT_REGION", "must be us, eu or ap")),
        };
        Ok(Self {
            secret_key: env.get("FINGERPRINT_SECRET_KEY").map(str::to_owned),
            base_url: env.url("FINGERPRINT_BASE_URL")?.unwrap_or_else(|| region.to_owned()),
            max_age: Duration::from_secs(env.number("FINGERPRINT_MAX_AGE_SECONDS", 1_800, 60..=86_400)?),
        })
    }
}

/// The one secret that holds what no variable should.
#[derive(Clone)]
pub struct SecretsSettings {
    /// `SECRETS_ARN`: a Secrets Manager secret, a JSON object whose names are those of the variables.
    pub arn: Option<String>,
    /// `SECRETS_TTL_SECONDS`: after how long it is read again, 10 to 86,400 s, 300 by default.
    pub ttl: Duration,
}

impl SecretsSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            arn: env.get("SECRETS_ARN").map(str::to_owned),
            ttl: Duration::from_secs(env.number("SECRETS_TTL_SECONDS", 300, 10..=86_400)?),
        })
    }
}

/// How often a person may try.
#[derive(Clone, Copy)]
pub struct AttemptSettings {
    /// `MAX_VERIFICATION_ATTEMPTS`: verification records made with flow tokens per profile and UTC day, 1 to 1,000, 5 by
    /// default.
    pub verifications_per_day: u32,
    /// `MAX_LIVENESS_SESSIONS`: sessions of Face Liveness made with flow tokens per profile and UTC day, 1 to 1,000, 20 by default:
    /// some are spoilt by bad light, and AWS bills each.
    pub sessions_per_day: u32,
    /// `MAX_UPLOADS`: uploads announced with flow tokens per profile and UTC day, 1 to 1,000, 40 by default.
    pub uploads_per_day: u32,
}

impl AttemptSettings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        Ok(Self {
            verifications_per_day: env.number("MAX_VERIFICATION_ATTEMPTS", 5, 1..=1_000)?,
            sessions_per_day: env.number("MAX_LIVENESS_SESSIONS", 20, 1..=1_000)?,
            uploads_per_day: env.number("MAX_UPLOADS", 40, 1..=1_000)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn complaint<T>(result: Result<T, ConfigError>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_weak_or_missing_jwt_secret_stops_the_function() {
        assert_eq!(complaint(JwtSettings::from_env(&env(&[]))), "JWT_SECRET is not set");
        let weak = env(&[("JWT_SECRET", "0123456789012345678901234567890")]);
        assert_eq!(complaint(JwtSettings::from_env(&weak)), "JWT_SECRET must be at least 32 bytes long");
        assert!(JwtSettings::from_env(&env(&[("JWT_SECRET", "01234567890123456789012345678901")])).is_ok());
    }

    #[test]
    fn a_missing_pocketbase_variable_is_named() {
        let all = [("POCKETBASE_URL", "http://127.0.0.1:8090/"), ("PB_USER_EMAIL", "a@b.c"), ("PB_USER_PASSWORD", "p")];
        assert_eq!(PocketBaseSettings::from_env(&env(&all)).unwrap().url, "http://127.0.0.1:8090");
        for missing in ["POCKETBASE_URL", "PB_USER_EMAIL", "PB_USER_PASSWORD"] {
            let rest: Vec<_> = all.iter().copied().filter(|(name, _)| *name != missing).collect();
            assert_eq!(complaint(PocketBaseSettings::from_env(&env(&rest))), format!("{missing} is not set"));
        }
    }

    #[test]
    fn malformed_clients_stop_the_function_without_showing_a_secret() {
        for bad in [
            "not json",
            r#"{"client_id":"a"}"#,
            r#"[{"client_id":"a","client_secret":"hush-hush","scopes":["no:such"]}]"#,
            r#"[{"client_id":"a","client_secret":"hush-hush","scopes":[],"extra":1}]"#,
            r#"[{"client_id":"a","client_secret":"","scopes":[]}]"#,
            r#"[{"client_id":"a","client_secret":"hush-hush","scopes":[]},{"client_id":"a","client_secret":"b","scopes":[]}]"#,
        ] {
            let complaint = complaint(TokenClientSettings::from_env(&env(&[("JWT_CLIENTS_JSON", bad)])));
            assert!(complaint.starts_with("JWT_CLIENTS_JSON "), "{bad}: {complaint}");
            assert!(!complaint.contains("hush"), "{complaint}");
        }
    }

    #[test]
    fn malformed_switches_numbers_and_urls_stop_the_function() {
        assert!(PublicSettings::from_env(&env(&[("PUBLIC_HEALTH", "maybe")])).is_err());
        assert!(AttemptSettings::from_env(&env(&[("MAX_VERIFICATION_ATTEMPTS", "0")])).is_err());
        assert!(LivenessSettings::from_env(&env(&[("FACE_LIVENESS_THRESHOLD", "101")])).is_err());
        assert!(AwsSettings::from_env(&env(&[("LIVENESS_CLIENT_ROLE_ARN", "liveness")])).is_err());
        assert!(AwsSettings::from_env(&env(&[("AWS_ENDPOINT_URL_STS", "localhost")])).is_err());
        assert!(FaceComparison::from_env(&env(&[("FACE_COMPARISON", "guessing")])).is_err());
        assert!(DecisionSettings::from_env(&env(&[("FACE_MISMATCH_THRESHOLD", "81")])).is_err());
        assert!(WebhookSettings::from_env(&env(&[("WEBHOOK_QUEUE_URL", "queue")])).is_err());
        assert!(StorageSettings::from_env(&env(&[("UPLOADS_BUCKET", "a/b")])).is_err());
        assert!(OpenAiSettings::from_env(&env(&[("OPENAI_BASE_URL", "api.openai.com")])).is_err());
        assert!(SecretsSettings::from_env(&env(&[("SECRETS_TTL_SECONDS", "1")])).is_err());
        assert!(LinkSettings::from_env(&env(&[("CLIENT_URL", "app.example.com")])).is_err());
        assert!(ApiKeySettings::from_env(&env(&[("VALID_API_KEYS", "short")])).is_err());
    }

    #[test]
    fn a_functions_own_role_is_not_a_configured_aws() {
        let configured = |variables: &[_]| AwsSettings::from_env(&env(variables)).unwrap().is_configured();
        assert!(!configured(&[]));
        assert!(AwsSettings::from_env(&env(&[("AWS_ACCESS_KEY_ID", "AKIA")])).is_err());
        assert!(AwsSettings::from_env(&env(&[("AWS_SECRET_ACCESS_KEY", "s")])).is_err());
        let mut keys = vec![("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")];
        assert!(configured(&keys));
        keys.push(("AWS_SESSION_TOKEN", "t"));
        assert!(!configured(&keys));
        keys.push(("LIVENESS_CLIENT_ROLE_ARN", "arn:aws:iam::123456789012:role/liveness"));
        assert!(configured(&keys));
    }

    #[test]
    fn a_service_of_aws_is_where_its_own_variable_says_else_where_the_common_one_says() {
        let settings = AwsSettings::from_env(&env(&[
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:1/"),
            ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:2"),
        ]))
        .unwrap();
        assert_eq!(settings.endpoint("STS"), Some("http://127.0.0.1:2"));
        assert_eq!(settings.endpoint("REKOGNITION"), Some("http://127.0.0.1:1"));
        assert_eq!(AwsSettings::from_env(&Env::default()).unwrap().endpoint("STS"), None);
    }

    #[test]
    fn fingerprint_has_three_regions() {
        for (region, url) in
            [("us", "https://api.fpjs.io"), ("eu", "https://eu.api.fpjs.io"), ("ap", "https://ap.api.fpjs.io")]
        {
            assert_eq!(FingerprintSettings::from_env(&env(&[("FINGERPRINT_REGION", region)])).unwrap().base_url, url);
        }
        assert!(FingerprintSettings::from_env(&env(&[("FINGERPRINT_REGION", "mars")])).is_err());
    }
}
