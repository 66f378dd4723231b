//! PocketBase as its superuser sees it.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::Error;

/// A superuser's session.
pub struct Superuser {
    http: Client,
    url: String,
    token: String,
}

impl Superuser {
    /// Signs in, waiting up to 30 s for PocketBase to come up.
    ///
    /// # Errors
    /// When it does not come up or refuses.
    pub async fn sign_in(url: &str, email: &str, password: &str) -> Result<Self, Error> {
        let http = Client::builder().timeout(Duration::from_secs(10)).build()?;
        wait_for(&http, &format!("{url}/api/health")).await?;
        let mut superuser = Self { http, url: url.to_owned(), token: String::new() };
        let credentials = json!({ "identity": email, "password": password });
        let path = "/api/collections/_superusers/auth-with-password";
        let answer = superuser.call(Method::POST, path, Some(credentials)).await?;
        superuser.token = answer.get("token").and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(superuser)
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

/// Waits up to 30 s for a server to answer anything at all.
///
/// # Errors
/// When it does not.
pub async fn wait_for(http: &Client, url: &str) -> Result<(), Error> {
    for _ in 0..300 {
        if http.get(url).send().await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Error::new(format!("nothing answers at {url}")))
}
