//! S3, which is moto's, with a recorder before it.

use std::collections::BTreeMap;

use local::storage::{BUCKET, make_bucket};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use super::{App, Ask, moto};

/// A bucket that tests share; each keeps to uploads of its own.
pub struct Storage {
    pub url: String,
}

impl Storage {
    pub async fn new() -> Self {
        static MADE: OnceCell<()> = OnceCell::const_new();
        let url = moto().await.url.clone();
        MADE.get_or_init(async || make_bucket(&moto().await.url).await.unwrap()).await;
        Self { url }
    }

    /// The variables that lead to it.
    pub fn variables(&self) -> [(&'static str, &str); 2] {
        [("AWS_ENDPOINT_URL_S3", &self.url), ("UPLOADS_BUCKET", BUCKET)]
    }

    /// The keys of the objects below a prefix.
    pub async fn keys(&self, prefix: &str) -> Vec<String> {
        let url = format!("{}/{BUCKET}?list-type=2&prefix={prefix}", self.url);
        let list = reqwest::get(url).await.unwrap().text().await.unwrap();
        let keys = list.split("<Key>").skip(1).map(|rest| rest.split_once("</Key>").unwrap().0.to_owned());
        keys.collect()
    }
}

/// Sends a file as a browser would, with the form that POST /api/uploads gave; the status that S3 answers.
pub async fn send_form(made: &Value, bytes: &[u8]) -> u16 {
    let fields: BTreeMap<String, String> = serde_json::from_value(made["fields"].clone()).unwrap();
    let form = fields.into_iter().fold(Form::new(), |form, (name, value)| form.text(name, value));
    let form = form.part("file", Part::bytes(bytes.to_vec()).file_name("file"));
    let request = reqwest::Client::new().post(made["url"].as_str().unwrap()).multipart(form);
    request.send().await.unwrap().status().as_u16()
}

impl App {
    /// Announces an upload.
    pub fn announce(&self, field: &str, content_type: &str, size: usize) -> Ask<'_> {
        self.post("/api/uploads").json(&json!({ "field": field, "contentType": content_type, "size": size }))
    }

    /// Uploads a file with a token; what stands for it in a form.
    pub async fn upload(&self, token: &str, field: &str, content_type: &str, bytes: &[u8]) -> String {
        let made = self.announce(field, content_type, bytes.len()).bearer(token).send().await;
        assert_eq!(made.status, 201, "{made:?}");
        assert_eq!(send_form(&made.body, bytes).await, 204);
        format!("upload:{}", made.text("/upload_id"))
    }
}

/// An S3 that refuses every request, as it does when the function's role lacks a permission.
pub async fn refusing_s3() -> String {
    let refuse = async || {
        let body = "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
        (axum::http::StatusCode::FORBIDDEN, [("content-type", "application/xml")], body)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(refuse);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}
