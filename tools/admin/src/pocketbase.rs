//! PocketBase's API as a superuser.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use shared::env::Env;
use tokio::time::{Instant, sleep};

use crate::Error;

/// How long [`wait_for`] waits: enough for a server that starts on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// How long one attempt of [`wait_for`] waits for an answer.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(10);

/// A superuser's session.
pub struct Superuser {
    http: Client,
    url: String,
    token: String,
}

impl Superuser {
    /// Signs in as `POCKETBASE_URL`, `PB_SUPERUSER_EMAIL` and `PB_SUPERUSER_PASSWORD` say.
    ///
    /// # Errors
    /// When a variable is missing, or PocketBase does not answer or refuses.
    pub async fn from_env(env: &Env) -> Result<Self, Error> {
        let (email, password) = (env.require("PB_SUPERUSER_EMAIL")?, env.require("PB_SUPERUSER_PASSWORD")?);
        Self::sign_in(env.require("POCKETBASE_URL")?.trim_end_matches('/'), email, password).await
    }

    /// Signs in, as soon as PocketBase answers.
    ///
    /// # Errors
    /// When PocketBase does not answer or refuses.
    pub async fn sign_in(url: &str, email: &str, password: &str) -> Result<Self, Error> {
        let mut superuser = Self::with_token(url, String::new()).await?;
        let credentials = json!({ "identity": email, "password": password });
        let path = "/api/collections/_superusers/auth-with-password";
        let answer = superuser.call(Method::POST, path, Some(credentials)).await?;
        superuser.token = answer.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(superuser)
    }

    /// The session of an earlier sign-in, by its token, as soon as PocketBase answers.
    ///
    /// # Errors
    /// When PocketBase does not answer.
    pub async fn with_token(url: &str, token: String) -> Result<Self, Error> {
        let http = Client::builder().timeout(Duration::from_secs(60)).build()?;
        wait_for(&http, &format!("{url}/api/health")).await?;
        Ok(Self { http, url: url.to_owned(), token })
    }

    /// The token of the session.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Calls PocketBase's API.
    ///
    /// # Errors
    /// For any answer that is not a success.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, Error> {
        let mut request =
            self.http.request(method.clone(), format!("{}{path}", self.url)).header("authorization", &self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let answer: Value = response.json().await.unwrap_or_default();
        if status.is_success() {
            Ok(answer)
        } else {
            Err(Error::new(format!("PocketBase: {method} {path}: {status} {answer}")))
        }
    }

    /// The records of a collection that match a filter, at most 500.
    ///
    /// # Errors
    /// For any answer that is not a success.
    pub async fn find(&self, collection: &str, filter: &str) -> Result<Vec<Value>, Error> {
        let mut url = reqwest::Url::parse("http://any/").map_err(|error| Error::new(error.to_string()))?;
        url.query_pairs_mut().append_pair("perPage", "500").append_pair("sort", "@rowid").append_pair("filter", filter);
        let path = format!("/api/collections/{collection}/records?{}", url.query().unwrap_or_default());
        let answer = self.call(Method::GET, &path, None).await?;
        Ok(answer.get("items").and_then(Value::as_array).cloned().unwrap_or_default())
    }

    /// Creates a record.
    ///
    /// # Errors
    /// For any answer that is not a success.
    pub async fn create(&self, collection: &str, record: Value) -> Result<Value, Error> {
        self.call(Method::POST, &format!("/api/collections/{collection}/records"), Some(record)).await
    }

    /// A long-lived token of an account of `users`, for `PB_AUTH_TOKEN`. It cannot be renewed.
    ///
    /// # Errors
    /// When there is no such account; for any answer that is not a success.
    pub async fn impersonate(&self, email: &str, lifetime: Duration) -> Result<String, Error> {
        let accounts = self.find("users", &format!("email={}", Value::from(email))).await?;
        let id = accounts.first().and_then(|account| account.get("id")?.as_str());
        let id = id.ok_or_else(|| Error::new(format!("there is no account {email} in users")))?;
        let path = format!("/api/collections/users/impersonate/{id}");
        let answer = self.call(Method::POST, &path, Some(json!({ "duration": lifetime.as_secs() }))).await?;
        let token = answer.get("token").and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| Error::new("PocketBase gave no token"))
    }
}

/// Waits until a server answers anything at all, at most 120 s.
///
/// # Errors
/// When it does not; the message says which server, and how the last attempt failed.
pub async fn wait_for(http: &Client, url: &str) -> Result<(), Error> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match http.get(url).timeout(left.clamp(Duration::from_millis(100), ATTEMPT_LIMIT)).send().await {
            Ok(_) => return Ok(()),
            Err(error) if left.is_zero() => {
                return Err(Error::new(format!("nothing answers at {url} within {START_LIMIT:?}: {error}")));
            }
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}
