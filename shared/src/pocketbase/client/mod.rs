//! Client of PocketBase's web API: sign-in, retries, queries, writes and files.
//!
//! PocketBase does not refuse a request whose token has expired or was revoked. It treats the request as anonymous, and an
//! anonymous request finds nothing. An answer that an anonymous request would get as well ([`Answer::is_ambiguous`]) is
//! therefore trusted only after PocketBase has confirmed the token; otherwise the client signs in again, once, and repeats
//! the call.

mod answer;
mod error;
mod fields;
mod files;
mod filter;
mod session;
mod write;

use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::multipart::Form;
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub use error::Error;
pub use session::Account;
pub use write::RecordFile;

pub use fields::timestamp;

pub(super) use answer::typed;
pub(super) use fields::{optional, or_default, time};
pub(super) use filter::{created_before, equals, visible_to};
pub(super) use write::{Failed, Write};

use crate::env::{ConfigError, Env};
use crate::upstream::{self, ReadError};
use answer::Answer;
use session::{Session, SignedIn, expiry, is_current};

/// How long connecting may take. PocketBase is expected to be close.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long signing in may take during Lambda's init phase, which is limited to 10 s.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Shortest time limit of a call with files. A video of 50 MB takes 16 s at 25 Mbit/s.
const FORM_TIMEOUT: Duration = Duration::from_secs(20);

/// The largest response that is read, in bytes. No call gets as much.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Settings of the client.
#[derive(Clone)]
pub struct Settings {
    /// `POCKETBASE_URL`, without a trailing slash.
    pub url: String,
    /// `PB_AUTH_COLLECTION`: `users` (default) or `_superusers`.
    pub auth_collection: String,
    /// `PB_USER_EMAIL`.
    pub email: String,
    /// `PB_USER_PASSWORD`.
    pub password: String,
    /// `PB_AUTH_TOKEN`: a long-lived token of the account, which spares PocketBase a bcrypt comparison per cold start. The
    /// password is used when there is no token, or when PocketBase refuses it.
    pub auth_token: Option<String>,
    /// `PB_TIMEOUT_MS`: the limit of one call, 100 to 20,000 ms, 8,000 by default. A request makes two or three calls
    /// within a function's 29 s.
    pub timeout: Duration,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a variable is missing or malformed.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let auth_collection = env.get("PB_AUTH_COLLECTION").unwrap_or("users");
        if !matches!(auth_collection, "users" | "_superusers") {
            return Err(ConfigError::malformed("PB_AUTH_COLLECTION", "must be users or _superusers"));
        }
        Ok(Self {
            url: env.url("POCKETBASE_URL")?.ok_or(ConfigError::Missing("POCKETBASE_URL"))?,
            auth_collection: auth_collection.to_owned(),
            email: env.require("PB_USER_EMAIL")?.to_owned(),
            password: env.require("PB_USER_PASSWORD")?.to_owned(),
            auth_token: env.get_owned("PB_AUTH_TOKEN"),
            timeout: Duration::from_millis(env.number("PB_TIMEOUT_MS", 8_000, 100..=20_000)?),
        })
    }
}

/// Origin of a write. PocketBase's rules refuse writes by flow token once the profile is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A partner's backend, by bearer token or API key; or the service itself.
    Partner,
    /// A person's browser, by flow token.
    Flow,
}

impl Writer {
    fn query(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Partner => &[],
            Self::Flow => &[("by", "flow")],
        }
    }
}

/// Client of PocketBase. Built once per execution environment; it keeps its connection and its session.
pub struct PocketBase {
    http: Client,
    settings: Settings,
    session: Mutex<Option<Session>>,
}

/// Function that builds a form for each attempt, since a form can be sent only once.
pub(super) type MakeForm<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<Form, Error>> + Sync);

/// Body of a call.
pub(super) enum Payload<'a> {
    None,
    Json(&'a Value),
    Form(MakeForm<'a>),
}

/// One call of PocketBase's API.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) payload: Payload<'a>,
}

impl Call<'_> {
    /// Whether the call changes records. Issuing a file token does not.
    fn is_write(&self) -> bool {
        self.method != Method::GET && self.path != files::TOKEN_PATH
    }
}

impl PocketBase {
    /// A client that is not signed in yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let http = upstream::client(CONNECT_TIMEOUT, settings.timeout).map_err(unreachable)?;
        Ok(Self { http, settings, session: Mutex::new(None) })
    }

    /// A client that is signed in. Signing in during init also opens the connection while the function has a full CPU.
    ///
    /// A failed sign-in is only logged: PocketBase may be up when the first request comes.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let pocketbase = Self::new(settings)?;
        let failure = match tokio::time::timeout(START_TIMEOUT, pocketbase.session()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(Error::TimedOut),
        };
        if let Some(failure) = failure {
            tracing::warn!(cause = %failure, "not signed in at PocketBase; the first request tries again");
        }
        Ok(pocketbase)
    }

    /// The account of the session, after signing in if need be.
    ///
    /// # Errors
    /// When signing in fails.
    pub async fn account(&self) -> Result<Account, Error> {
        Ok(self.session().await?.account)
    }

    /// Email of the configured account.
    pub fn email(&self) -> &str {
        &self.settings.email
    }

    /// URL of PocketBase.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// Checks that PocketBase answers and accepts the session. One call, and one to sign in again if PocketBase does not accept it.
    ///
    /// # Errors
    /// When PocketBase does not answer, or signing in fails.
    pub async fn check(&self) -> Result<(), Error> {
        let session = self.session().await?;
        if !self.is_good(&session).await? {
            self.sign_in_again(&session).await?;
        }
        Ok(())
    }

    /// When `PB_AUTH_TOKEN` expires; `None` without one.
    pub fn auth_token_expiry(&self) -> Option<SystemTime> {
        self.settings.auth_token.as_deref().map(expiry)
    }

    /// The current session, after signing in if there is none or its token is about to expire.
    async fn session(&self) -> Result<Session, Error> {
        let mut current = self.session.lock().await;
        match &*current {
            Some(session) if is_current(session.expires) => Ok(session.clone()),
            _ => Ok(current.insert(self.sign_in().await?).clone()),
        }
    }

    /// Replaces a session that PocketBase no longer accepts, unless a concurrent request has replaced it already.
    async fn sign_in_again(&self, stale: &Session) -> Result<Session, Error> {
        let mut current = self.session.lock().await;
        match &*current {
            Some(session) if session.token != stale.token => Ok(session.clone()),
            _ => Ok(current.insert(self.sign_in().await?).clone()),
        }
    }

    /// Signs in with `PB_AUTH_TOKEN`, or with the password.
    async fn sign_in(&self) -> Result<Session, Error> {
        if let Some(token) = self.settings.auth_token.as_deref().filter(|token| is_current(expiry(token)))
            && let Some(account) = self.account_of(token).await?
        {
            return Ok(Session::new(token.to_owned(), account));
        }
        let path = format!("/api/collections/{}/auth-with-password", self.settings.auth_collection);
        let credentials = json!({ "identity": self.settings.email, "password": self.settings.password });
        let call = Call { method: Method::POST, path, query: &[], payload: Payload::Json(&credentials) };
        let answer = self.attempt(&call, None).await?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403 | 404) {
            return Err(Error::SignInRefused(format!("status {}", answer.status.as_u16())));
        }
        let SignedIn { token, record } = typed(answer.into_success()?)?;
        if !self.is_service_account(&record) {
            return Err(Error::SignInRefused("the account does not have the role service".to_owned()));
        }
        Ok(Session::new(token, record))
    }

    /// The account of a token; `None` when PocketBase refuses the token, or the account is not a service account.
    async fn account_of(&self, token: &str) -> Result<Option<Account>, Error> {
        let path = format!("/api/collections/{}/auth-refresh", self.settings.auth_collection);
        let call = Call { method: Method::POST, path, query: &[], payload: Payload::None };
        let answer = self.attempt(&call, Some(token)).await?;
        if matches!(answer.status.as_u16(), 401 | 403 | 404) {
            return Ok(None);
        }
        let SignedIn { record, .. } = typed(answer.into_success()?)?;
        Ok(Some(record).filter(|account| self.is_service_account(account)))
    }

    /// Whether the rules of the collections accept an account. Any other account would find no records and get no error.
    fn is_service_account(&self, account: &Account) -> bool {
        self.settings.auth_collection == "_superusers" || account.role == "service"
    }

    /// Whether PocketBase still accepts a session (session check). One call.
    async fn is_good(&self, session: &Session) -> Result<bool, Error> {
        Ok(self.account_of(&session.token).await?.is_some())
    }

    /// Makes a call as the service account, and signs in again when PocketBase no longer accepts the session.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let session = self.session().await?;
        let answer = self.attempt_noted(call, &session.token).await?;
        if !answer.is_ambiguous() || self.is_good(&session).await? {
            return Ok(answer);
        }
        let session = self.sign_in_again(&session).await?;
        self.attempt_noted(call, &session.token).await
    }

    /// Makes a call, and notes a write unless PocketBase has clearly refused it.
    async fn attempt_noted(&self, call: &Call<'_>, token: &str) -> Result<Answer, Error> {
        let outcome = self.attempt(call, Some(token)).await;
        let is_refused = outcome.as_ref().is_ok_and(|answer| answer.status.is_client_error());
        if call.is_write() && !is_refused {
            upstream::note_change();
        }
        outcome
    }

    /// Makes a call, and repeats it once when the connection failed and repeating is safe: nothing was sent yet, or the call
    /// only reads.
    async fn attempt(&self, call: &Call<'_>, token: Option<&str>) -> Result<Answer, Error> {
        match self.exchange(call, token).await {
            Err(Broken { connecting, error: Error::Unreachable(_) }) if connecting || call.method == Method::GET => {
                self.exchange(call, token).await.map_err(|broken| broken.error)
            }
            outcome => outcome.map_err(|broken| broken.error),
        }
    }

    /// Sends one request, and reads its answer.
    async fn exchange(&self, call: &Call<'_>, token: Option<&str>) -> Result<Answer, Broken> {
        let url = format!("{}{}", self.settings.url, call.path);
        let mut request = self.http.request(call.method.clone(), url).query(call.query);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        request = match call.payload {
            Payload::None => request,
            Payload::Json(body) => request.json(body),
            Payload::Form(form) => request.multipart(form().await?).timeout(self.settings.timeout.max(FORM_TIMEOUT)),
        };
        let response = upstream::send("PocketBase", request).await?;
        let (status, retry_after) = (response.status(), upstream::retry_after(&response));
        let body = upstream::read(response, MAX_ANSWER).await.map_err(|error| match error {
            ReadError::TooLarge => Broken::from(Error::BadAnswer(error.to_string())),
            ReadError::Broken(error) => error.into(),
        })?;
        Ok(Answer { status, retry_after, body: serde_json::from_slice(&body).ok() })
    }

    /// The first record of a collection that matches a filter. One call.
    pub(super) async fn first<T: DeserializeOwned>(
        &self,
        collection: &str,
        filter: &str,
        fields: &str,
    ) -> Result<Option<T>, Error> {
        let query = [("perPage", "1"), ("skipTotal", "1"), ("filter", filter), ("fields", fields)];
        Ok(self.list(collection, &query).await?.into_iter().next())
    }

    /// Records of a collection. One call.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        collection: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        struct Page<T> {
            items: Vec<T>,
        }
        let path = format!("/api/collections/{collection}/records");
        let call = Call { method: Method::GET, path, query, payload: Payload::None };
        let page: Page<T> = typed(self.send(&call).await?.into_success()?)?;
        Ok(page.items)
    }

    /// Creates a record. One call.
    pub(super) async fn create<T: DeserializeOwned>(
        &self,
        collection: &str,
        writer: Writer,
        record: &impl Serialize,
    ) -> Result<T, Error> {
        let fields = serde_json::to_value(record).map_err(|error| Error::BadAnswer(error.to_string()))?;
        let path = format!("/api/collections/{collection}/records");
        let call = Call { method: Method::POST, path, query: writer.query(), payload: Payload::Json(&fields) };
        typed(self.send(&call).await?.into_success()?)
    }
}

/// A failed exchange, and whether it failed before anything was sent.
pub(super) struct Broken {
    connecting: bool,
    pub(super) error: Error,
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self { connecting: false, error }
    }
}

impl From<reqwest::Error> for Broken {
    fn from(error: reqwest::Error) -> Self {
        let connecting = error.is_connect();
        let error = if error.is_timeout() && !connecting { Error::TimedOut } else { unreachable(error) };
        Self { connecting, error }
    }
}

/// A transport error without its URL, which may hold a file token.
fn unreachable(error: reqwest::Error) -> Error {
    Error::Unreachable(error.without_url().to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_missing_variable_is_named() {
        let all = [("POCKETBASE_URL", "http://127.0.0.1:8090/"), ("PB_USER_EMAIL", "a@b.c"), ("PB_USER_PASSWORD", "p")];
        assert_eq!(Settings::from_env(&Env::from(all)).unwrap().url, "http://127.0.0.1:8090");
        for (missing, _) in all {
            let rest = all.map(|(name, value)| (name, if name == missing { "" } else { value }));
            let complaint = Settings::from_env(&Env::from(rest)).err().unwrap().to_string();
            assert_eq!(complaint, format!("{missing} is not set"));
        }
    }
}
