//! PocketBase as its superuser sees it.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::Error;

/// How long a server may take to come up.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A superuser's session.
pub struct Superuser {
    http: Client,
    url: String,
    token: String,
}

impl Superuser {
    /// Signs in, waiting up to two minutes for PocketBase to come up.
    ///
    /// # Errors
    /// When it does not come up or refuses.
    pub async fn sign_in(url: &str, email: &str, password: &str) -> Result<Self, Error> {
        let mut superuser = Self::with_token(url, String::new()).await?;
        let credentials = json!({ "identity": email, "password": password });
        let path = "/api/collections/_superusers/auth-with-password";
        let answer = superuser.call(Method::POST, path, Some(credentials)).await?;
        superuser.token = answer.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(superuser)
    }

    /// A session by a token from before, once PocketBase has come up.
    ///
    /// # Errors
    /// When it does not come up in two minutes.
    pub async fn with_token(url: &str, token: String) -> Result<Self, Error> {
        let http = Client::builder().timeout(Duration::from_secs(60)).build()?;
        wait_for(&http, &format!("{url}/api/health")).await?;
        Ok(Self { http, url: url.to_owned(), token })
    }

    /// The token of this session.
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

    /// The records of a collection that a filter finds, at most 500.
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

    /// Makes a record.
    ///
    /// # Errors
    /// For any answer that is not a success.
    pub async fn create(&self, collection: &str, record: Value) -> Result<Value, Error> {
        self.call(Method::POST, &format!("/api/collections/{collection}/records"), Some(record)).await
    }
}

/// Waits up to two minutes for a server to answer anything at all.
///
/// # Errors
/// When it does not.
pub async fn wait_for(http: &Client, url: &str) -> Result<(), Error> {
    let answers = async {
        while http.get(url).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answered = tokio::time::timeout(START_LIMIT, answers).await;
    answered.map_err(|_| Error::new(format!("nothing answered at {url} in {} s", START_LIMIT.as_secs())))
}
