//! HTTP clients of upstream services, the metric of calls, and tracking of whether a request has changed anything at them.

use std::cell::Cell;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response, StatusCode};

/// How long an idle connection is kept. Servers and their proxies keep connections longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(55);

/// The longest `Retry-After` that is passed on, in seconds.
const MAX_RETRY_AFTER: u64 = 300;

/// An HTTP client that follows no redirects. `connect` limits connecting, `total` a whole call.
///
/// # Errors
/// When TLS cannot be set up.
pub fn client(connect: Duration, total: Duration) -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(connect)
        .timeout(total)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("identivia/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Sends a request to a service, and counts it in the metric `UpstreamCalls`.
///
/// # Errors
/// When there is no response.
pub async fn send(service: &'static str, request: RequestBuilder) -> Result<Response, reqwest::Error> {
    let result = request.send().await;
    count_call(
        service,
        match &result {
            Ok(response) => of_status(response.status()),
            Err(error) if error.is_timeout() => Outcome::TimedOut,
            Err(_) => Outcome::Unreachable,
        },
    );
    result
}

/// Outcome of a call of an upstream service, as a dimension of the metric `UpstreamCalls`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A status below 400.
    Ok,
    /// 429.
    Throttled,
    /// Another status from 400 to 499.
    Refused,
    /// A status from 500.
    Failed,
    /// No answer in time.
    TimedOut,
    /// No connection, or a broken one.
    Unreachable,
}

/// Outcome of a call that was answered.
pub fn of_status(status: StatusCode) -> Outcome {
    match status.as_u16() {
        429 => Outcome::Throttled,
        400..=499 => Outcome::Refused,
        500.. => Outcome::Failed,
        _ => Outcome::Ok,
    }
}

/// Counts a call in the metric `UpstreamCalls`.
pub fn count_call(service: &'static str, outcome: Outcome) {
    let outcome = match outcome {
        Outcome::Ok => "ok",
        Outcome::Throttled => "throttled",
        Outcome::Refused => "refused",
        Outcome::Failed => "failed",
        Outcome::TimedOut => "timed_out",
        Outcome::Unreachable => "unreachable",
    };
    metrics::counter!("UpstreamCalls", "Service" => service, "Outcome" => outcome).increment(1);
}

/// `Retry-After` of a response in seconds, at most 300.
pub fn retry_after(response: &Response) -> Option<u64> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse::<u64>().ok()?;
    Some(seconds.min(MAX_RETRY_AFTER))
}

/// Failure to read the body of a response.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The body is larger than the limit.
    #[error("the response is too large")]
    TooLarge,
    /// The connection broke or timed out.
    #[error("{0}")]
    Broken(reqwest::Error),
}

/// The URL is dropped: it may hold a token.
impl From<reqwest::Error> for ReadError {
    fn from(error: reqwest::Error) -> Self {
        Self::Broken(error.without_url())
    }
}

/// Reads the body of a response, of at most `limit` bytes.
///
/// # Errors
/// When the body is larger, or the connection breaks or times out.
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

tokio::task_local! {
    static CHANGED: Cell<bool>;
}

/// Notes that the current request may have changed something at an upstream service, so that it is not handled a second time.
/// Clients call it after every write that was not clearly refused, unless repeating the write does no harm.
pub fn note_change() {
    // Outside of `watch_changes`, as in tools and unit tests, the flag does not exist and is not needed.
    let _ = CHANGED.try_with(|changed| changed.set(true));
}

/// Runs a future, and returns whether it called [`note_change`].
pub async fn watch_changes<F: Future>(future: F) -> (F::Output, bool) {
    CHANGED
        .scope(Cell::new(false), async {
            let output = future.await;
            (output, CHANGED.with(Cell::get))
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_noted_for_its_own_request_only() {
        let (with, without) = tokio::join!(watch_changes(async { note_change() }), watch_changes(async {}));
        assert_eq!((with.1, without.1), (true, false));
        note_change();
    }
}
