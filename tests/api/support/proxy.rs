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
    /// Passes them on, and hangs up instead of answering a batch: the one after so many others.
    LosingBatch(usize),
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
    /// Tells of a call that nothing will release.
    silenced: Arc<Notify>,
    /// Counts the calls of `set`, each of which releases what is held.
    releases: watch::Sender<usize>,
    /// The value of `releases` when a call was last held.
    held_at: watch::Sender<Option<usize>>,
    /// The number of calls that are under way.
    under_way: watch::Sender<usize>,
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
            silenced: Arc::default(),
            releases: watch::Sender::new(0),
            held_at: watch::Sender::new(None),
            under_way: watch::Sender::new(0),
        };
        let router = Router::new().fallback(pass).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, inner }
    }

    /// Changes the mood, and releases calls that are held.
    pub fn set(&self, mood: Mood) {
        let mut now = self.inner.mood.lock().unwrap();
        *now = mood;
        self.inner.releases.send_modify(|times| *times += 1);
    }

    /// Waits until a call has been held since the last call of [`Self::set`].
    pub async fn paused(&self) {
        let now = *self.inner.releases.borrow();
        let mut held_at = self.inner.held_at.subscribe();
        within("a call that the proxy holds", async {
            tokio::select! {
                _ = held_at.wait_for(|held_at| *held_at == Some(now)) => {}
                () = self.inner.silenced.notified() => {}
            }
        })
        .await;
    }

    /// Waits until no call is under way: PocketBase has answered what was passed on, and callers that are gone have been noticed.
    pub async fn idle(&self) {
        let mut under_way = self.inner.under_way.subscribe();
        within("the end of all calls in the proxy", under_way.wait_for(|calls| *calls == 0)).await.unwrap();
    }

    /// The calls since the last time this was asked, as `METHOD /path`.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.calls.lock().unwrap())
    }
}

/// A call that is under way, until it is dropped.
struct UnderWay(watch::Sender<usize>);

impl UnderWay {
    fn new(calls: &watch::Sender<usize>) -> Self {
        calls.send_modify(|calls| *calls += 1);
        Self(calls.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

impl Inner {
    /// Holds a call until `set` is called. Does nothing when it was called after `arrival`, the value of `releases` when the
    /// call arrived.
    async fn pause(&self, arrival: usize) {
        let mut releases = self.releases.subscribe();
        if *releases.borrow() == arrival {
            self.held_at.send_replace(Some(arrival));
        }
        // It fails when the proxy is gone, and then nobody waits for the call any more.
        let _ = releases.wait_for(|times| *times != arrival).await;
    }

    /// A body that is passed on as it comes, with a pause after so many bytes.
    fn halting(&self, body: Body, pause_after: usize, arrival: usize) -> reqwest::Body {
        let (inner, mut passed) = (self.clone(), 0);
        reqwest::Body::wrap_stream(body.into_data_stream().then(move |chunk| {
            let before = passed;
            passed += chunk.as_ref().map_or(0, |chunk| chunk.len());
            let is_here = before < pause_after && passed >= pause_after;
            let inner = inner.clone();
            async move {
                if is_here {
                    inner.pause(arrival).await;
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
    let under_way = UnderWay::new(&inner.under_way);
    let (parts, body) = request.into_parts();
    inner.calls.lock().unwrap().push(format!("{} {}", parts.method, parts.uri.path()));
    let is_batch = parts.uri.path() == "/api/batch";
    let (mood, arrival) = {
        let mut mood = inner.mood.lock().unwrap();
        let now = *mood;
        match now {
            Mood::After(calls @ 1..) => *mood = Mood::After(calls - 1),
            Mood::Before(calls @ 1..) => *mood = Mood::Before(calls - 1),
            Mood::Behind(calls @ 1..) => *mood = Mood::Behind(calls - 1),
            Mood::LosingBatch(0) if is_batch => *mood = Mood::Honest,
            Mood::LosingBatch(batches) if is_batch => *mood = Mood::LosingBatch(batches - 1),
            _ => {}
        }
        (now, *inner.releases.borrow())
    };
    match mood {
        // Until the caller hangs up, which ends this function.
        Mood::Silent => {
            inner.silenced.notify_one();
            std::future::pending().await
        }
        Mood::Holding => inner.pause(arrival).await,
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
            inner.pause(arrival).await;
            return cut();
        }
        Mood::RefusingWrites if parts.method != Method::GET => return cut(),
        Mood::Nonsense => return r#"{"token":1,"record":[],"items":[{"id":7}]}"#.into_response(),
        Mood::Pausing(Stage::Reading) if parts.method == Method::GET => inner.pause(arrival).await,
        Mood::Honest
        | Mood::After(_)
        | Mood::Before(_)
        | Mood::Behind(_)
        | Mood::HangingUp
        | Mood::RefusingWrites
        | Mood::LosingBatch(_)
        | Mood::ThrottlingFiles
        | Mood::Pausing(_) => {}
    }
    let mut headers = parts.headers;
    for hop in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        headers.remove(hop);
    }
    let url = format!("{}{}", inner.target, parts.uri);
    let (is_read, is_write) = (parts.method == Method::GET, is_batch);
    let request = inner.http.request(parts.method, url).headers(headers);
    let request = match mood {
        Mood::Pausing(Stage::Writing(bytes)) if is_write => request.body(inner.halting(body, bytes, arrival)),
        _ => request.body(to_bytes(body, usize::MAX).await.unwrap_or_default()),
    };
    // A task of its own, which goes on when the caller hangs up: what has been passed on is done before the call is over.
    let sent = tokio::spawn(async move { (request.send().await, under_way) });
    let (sent, _under_way) = sent.await.unwrap();
    let Ok(answer) = sent else { return StatusCode::BAD_GATEWAY.into_response() };
    if mood == Mood::Behind(0)
        || is_write && mood == Mood::Pausing(Stage::Written)
        || is_read && mood == Mood::Pausing(Stage::Read)
    {
        inner.pause(arrival).await;
    }
    if mood == Mood::HangingUp || is_batch && mood == Mood::LosingBatch(0) {
        return cut();
    }
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    let mut response = Response::new(Body::from(answer.bytes().await.unwrap_or_default()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
