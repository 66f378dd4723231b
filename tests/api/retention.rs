//! Retention: media of checks, uploads and sessions are deleted after their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use chrono::{TimeDelta, Utc};
use local::pocketbase::Superuser;
use local::server::Server;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{App, FormBody, Mood, PNG, Proxy, SECRET_KEY, Storage, own_server, photo, root, selfie, unique};

/// A proxy before moto that can make its objects look old.
#[derive(Clone, Default)]
struct AgingS3 {
    moto: String,
    is_old: Arc<AtomicBool>,
    /// How many more objects may be deleted before it fails.
    deletions: Arc<AtomicUsize>,
}

async fn pass(State(s3): State<AgingS3>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let is_deletion = parts.uri.query().is_some_and(|query| query.contains("delete"));
    let left = s3.deletions.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if is_deletion && left.is_err() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut headers = parts.headers;
    headers.remove(header::HOST);
    headers.remove(header::CONTENT_LENGTH);
    let request = reqwest::Client::new().request(parts.method, format!("{}{}", s3.moto, parts.uri)).headers(headers);
    let answer = request.body(body).send().await.unwrap();
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONTENT_LENGTH);
    let mut bytes = answer.bytes().await.unwrap();
    if s3.is_old.load(Ordering::SeqCst) && bytes.windows(14).any(|part| part == b"<LastModified>") {
        let today = Utc::now().format("<LastModified>%Y-").to_string();
        bytes = String::from_utf8(bytes.to_vec()).unwrap().replace(&today, "<LastModified>2020-").into();
    }
    (status, headers, bytes).into_response()
}

struct Bench {
    server: Server,
    superuser: Superuser,
    s3: AgingS3,
    url: String,
    bucket: String,
}

impl Bench {
    /// A PocketBase and a bucket of the test's own: the cleaning looks at all that there is.
    async fn new() -> Self {
        let (server, storage) = (own_server().await, Storage::new().await);
        let superuser = server.superuser().await.unwrap();
        let bucket = unique("bucket");
        reqwest::Client::new().put(format!("{}/{bucket}", storage.url)).send().await.unwrap();
        let s3 = AgingS3 { moto: storage.url, ..AgingS3::default() };
        s3.deletions.store(usize::MAX, Ordering::SeqCst);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router =
            Router::new().fallback(pass).layer(axum::extract::DefaultBodyLimit::disable()).with_state(s3.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { server, superuser, s3, url, bucket }
    }

    fn variables(&self) -> [(&str, &str); 2] {
        [("AWS_ENDPOINT_URL_S3", &self.url), ("UPLOADS_BUCKET", &self.bucket)]
    }

    async fn objects(&self) -> usize {
        let list = reqwest::get(format!("{}/{}?list-type=2", self.s3.moto, self.bucket)).await.unwrap();
        list.text().await.unwrap().matches("<Key>").count()
    }

    /// Checks, an upload that nobody used, and a Face Liveness session with its images.
    async fn leave(&self, app: &App, checks: usize) {
        for person in ["anna", "bert"].into_iter().take(checks) {
            let said = json!({ "person": person });
            let form = FormBody::new().text("user_id", &unique("user")).file("selfie_video", &selfie(&said));
            let form = form.file("id_photo", &photo(&said));
            assert_eq!(app.post("/verif/submit").key(SECRET_KEY).form(form).send().await.status, 200);
        }
        let (_, flow) = app.profile("postman").await;
        app.upload(&flow, "id_photo", "image/png", PNG).await;
        let session = app.session(&flow, "live").await;
        let read = app.get(&format!("/api/face-liveness/results/{session}")).bearer(&flow).send().await;
        assert!(read.body["data"]["referenceImage"].is_object(), "{read:?}");
    }

    /// Ages all records and objects by days.
    async fn pass_days(&mut self, days: i64) {
        const AGE: &str = "
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    for table in ('checks', 'uploads', 'liveness_sessions', 'webhook_deliveries'):
        database.execute(f'UPDATE {table} SET created = ?, updated = ?', (sys.argv[2], sys.argv[2]))
";
        self.s3.is_old.store(days > 7, Ordering::SeqCst);
        let created = shared::pocketbase::timestamp(Utc::now() - TimeDelta::days(days));
        self.server.down();
        let mut python = tokio::process::Command::new(root().join(".venv/bin/python"));
        python.args(["-c", AGE]).arg(self.server.data().join("data.db")).arg(created);
        let aged = python.output().await.unwrap();
        assert!(aged.status.success(), "{aged:?}");
        self.server.up().unwrap();
        self.superuser = self.server.superuser().await.unwrap();
    }

    /// The number of objects, checks with media, sessions with images, and uploads.
    async fn left(&self) -> [usize; 4] {
        let count = async |collection: &str, fields: &[&str]| {
            let records = self.superuser.find(collection, "").await.unwrap();
            let holds =
                |record: &&Value| fields.iter().any(|field| record[*field] != "" && record[*field] != json!([]));
            records.iter().filter(holds).count()
        };
        [
            self.objects().await,
            count("checks", &["selfie_video", "id_photo"]).await,
            count("liveness_sessions", &["reference_image", "audit_images"]).await,
            count("uploads", &["id"]).await,
        ]
    }
}

#[tokio::test]
async fn media_are_deleted_after_seven_days_and_the_decision_stays() {
    let mut bench = Bench::new().await;
    let app = App::at(&bench.server.url, &bench.variables());
    bench.leave(&app, 2).await;
    // Two files and five frames for each check, and one upload; the development data has a session without image.
    assert_eq!(bench.left().await, [15, 2, 1, 1]);
    bench.pass_days(6).await;
    let app = App::at(&bench.server.url, &bench.variables());
    app.clean().await.unwrap();
    assert_eq!(bench.left().await, [15, 2, 1, 1], "not yet");
    bench.pass_days(8).await;
    let deleted = app.clean().await.unwrap();
    assert_eq!(
        deleted,
        json!({ "objects": 15, "checks": 2, "liveness_sessions": 1, "uploads": 1, "webhooks": 0, "counts": 0 })
    );
    assert_eq!(bench.left().await, [0, 0, 0, 0]);
    assert_eq!(
        app.clean().await.unwrap(),
        json!({ "objects": 0, "checks": 0, "liveness_sessions": 0, "uploads": 0, "webhooks": 0, "counts": 0 })
    );

    let checks = bench.superuser.find("checks", "").await.unwrap();
    assert!(checks.iter().all(|check| check["status"] == "verified" && check["result"].is_object()), "{checks:?}");
    assert_eq!(bench.superuser.find("verification_history", "").await.unwrap().len(), 2);
    let sessions = bench.superuser.find("liveness_sessions", "status=\"SUCCEEDED\"").await.unwrap();
    assert!(sessions.iter().all(|session| session["confidence"] == 95.5), "{sessions:?}");
    // The file is gone, and not only its name.
    let stored = bench.server.data().join("storage");
    let files = std::process::Command::new("find").arg(stored).args(["-name", "face*.jpg"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&files.stdout), "");
}

#[tokio::test]
async fn an_interrupted_cleanup_is_finished_by_the_next() {
    let mut bench = Bench::new().await;
    let app = App::at(&bench.server.url, &bench.variables());
    bench.leave(&app, 1).await;
    bench.pass_days(8).await;
    // S3 fails, then PocketBase after more and more calls.
    bench.s3.deletions.store(0, Ordering::SeqCst);
    let app = App::at(&bench.server.url, &bench.variables());
    assert!(app.clean().await.is_err());
    assert_eq!(bench.left().await, [8, 0, 0, 0], "the rest has had its turn");
    bench.s3.deletions.store(usize::MAX, Ordering::SeqCst);
    bench.leave(&app, 1).await;
    bench.pass_days(8).await;
    let proxy = Proxy::to(&bench.server.url).await;
    let mut left = bench.left().await;
    for calls in 1..40 {
        // A new process, that signs in and then loses its PocketBase.
        let app = App::behind(&proxy, &bench.variables()).await;
        proxy.set(Mood::After(calls));
        let outcome = app.clean().await;
        proxy.set(Mood::Honest);
        let now = bench.left().await;
        assert!(now.iter().zip(left).all(|(now, before)| *now <= before), "{left:?} {now:?}");
        left = now;
        if outcome.is_ok() {
            assert_eq!(left, [0, 0, 0, 0]);
            return;
        }
    }
    panic!("never finished: {left:?}");
}

#[tokio::test]
async fn webhooks_are_deleted_ninety_days_after_their_last_change() {
    let mut bench = Bench::new().await;
    let partner = &bench.superuser.find("partners", "").await.unwrap()[0]["id"].clone();
    for state in ["pending", "delivered", "failed"] {
        let webhook = json!({ "partner": partner, "stream": state, "event": "check.completed", "state": state });
        bench.superuser.create("webhook_deliveries", webhook).await.unwrap();
    }
    for (days, deleted, left) in [(89, 0, 3), (91, 3, 0)] {
        bench.pass_days(days).await;
        let app = App::at(&bench.server.url, &bench.variables());
        assert_eq!(app.clean().await.unwrap()["webhooks"], deleted, "after {days} days");
        assert_eq!(bench.superuser.find("webhook_deliveries", "").await.unwrap().len(), left);
    }
}
