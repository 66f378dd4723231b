//! What clients of other services than AWS have in common: how they connect, and how they read answers, which may be of any
//! size.

use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

/// How long an idle connection is kept. Servers, and the proxies that may stand before them, keep it longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// The longest `Retry-After` that is passed on, in seconds.
const MAX_RETRY_AFTER: u64 = 300;

/// A client that follows no redirects. `connect` is how long connecting may take, `total` a whole call.
///
/// # Errors
/// When no client of HTTP can be made on this machine.
pub fn client(connect: Duration, total: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(connect)
        .timeout(total)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("identivia/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// After how many seconds a service wants to be asked again, where it says so; at most 300.
pub fn retry_after(response: &Response) -> Option<u64> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse::<u64>().ok()?;
    Some(seconds.min(MAX_RETRY_AFTER))
}

/// Why an answer could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is larger than anything that the service should say.
    #[error("an answer too large to read")]
    TooLarge,
    /// The connection broke, or took too long.
    #[error("{0}")]
    Broken(reqwest::Error),
}

/// A URL may hold what is nobody's business.
impl From<reqwest::Error> for ReadError {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(error.without_url())
    }
}

/// The body of an answer, of at most `limit` bytes.
///
/// # Errors
/// When it is larger, or does not arrive whole.
pub async fn read(mut response: Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > limit {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
