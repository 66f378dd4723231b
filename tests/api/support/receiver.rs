//! A partner's endpoint, which keeps what it is sent and answers as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::within;

/// What an endpoint answers.
#[derive(Debug, Clone)]
pub enum Reply {
    Status(u16),
    /// A status and a header.
    With(u16, &'static str, String),
    /// A body of so many bytes.
    Long(usize),
    /// A status, and a body that never ends.
    Drip(u16),
    /// Nothing, until the sender hangs up.
    Silence,
    /// A status, once [`Receiver::release`] is called.
    Held(u16),
}

/// A webhook as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
    arrived: Arc<Notify>,
    released: Arc<Notify>,
}

impl Receiver {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/webhook", listener.local_addr().unwrap());
        let receiver = Self {
            url,
            received: Arc::default(),
            replies: Arc::default(),
            arrived: Arc::default(),
            released: Arc::default(),
        };
        let router = Router::new().fallback(receive).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        receiver
    }

    /// Answers the next webhooks so, and all that follow with 200.
    pub fn reply(&self, replies: impl IntoIterator<Item = Reply>) {
        self.replies.lock().unwrap().extend(replies);
    }

    /// Waits until a webhook has arrived since the last time this was called.
    pub async fn arrived(&self) {
        within("a webhook that arrives", self.arrived.notified()).await;
    }

    /// Answers the webhook that is held.
    pub fn release(&self) {
        self.released.notify_one();
    }

    /// The number of webhooks that have arrived since the last time [`Self::received`] was called.
    pub fn count(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// What has arrived since the last time this was asked.
    pub fn received(&self) -> Vec<Received> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    receiver.received.lock().unwrap().push(Received { headers, body });
    receiver.arrived.notify_one();
    let reply = receiver.replies.lock().unwrap().pop_front();
    match reply {
        None => "{\"received\":true}".into_response(),
        Some(Reply::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
        Some(Reply::With(status, name, value)) => {
            (StatusCode::from_u16(status).unwrap(), [(name, value)]).into_response()
        }
        Some(Reply::Long(bytes)) => (StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(bytes)).into_response(),
        Some(Reply::Drip(status)) => {
            let start = futures_util::stream::once(async { Ok::<_, std::convert::Infallible>("x") });
            let body = Body::from_stream(start.chain(futures_util::stream::pending()));
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        Some(Reply::Silence) => std::future::pending().await,
        Some(Reply::Held(status)) => {
            receiver.released.notified().await;
            StatusCode::from_u16(status).unwrap().into_response()
        }
    }
}
