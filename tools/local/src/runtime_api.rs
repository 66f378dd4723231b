//! Lambda's Runtime API between the functions and cargo-lambda's emulator.
//!
//! The emulator never answers a request whose process has ended, and its `--timeout` would end the functions' polls too. This proxy knows
//! which request each process handles, so it can report the end of a process, and the gateway answers 500 as API Gateway does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use reqwest::Client;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::Error;

/// The header with the id of an invocation.
const REQUEST_ID: &str = "lambda-runtime-aws-request-id";

/// The pause before the emulator is asked again, when it does not listen (yet).
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// What a process does, as its calls of the Runtime API tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Activity {
    /// It has not asked for an event yet.
    Starting,
    /// It waits for an event.
    Idle,
    /// It handles the invocation with this id.
    Busy(String),
}

/// The proxy of the Runtime API, for a fixed number of processes.
pub struct RuntimeApi {
    address: String,
    server: JoinHandle<()>,
    shared: Arc<Shared>,
}

struct Shared {
    http: Client,
    gateway: String,
    processes: Vec<Process>,
}

struct Process {
    function: String,
    activity: watch::Sender<Activity>,
    requests: AtomicUsize,
}

impl RuntimeApi {
    /// Serves the Runtime API to one process for each name in `functions`; names may repeat.
    ///
    /// # Errors
    /// When no port can be opened.
    pub async fn start(gateway: &str, functions: &[String]) -> Result<Self, Error> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| Error::new(error.to_string()))?;
        let address = listener.local_addr().map_err(|error| Error::new(error.to_string()))?.to_string();
        let processes = functions.iter().map(|function| Process {
            function: function.clone(),
            activity: watch::Sender::new(Activity::Starting),
            requests: AtomicUsize::new(0),
        });
        // No timeout: a process waits for its next event for as long as it takes.
        let shared = Shared { http: Client::new(), gateway: gateway.to_owned(), processes: processes.collect() };
        let shared = Arc::new(shared);
        let router = Router::new().route("/{process}/{*call}", any(forward)).with_state(shared.clone());
        let server = tokio::spawn(async move {
            // It ends with this process only.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, server, shared })
    }

    /// `AWS_LAMBDA_RUNTIME_API` of a process.
    pub fn address(&self, process: usize) -> String {
        format!("http://{}/{process}", self.address)
    }

    /// The activity of a process, which changes with its calls.
    pub fn activity(&self, process: usize) -> Option<watch::Receiver<Activity>> {
        self.shared.processes.get(process).map(|process| process.activity.subscribe())
    }

    /// The number of requests that a process has been given.
    pub fn requests(&self, process: usize) -> usize {
        self.shared.processes.get(process).map_or(0, |process| process.requests.load(Ordering::Relaxed))
    }

    /// Reports that a process has ended: the invocation that it handled fails. Returns what it did last.
    pub async fn ended(&self, process: usize) -> Activity {
        let Some(process) = self.shared.processes.get(process) else { return Activity::Starting };
        let last = process.activity.send_replace(Activity::Starting);
        if let Activity::Busy(id) = &last {
            let url = self.shared.url(process, &format!("2018-06-01/runtime/invocation/{id}/error"));
            // What API Gateway answers then. When the emulator is gone too, nobody waits any more.
            let body = json!({ "message": "Internal Server Error" });
            let _ = self.shared.http.post(url).json(&body).timeout(Duration::from_secs(10)).send().await;
        }
        last
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    fn url(&self, process: &Process, call: &str) -> String {
        format!("{}/.rt/{}/{call}", self.gateway, process.function)
    }
}

/// Passes a call of a process on to the emulator.
async fn forward(
    State(shared): State<Arc<Shared>>,
    Path((process, call)): Path<(usize, String)>,
    request: Request,
) -> Response {
    let Some(process) = shared.processes.get(process) else { return StatusCode::NOT_FOUND.into_response() };
    let url = shared.url(process, &call);
    let (parts, body) = request.into_parts();
    if parts.method == Method::GET {
        return next(&shared, process, &url).await;
    }
    let Ok(body) = to_bytes(body, usize::MAX).await else { return StatusCode::BAD_REQUEST.into_response() };
    let sent = shared.http.request(parts.method, url).headers(end_to_end(parts.headers)).body(body).send().await;
    process.activity.send_replace(Activity::Idle);
    match sent {
        Ok(answer) => respond(answer).await,
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

/// Waits for the next event of a process.
async fn next(shared: &Shared, process: &Process, url: &str) -> Response {
    process.activity.send_replace(Activity::Idle);
    loop {
        // When the process ends, so does its connection, and this future is dropped.
        let Ok(event) = shared.http.get(url).send().await else {
            sleep(RETRY_PAUSE).await;
            continue;
        };
        if let Some(id) = event.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()) {
            process.activity.send_replace(Activity::Busy(id.to_owned()));
            process.requests.fetch_add(1, Ordering::Relaxed);
        }
        return respond(event).await;
    }
}

async fn respond(answer: reqwest::Response) -> Response {
    let (status, headers) = (answer.status(), end_to_end(answer.headers().clone()));
    let Ok(body) = answer.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The headers without those that are about one connection.
fn end_to_end(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::HOST, header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    headers
}
