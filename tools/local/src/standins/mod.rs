//! Stand-ins of Amazon Rekognition, OpenAI's Chat Completions and Fingerprint's Server API, on their wire protocols.
//!
//! Requests choose the answers: docs/development.md lists how.

// Indexing JSON does not panic: a missing field is null.
#![allow(clippy::indexing_slicing)]

mod fingerprint;
mod holder;
mod openai;
mod rekognition;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use shared::env::Env;
use tokio::net::TcpListener;

use crate::Error;

/// How long a slow service takes: longer than any caller waits.
const SLOW: Duration = Duration::from_secs(60);

/// The largest accepted request, in bytes: two large images in Base64.
const MAX_REQUEST: usize = 16 * 1024 * 1024;

/// A fault of a service, which a caller chooses by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Throttled,
    Denied,
    Failing,
    Slow,
    Malformed,
}

impl Trouble {
    fn named(name: &str) -> Option<Self> {
        match name {
            "throttled" => Some(Self::Throttled),
            "denied" => Some(Self::Denied),
            "failing" => Some(Self::Failing),
            "slow" => Some(Self::Slow),
            "malformed" => Some(Self::Malformed),
            _ => None,
        }
    }
}

/// The stand-ins, with the state they share.
#[derive(Clone, Default)]
pub struct StandIns(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sessions: Mutex<rekognition::Sessions>,
    /// The fault of the next calls of an operation, and the number of these calls.
    next: Mutex<HashMap<String, (Trouble, usize)>>,
    requests: Mutex<Vec<Value>>,
}

/// Locks a mutex, also after a panic of another holder.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StandIns {
    /// Serves the stand-ins until the process ends.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn serve(self, listener: TcpListener) -> Result<(), Error> {
        let router = Router::new()
            .route("/", post(rekognition::call))
            .route("/v1/chat/completions", post(openai::complete))
            .route("/v4/events/{id}", get(fingerprint::event))
            .route("/simulate/face-liveness/{session}", put(rekognition::choose))
            .route("/simulate/rekognition/{operation}", put(choose_trouble))
            .layer(DefaultBodyLimit::max(MAX_REQUEST))
            .with_state(self);
        axum::serve(listener, router).await.map_err(|error| Error::new(error.to_string()))
    }

    /// Takes the JSON bodies of the requests to Rekognition (as `{operation: body}`) and OpenAI (as `{"chat": body}`) that arrived since the
    /// last call.
    pub fn requests(&self) -> Vec<Value> {
        std::mem::take(&mut *lock(&self.0.requests))
    }

    /// Sets the outcome of a Face Liveness session, as PUT /simulate/face-liveness/{session} does.
    pub fn end_session(&self, session: &str, outcome: &str) -> bool {
        rekognition::end(self, session, outcome)
    }

    /// Sets the fault of the next `times` calls of an operation, as PUT /simulate/rekognition/{operation} does.
    pub fn trouble(&self, operation: &str, trouble: &str, times: usize) -> bool {
        let Some(trouble) = Trouble::named(trouble) else { return false };
        lock(&self.0.next).insert(operation.to_owned(), (trouble, times));
        true
    }

    /// Takes the fault that was set for a call of an operation.
    fn next_trouble(&self, operation: &str) -> Option<Trouble> {
        let mut next = lock(&self.0.next);
        let (trouble, times) = next.get_mut(operation).filter(|(_, times)| *times > 0)?;
        *times -= 1;
        Some(*trouble)
    }

    fn record(&self, name: &str, body: &Value) {
        lock(&self.0.requests).push(Value::from(Map::from_iter([(name.to_owned(), body.clone())])));
    }
}

async fn choose_trouble(State(standins): State<StandIns>, Path(operation): Path<String>, trouble: String) -> Response {
    // The AWS SDKs retry some failures, and the retry has to fail too.
    let attempts = if matches!(trouble.trim(), "throttled" | "failing" | "slow") { 2 } else { 1 };
    let attempts = match operation.as_str() {
        // The functions do not retry a call of the model.
        "chat" => 1,
        // One call for each of five frames, and one for the photo.
        "CompareFaces" => attempts * 6,
        _ => attempts,
    };
    if standins.trouble(&operation, trouble.trim(), attempts) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        (StatusCode::BAD_REQUEST, "send throttled, denied, failing, slow or malformed\n").into_response()
    }
}

/// A malformed answer: HTML where JSON is expected.
fn page() -> Response {
    ([(header::CONTENT_TYPE, "text/html")], "<h1>Hello, secret-of-the-upstream</h1>").into_response()
}

/// The JSON after the last `specimen:` in the bytes of an image: in a comment, or appended.
fn specimen(image: &[u8]) -> Value {
    const MARK: &[u8] = b"specimen:{";
    let place = image.windows(MARK.len()).rposition(|window| window == MARK);
    let json = place.and_then(|place| image.get(place + MARK.len() - 1..)).unwrap_or_default();
    serde_json::Deserializer::from_slice(json).into_iter().next().and_then(Result::ok).unwrap_or_default()
}

/// The JSON that describes an image: from its bytes, else from a QR code in the picture, which survives a new encoding.
fn description(image: &[u8]) -> Value {
    match specimen(image) {
        Value::Null => qr_code(image).unwrap_or_default(),
        description => description,
    }
}

/// The JSON in a QR code of a picture.
fn qr_code(image: &[u8]) -> Option<Value> {
    let picture = image::load_from_memory_with_format(image, image::ImageFormat::Jpeg).ok()?.into_luma8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let luma = |x: usize, y: usize| picture.as_raw().get(y * width + x).copied().unwrap_or_default();
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, luma);
    let texts = prepared.detect_grids().into_iter().filter_map(|grid| grid.decode().ok());
    texts.filter_map(|(_, text)| serde_json::from_str(&text).ok()).next()
}

fn decoded(base64: &str) -> Option<Vec<u8>> {
    STANDARD.decode(base64).ok()
}

/// The variables that lead the functions to the stand-ins and to moto, for each service that has no key in `env`.
pub fn variables(env: &Env, standins: &str, moto: &str) -> Vec<(&'static str, String)> {
    const DEVELOPMENT: &str = "development";
    let mut variables = Vec::new();
    if env.get("AWS_ACCESS_KEY_ID").is_none() && env.get("AWS_PROFILE").is_none() {
        variables.extend([
            ("AWS_ACCESS_KEY_ID", DEVELOPMENT.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", DEVELOPMENT.to_owned()),
            ("AWS_SESSION_TOKEN", String::new()),
            ("AWS_ENDPOINT_URL", moto.to_owned()),
            ("AWS_ENDPOINT_URL_REKOGNITION", standins.to_owned()),
        ]);
    }
    if env.get("OPENAI_API_KEY").is_none() {
        let url = env.get("OPENAI_BASE_URL").map_or_else(|| format!("{standins}/v1"), str::to_owned);
        variables.extend([("OPENAI_API_KEY", DEVELOPMENT.to_owned()), ("OPENAI_BASE_URL", url)]);
    }
    if env.get("FINGERPRINT_SECRET_KEY").is_none() {
        variables.extend([
            ("FINGERPRINT_SECRET_KEY", DEVELOPMENT.to_owned()),
            ("FINGERPRINT_BASE_URL", standins.to_owned()),
        ]);
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_service_without_a_key_has_a_stand_in() {
        let has_stand_in = |variables: &[_]| {
            let variables = super::variables(&env(variables), "http://standins", "http://moto");
            ["AWS_ENDPOINT_URL", "OPENAI_BASE_URL", "FINGERPRINT_BASE_URL"]
                .map(|name| variables.iter().any(|(variable, _)| *variable == name))
        };
        assert_eq!(has_stand_in(&[]), [true; 3]);
        assert_eq!(has_stand_in(&[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s")]), [false, true, true]);
        assert_eq!(has_stand_in(&[("OPENAI_API_KEY", "sk-real")]), [true, false, true]);
        assert_eq!(has_stand_in(&[("FINGERPRINT_SECRET_KEY", "real")]), [true, true, false]);
    }

    #[test]
    fn a_specimen_is_read_from_any_place_in_an_image() {
        for image in [
            "specimen:{\"name\":\"Anna\"}",
            "\0\0specimen:{\"name\":\"Anna\"} and more {",
            "specimen:{\"name\":\"Eve\"} specimen:{\"name\":\"Anna\"}
",
        ] {
            assert_eq!(specimen(image.as_bytes())["name"], "Anna", "{image}");
        }
        for image in ["", "specimen:", "specimen:{", "specimen:{\"name\"", "no specimen"] {
            assert_eq!(specimen(image.as_bytes()), Value::Null, "{image}");
        }
    }
}
