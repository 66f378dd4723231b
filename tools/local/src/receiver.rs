//! A webhook endpoint as a partner has it: verifies signatures, and prints and lists what it received.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use standardwebhooks::Webhook;
use tokio::net::TcpListener;

use crate::Error;

/// The number of webhooks that are kept.
const CAPACITY: usize = 100;

#[derive(Clone)]
struct Receiver {
    webhook: Arc<Webhook>,
    received: Arc<Mutex<Vec<Value>>>,
}

/// Receives webhooks at POST /webhook, and lists the last of them at GET /.
///
/// # Errors
/// When the secret is malformed, or the listener fails.
pub async fn serve(listener: TcpListener, secret: &str) -> Result<(), Error> {
    let webhook =
        Webhook::new(secret).map_err(|_| Error::new("DEV_PARTNER_SIGNING_SECRET must be whsec_ and Base64"))?;
    let receiver = Receiver { webhook: Arc::new(webhook), received: Arc::default() };
    let router = Router::new().route("/webhook", post(receive)).route("/", get(list)).with_state(receiver);
    axum::serve(listener, router).await.map_err(|error| Error::new(error.to_string()))
}

async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    // Also rejects a timestamp older than five minutes.
    if receiver.webhook.verify(&body, &headers).is_err() {
        println!("rejected a webhook with a wrong signature");
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let id = headers.get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default();
    println!(
        "webhook {id}, its signature is good\n{}",
        serde_json::to_string_pretty(&shortened(&body)).unwrap_or_default()
    );
    let mut received = receiver.received.lock().unwrap_or_else(PoisonError::into_inner);
    // A delivery is repeated with the same id when its answer was lost.
    if !received.iter().any(|known| known.get("webhook_id").and_then(Value::as_str) == Some(id)) {
        received.push(json!({ "webhook_id": id, "body": body }));
        let surplus = received.len().saturating_sub(CAPACITY);
        received.drain(..surplus);
    }
    axum::Json(json!({ "received": true })).into_response()
}

async fn list(State(receiver): State<Receiver>) -> Response {
    axum::Json(receiver.received.lock().unwrap_or_else(PoisonError::into_inner).clone()).into_response()
}

/// The body for printing, without the query of links: with it, anyone can fetch the file.
fn shortened(body: &Value) -> Value {
    let mut body = body.clone();
    for name in ["selfie_video_url", "id_photo_url"] {
        if let Some(url) = body.get_mut(name)
            && let Some((start, _)) = url.as_str().and_then(|url| url.split_once('?'))
        {
            *url = format!("{start}?…").into();
        }
    }
    body
}
