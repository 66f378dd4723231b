//! The system of record: a client of PocketBase, and one file per collection with the calls that we make on it.
//!
//! PocketBase does not refuse a request whose token has expired or been revoked: it treats it as a stranger's, and a
//! stranger finds nothing. So an answer that could mean either, [`Answer::could_be_a_strangers`], is believed only after
//! PocketBase has said that the token is still good; else the client signs in again, once, and repeats the call.

mod batch;
mod checks;
mod deliveries;
mod error;
mod filter;
mod liveness_sessions;
mod partners;
mod profiles;
mod redaction;
mod retention;
mod session;
mod settings;
mod status_history;
mod uploads;
mod verification_history;

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use reqwest::header::AUTHORIZATION;
use reqwest::multipart::Form;
use reqwest::{Client, Method, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;

pub use batch::RecordFile;
pub use checks::{CheckAttempt, NewCheck, Outcome};
pub use deliveries::{
    Attempt, CHECK_COMPLETED, DeliveryOverview, DeliveryQuery, LeasedDelivery, NewDelivery, QueuedDelivery,
    STATUS_CHANGED, Settled, SigningSecret, Subscriber,
};
pub use error::Error;
pub use liveness_sessions::{
    BoundingBox, LivenessImage, LivenessOutcome, LivenessSession, LivenessStatus, NewLivenessSession,
};
pub use partners::{KeyKind, Partner, PartnerLook};
pub use profiles::{
    DedupeKey, NewProfile, ProfileChanges, ProfileOverview, ProfileRecord, Reused, VerificationSummary,
};
pub use session::Account;
pub use status_history::{NewStatus, StatusRecord};
pub use uploads::{NewUpload, Upload, UploadUse, timestamp};
pub use verification_history::{NewVerification, VerificationOwner, VerificationRecord};

use crate::config::PocketBaseSettings;
use crate::upstream::{self, ReadError};
use session::{Session, SignedIn, expiry, is_current};

/// How long connecting may take. PocketBase is expected close by.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long signing in may take when a process starts; Lambda gives a start 10 s in all.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a call with files may take at least: a video of 50 MB, at 25 Mbit/s, takes 16 s.
const FORM_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a file token is used. PocketBase's live 180 s by default.
const FILE_TOKEN_LIFE: Duration = Duration::from_secs(90);

/// The largest answer that is read, in bytes: more than any of our calls needs.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

/// Who asks for a write. PocketBase's rules refuse one of a flow token's once the profile is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// A partner, by token or key.
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

/// A client of PocketBase. Made once in a process's life; it keeps its connection and its session.
pub struct PocketBase {
    http: Client,
    settings: PocketBaseSettings,
    session: Mutex<Option<Session>>,
}

/// Makes a form, anew for each attempt, since a form can be sent only once.
type MakeForm<'a> = &'a (dyn Fn() -> BoxFuture<'a, Result<Form, Error>> + Sync);

/// What is sent with a call.
enum Payload<'a> {
    None,
    Json(&'a Value),
    Form(MakeForm<'a>),
}

/// One call of PocketBase's API.
struct Call<'a> {
    method: Method,
    path: String,
    query: &'a [(&'a str, &'a str)],
    payload: Payload<'a>,
}

/// What came back.
struct Answer {
    status: StatusCode,
    retry_after: Option<u64>,
    body: Option<Value>,
}

impl Answer {
    /// Whether PocketBase would say the same to someone who is not signed in: nothing there, nothing found, or a record
    /// refused without naming a field.
    fn could_be_a_strangers(&self) -> bool {
        if let Some((_, refused)) = self.refused_in_batch() {
            return refused.could_be_a_strangers();
        }
        let empty = |name: &str, is_empty: fn(&Value) -> bool| {
            self.body.as_ref().and_then(|body| body.get(name)).is_some_and(is_empty)
        };
        match self.status.as_u16() {
            401 | 403 | 404 => true,
            400 => empty("data", |data| data.as_object().is_some_and(serde_json::Map::is_empty)),
            200 => empty("items", |items| items.as_array().is_some_and(Vec::is_empty)),
            _ => false,
        }
    }

    /// The body of a success.
    fn into_success(self) -> Result<Value, Error> {
        let status = self.status.as_u16();
        match (status, self.body) {
            (200..=299, Some(body)) => Ok(body),
            (429 | 503, _) => Err(Error::Busy { retry_after: self.retry_after }),
            (404, Some(_)) => Err(Error::Refused),
            (400, Some(body)) => Err(refusal(&body)),
            (_, Some(_)) => Err(Error::BadAnswer(format!("status {status}"))),
            (_, None) => Err(Error::BadAnswer(format!("status {status} and no JSON"))),
        }
    }
}

/// What a 400 says, by the names of fields and codes; never by their values.
fn refusal(body: &Value) -> Error {
    let fields = body.get("data").and_then(Value::as_object);
    let codes: Vec<_> = fields
        .into_iter()
        .flatten()
        .filter_map(|(field, problem)| Some((field.as_str(), problem.get("code")?.as_str()?)))
        .collect();
    match codes.iter().find(|(_, code)| *code == "validation_not_unique") {
        Some((field, _)) => Error::NotUnique((*field).to_owned()),
        None if fields.is_some_and(serde_json::Map::is_empty) => Error::Refused,
        None => Error::BadAnswer(format!("status 400, {codes:?}")),
    }
}

/// Reads a typed value from an answer.
fn typed<T: DeserializeOwned>(body: Value) -> Result<T, Error> {
    // serde's message can quote what the record holds, so only the kind of trouble is told.
    serde_json::from_value(body)
        .map_err(|error| Error::BadAnswer(format!("an unexpected record ({:?})", error.classify())))
}

impl PocketBase {
    /// A client that is not signed in yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(settings: PocketBaseSettings) -> Result<Self, Error> {
        let http = upstream::client(CONNECT_TIMEOUT, settings.timeout).map_err(unreachable)?;
        Ok(Self { http, settings, session: Mutex::new(None) })
    }

    /// A client that has tried to sign in, which also opens its connection while the process has a whole CPU.
    ///
    /// A PocketBase that is down now may be up when the first request comes, so its failure is logged and no more.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub async fn start(settings: PocketBaseSettings) -> Result<Self, Error> {
        let pocketbase = Self::new(settings)?;
        let failure = match tokio::time::timeout(START_TIMEOUT, pocketbase.session()).await {
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error),
            Err(_) => Some(Error::TimedOut),
        };
        if let Some(failure) = failure {
            tracing::warn!(cause = %failure, "not signed in at PocketBase; trying again with the first request");
        }
        Ok(pocketbase)
    }

    /// The account, signing in if need be.
    ///
    /// # Errors
    /// When signing in fails.
    pub async fn account(&self) -> Result<Account, Error> {
        Ok(self.session().await?.account)
    }

    /// The account that a failing PocketBase would be asked for.
    pub fn email(&self) -> &str {
        &self.settings.email
    }

    /// Where PocketBase is.
    pub fn url(&self) -> &str {
        &self.settings.url
    }

    /// Asks PocketBase whether it is there and knows us.
    ///
    /// # Errors
    /// When it is not or does not.
    pub async fn check(&self) -> Result<(), Error> {
        let session = self.session().await?;
        if !self.is_good(&session).await? {
            self.sign_in_again(&session).await?;
        }
        Ok(())
    }

    async fn session(&self) -> Result<Session, Error> {
        let mut current = self.session.lock().await;
        match &*current {
            Some(session) if is_current(session.expires) => Ok(session.clone()),
            _ => Ok(current.insert(self.sign_in().await?).clone()),
        }
    }

    /// Replaces a session that PocketBase no longer honours, unless someone already has.
    async fn sign_in_again(&self, stale: &Session) -> Result<Session, Error> {
        let mut current = self.session.lock().await;
        match &*current {
            Some(session) if session.token != stale.token => Ok(session.clone()),
            _ => Ok(current.insert(self.sign_in().await?).clone()),
        }
    }

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
        if !self.may_serve(&record) {
            return Err(Error::SignInRefused("the account does not have the role service".to_owned()));
        }
        Ok(Session::new(token, record))
    }

    /// Whose a token is; `None` when PocketBase does not honour it (any more) or its rules would not.
    async fn account_of(&self, token: &str) -> Result<Option<Account>, Error> {
        let path = format!("/api/collections/{}/auth-refresh", self.settings.auth_collection);
        let call = Call { method: Method::POST, path, query: &[], payload: Payload::None };
        let answer = self.attempt(&call, Some(token)).await?;
        if matches!(answer.status.as_u16(), 401 | 403 | 404) {
            return Ok(None);
        }
        let SignedIn { record, .. } = typed(answer.into_success()?)?;
        Ok(Some(record).filter(|account| self.may_serve(account)))
    }

    /// Whether the rules let an account in. One that they do not would find nothing, and be told nothing.
    fn may_serve(&self, account: &Account) -> bool {
        self.settings.auth_collection == "_superusers" || account.role == "service"
    }

    /// Whether PocketBase still honours a session.
    async fn is_good(&self, session: &Session) -> Result<bool, Error> {
        Ok(self.account_of(&session.token).await?.is_some())
    }

    /// Makes a call as the account, signing in again when it turns out that PocketBase has forgotten us.
    async fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let session = self.session().await?;
        let answer = self.attempt(call, Some(&session.token)).await?;
        if !answer.could_be_a_strangers() || self.is_good(&session).await? {
            return Ok(answer);
        }
        let session = self.sign_in_again(&session).await?;
        self.attempt(call, Some(&session.token)).await
    }

    /// Makes a call, and makes it once more when the connection failed and doing so cannot do harm: because nothing was sent
    /// yet, or because it only reads.
    async fn attempt(&self, call: &Call<'_>, token: Option<&str>) -> Result<Answer, Error> {
        match self.exchange(call, token).await {
            Err(Broken { connecting, error: Error::Unreachable(_) }) if connecting || call.method == Method::GET => {
                self.exchange(call, token).await.map_err(|broken| broken.error)
            }
            outcome => outcome.map_err(|broken| broken.error),
        }
    }

    async fn exchange(&self, call: &Call<'_>, token: Option<&str>) -> Result<Answer, Broken> {
        let url = format!("{}{}", self.settings.url, call.path);
        let mut request = self.http.request(call.method.clone(), url).query(call.query);
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        request = match call.payload {
            Payload::None => request,
            Payload::Json(body) => request.json(body),
            // Large files take their time, here and where they come from.
            Payload::Form(form) => request.multipart(form().await?).timeout(self.settings.timeout.max(FORM_TIMEOUT)),
        };
        let response = request.send().await?;
        let (status, retry_after) = (response.status(), upstream::retry_after(&response));
        let body = upstream::read(response, MAX_ANSWER).await.map_err(|error| match error {
            ReadError::TooLarge => Broken::from(Error::BadAnswer(error.to_string())),
            ReadError::Broken(error) => error.into(),
        })?;
        Ok(Answer { status, retry_after, body: serde_json::from_slice(&body).ok() })
    }

    /// The first record of a collection that a filter finds.
    async fn first<T: DeserializeOwned>(
        &self,
        collection: &str,
        filter: &str,
        fields: &str,
    ) -> Result<Option<T>, Error> {
        let query = [("perPage", "1"), ("skipTotal", "1"), ("filter", filter), ("fields", fields)];
        Ok(self.list(collection, &query).await?.into_iter().next())
    }

    async fn list<T: DeserializeOwned>(&self, collection: &str, query: &[(&str, &str)]) -> Result<Vec<T>, Error> {
        #[derive(Deserialize)]
        struct Page<T> {
            items: Vec<T>,
        }
        let path = format!("/api/collections/{collection}/records");
        let call = Call { method: Method::GET, path, query, payload: Payload::None };
        let page: Page<T> = typed(self.send(&call).await?.into_success()?)?;
        Ok(page.items)
    }

    async fn create<T: DeserializeOwned>(
        &self,
        collection: &str,
        writer: Writer,
        payload: Payload<'_>,
    ) -> Result<T, Error> {
        let path = format!("/api/collections/{collection}/records");
        let call = Call { method: Method::POST, path, query: writer.query(), payload };
        typed(self.send(&call).await?.into_success()?)
    }

    /// A token that opens protected files for a short time.
    async fn file_token(&self) -> Result<String, Error> {
        let session = self.session().await?;
        if let Some((token, since)) = &session.file_token
            && since.elapsed() < FILE_TOKEN_LIFE
        {
            return Ok(token.clone());
        }
        #[derive(Deserialize)]
        struct FileToken {
            token: String,
        }
        let call =
            Call { method: Method::POST, path: "/api/files/token".to_owned(), query: &[], payload: Payload::None };
        let FileToken { token } = typed(self.send(&call).await?.into_success()?)?;
        if let Some(session) = &mut *self.session.lock().await {
            session.file_token = Some((token.clone(), Instant::now()));
        }
        Ok(token)
    }

    /// The content of a stored file, as it arrives.
    async fn download(&self, path: &str) -> Result<Response, Error> {
        let response = self.open(path).await?;
        // A file token that has gone stale finds nothing either; the second attempt has a new one.
        let response = match response.status().as_u16() {
            401 | 403 | 404 => {
                if let Some(session) = &mut *self.session.lock().await {
                    session.file_token = None;
                }
                self.open(path).await?
            }
            _ => response,
        };
        match response.status().as_u16() {
            200..=299 => Ok(response),
            404 => Err(Error::FileGone),
            429 | 503 => Err(Error::Busy { retry_after: upstream::retry_after(&response) }),
            status => Err(Error::BadAnswer(format!("status {status} for a stored file"))),
        }
    }

    async fn open(&self, path: &str) -> Result<Response, Error> {
        let token = self.file_token().await?;
        let get = || self.http.get(format!("{}{path}", self.settings.url)).query(&[("token", &token)]).send();
        match get().await.map_err(Broken::from) {
            Err(Broken { error: Error::Unreachable(_), .. }) => get().await.map_err(|error| Broken::from(error).error),
            outcome => outcome.map_err(|broken| broken.error),
        }
    }
}

/// A failed exchange, and whether it failed before anything was sent.
struct Broken {
    connecting: bool,
    error: Error,
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
