//! moto, which is STS and Secrets Manager on their real protocols, and a recorder before it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use local::server::Moto;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;

/// The one that tests share; each keeps to secrets of its own.
pub async fn moto() -> &'static Moto {
    static MOTO: OnceCell<Moto> = OnceCell::const_new();
    MOTO.get_or_init(async || Moto::start().await.unwrap()).await
}

/// A call of Secrets Manager's, with any signature: moto believes it.
pub async fn secrets_manager(operation: &str, input: &Value) -> Value {
    let scope = "Credential=test/20261120/us-east-1/secretsmanager/aws4_request";
    let request = reqwest::Client::new()
        .post(&moto().await.url)
        .header("x-amz-target", format!("secretsmanager.{operation}"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("authorization", format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=00"));
    let response = request.body(input.to_string()).send().await.unwrap();
    assert!(response.status().is_success(), "{operation}: {response:?}");
    response.json().await.unwrap()
}

/// A secret of a test's own, that ends with the process.
pub struct Secret {
    pub arn: String,
}

impl Secret {
    pub async fn new(variables: &Value) -> Self {
        let input = json!({ "Name": super::unique("secret"), "SecretString": variables.to_string() });
        let made = secrets_manager("CreateSecret", &input).await;
        Self { arn: made["ARN"].as_str().unwrap().to_owned() }
    }

    pub async fn put(&self, text: &str) {
        secrets_manager("PutSecretValue", &json!({ "SecretId": self.arn, "SecretString": text })).await;
    }
}

/// Passes requests on to moto, and keeps their bodies; or refuses them.
#[derive(Clone)]
pub struct Recorder {
    pub url: String,
    bodies: Arc<Mutex<Vec<String>>>,
    /// The status and the body that every request is answered with instead.
    refusal: Arc<Mutex<Option<(u16, String)>>>,
}

impl Recorder {
    pub async fn new() -> Self {
        moto().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let recorder = Self { url, bodies: Arc::default(), refusal: Arc::default() };
        let router = Router::new().fallback(record).with_state(recorder.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        recorder
    }

    /// The bodies since the last time this was asked.
    pub fn bodies(&self) -> Vec<String> {
        std::mem::take(&mut *self.bodies.lock().unwrap())
    }

    pub fn refuse(&self, status: u16, body: &str) {
        *self.refusal.lock().unwrap() = Some((status, body.to_owned()));
    }

    pub fn relent(&self) {
        *self.refusal.lock().unwrap() = None;
    }
}

async fn record(State(recorder): State<Recorder>, headers: HeaderMap, body: Bytes) -> Response {
    recorder.bodies.lock().unwrap().push(String::from_utf8_lossy(&body).into_owned());
    let refusal = recorder.refusal.lock().unwrap().clone();
    if let Some((status, body)) = refusal {
        return (StatusCode::from_u16(status).unwrap(), body).into_response();
    }
    let mut request = reqwest::Client::new().post(&moto().await.url).body(body);
    for (name, value) in headers.iter().filter(|(name, _)| *name != header::HOST && *name != header::CONTENT_LENGTH) {
        request = request.header(name, value);
    }
    let answer = request.send().await.unwrap();
    let (status, kind) = (answer.status(), answer.headers().get(header::CONTENT_TYPE).cloned());
    let mut response = (status, answer.bytes().await.unwrap()).into_response();
    response.headers_mut().extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    response
}
