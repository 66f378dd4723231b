//! A proxy between the functions and PocketBase that counts what passes, and can misbehave.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use tokio::net::TcpSocket;
use tokio::sync::{Notify, watch};

use super::{shared, within};

/// How the proxy treats calls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mood {
    /// Passes them on.
    Honest,
    /// Holds every call for ever.
    Silent,
    /// Answers with a page, as a proxy or a captive portal would.
    Html(u16),
    /// Answers 429 with this `Retry-After`.
    Throttling(Option<u64>),
    /// Answers 429 when files are asked for, and passes other calls on.
    ThrottlingFiles,
    /// Passes them on, and hangs up instead of answering.
    HangingUp,
    /// Hangs up on whoever would change something, and passes other calls on.
    RefusingWrites,
    /// Passes so many calls on, and hangs up on all that follow.
    After(usize),
    /// Passes so many calls on, and holds the next, which it never passes on.
    Before(usize),
    /// Passes so many calls on and the next one too, and holds the answer to that.
    Behind(usize),
    /// Passes them on, and hangs up instead of answering a batch.
    LosingBatches,
    /// Answers JSON that is not what PocketBase would say.
    Nonsense,
    /// Holds every call until [`Proxy::set`] is called, then passes it on.
    Holding,
    /// Holds one call at a point of it until [`Proxy::set`] is called, and passes other calls on.
    Pausing(Stage),
}

/// A point in a request to change a profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stage {
    /// The profile has been asked for, and nothing written.
    Reading,
    /// The profile has been found, and the answer is held back.
    Read,
    /// This many bytes of the write have been passed on.
    Writing(usize),
    /// PocketBase has done it, and its answer is held back.
    Written,
}

#[derive(Clone)]
struct Inner {
    target: String,
    http: reqwest::Client,
    mood: Arc<Mutex<Mood>>,
    calls: Arc<Mutex<Vec<String>>>,
    paused: Arc<Notify>,
    /// Counts the calls of `set`, each of which releases what is held.
    released: watch::Sender<usize>,
}

pub struct Proxy {
    pub url: String,
    inner: Inner,
}

impl Proxy {
    /// A proxy to the PocketBase that tests share.
    pub async fn new() -> Self {
        Self::to(&shared().await.url).await
    }

    pub async fn to(target: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        // Small, so that what a process has written and the proxy has not read is still in the process when it dies.
        socket.set_recv_buffer_size(8 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1024).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner {
            target: target.to_owned(),
            http: reqwest::Client::new(),
            mood: Arc::new(Mutex::new(Mood::Honest)),
            calls: Arc::default(),
            paused: Arc::default(),
            released: watch::Sender::new(0),
        };
        let router = Router::new().fallback(pass).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// Changes the mood, and releases calls that are held.
    pub fn set(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
        self.inner.released.send_modify(|times| *times += 1);
    }

    /// Waits until a call is being held.
    pub async fn paused(&self) {
        within("a call that the proxy holds", self.inner.paused.notified()).await;
    }

    /// The calls since the last time this was asked, as `METHOD /path`.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.calls.lock().unwrap())
    }
}

impl Inner {
    async fn pause(&self) {
        let mut released = self.released.subscribe();
        self.paused.notify_one();
        // It fails when the proxy is gone, and then nobody waits for the call any more.
        let _ = released.changed().await;
    }

    /// A body that is passed on as it comes, with a pause after so many bytes.
    fn halting(&self, body: Body, pause_after: usize) -> reqwest::Body {
        let (inner, mut passed) = (self.clone(), 0);
        reqwest::Body::wrap_stream(body.into_data_stream().then(move |chunk| {
            let before = passed;
            passed += chunk.as_ref().map_or(0, |chunk| chunk.len());
            let is_here = before < pause_after && passed >= pause_after;
            let inner = inner.clone();
            async move {
                if is_here {
                    inner.pause().await;
                }
                chunk
            }
        }))
    }
}

/// A body that ends in an error makes the server cut the connection.
fn cut() -> Response {
    let cut = futures_util::stream::iter([Err::<String, _>(std::io::Error::other("cut"))]);
    Response::new(Body::from_stream(cut))
}

async fn pass(State(inner): State<Inner>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    inner.calls.lock().unwrap().push(format!("{} {}", parts.method, parts.uri.path()));
    let mood = {
        let mut mood = inner.mood.lock().unwrap();
        let now = *mood;
        match now {
            Mood::After(calls @ 1..) => *mood = Mood::After(calls - 1),
            Mood::Before(calls @ 1..) => *mood = Mood::Before(calls - 1),
            Mood::Behind(calls @ 1..) => *mood = Mood::Behind(calls - 1),
            _ => {}
        }
        now
    };
    match mood {
        // Until the caller hangs up, which ends this function.
        Mood::Silent => {
            inner.paused.notify_one();
            std::future::pending().await
        }
        Mood::Holding => inner.pause().await,
        Mood::Html(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            return (status, [(header::CONTENT_TYPE, "text/html")], "<h1>Hello, secret-of-the-upstream</h1>")
                .into_response();
        }
        Mood::Throttling(seconds) => {
            let mut response =
                (StatusCode::TOO_MANY_REQUESTS, r#"{"data":{},"message":"slow","status":429}"#).into_response();
            response.headers_mut().extend(seconds.map(|seconds| (header::RETRY_AFTER, seconds.into())));
            return response;
        }
        Mood::ThrottlingFiles if parts.uri.path().starts_with("/api/files/profiles/") => {
            return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "9")], "{}").into_response();
        }
        Mood::After(0) => return cut(),
        Mood::Before(0) => {
            inner.pause().await;
            return cut();
        }
        Mood::RefusingWrites if parts.method != Method::GET => return cut(),
        Mood::Nonsense => return r#"{"token":1,"record":[],"items":[{"id":7}]}"#.into_response(),
        Mood::Pausing(Stage::Reading) if parts.method == Method::GET => inner.pause().await,
        Mood::Honest
        | Mood::After(_)
        | Mood::Before(_)
        | Mood::Behind(_)
        | Mood::HangingUp
        | Mood::RefusingWrites
        | Mood::LosingBatches
        | Mood::ThrottlingFiles
        | Mood::Pausing(_) => {}
    }
    let mut headers = parts.headers;
    for hop in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        headers.remove(hop);
    }
    let url = format!("{}{}", inner.target, parts.uri);
    let is_batch = parts.uri.path() == "/api/batch";
    let (is_read, is_write) = (parts.method == Method::GET, parts.method == Method::PATCH);
    let request = inner.http.request(parts.method, url).headers(headers);
    let sent = match mood {
        Mood::Pausing(Stage::Writing(bytes)) if is_write => request.body(inner.halting(body, bytes)).send().await,
        _ => request.body(to_bytes(body, usize::MAX).await.unwrap_or_default()).send().await,
    };
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    if mood == Mood::Behind(0)
        || is_write && mood == Mood::Pausing(Stage::Written)
        || is_read && mood == Mood::Pausing(Stage::Read)
    {
        inner.pause().await;
    }
    if mood == Mood::HangingUp || is_batch && mood == Mood::LosingBatches {
        return cut();
    }
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    let mut response = Response::new(Body::from(answer.bytes().await.unwrap_or_default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
