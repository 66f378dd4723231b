//! Uploads to the bucket: limits, and `upload:…` in place of a file in a form.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, App, FormBody, JPEG, MP4, PNG, Proxy, STATIC_KEY, Storage, root, send_form, shared};

struct Bench {
    app: App,
    storage: Storage,
    id: String,
    flow: String,
    token: String,
}

impl Bench {
    async fn new() -> Self {
        let storage = Storage::new().await;
        let app = App::with(&storage.variables()).await;
        let (id, flow) = app.profile("postman").await;
        let token = app.token("postman").await;
        Self { app, storage, id, flow, token }
    }

    /// Puts a text in the place of a file of the profile.
    async fn store(&self, token: &str, field: &str, text: &str) -> Answer {
        let path = format!("/api/profiles/{}", self.id);
        self.app.patch(&path).bearer(token).form(FormBody::new().text(field, text)).send().await
    }

    async fn stored(&self) -> Value {
        let superuser = shared().await.superuser().await.unwrap();
        superuser.find("profiles", &format!("id=\"{}\"", self.id)).await.unwrap()[0].clone()
    }
}

/// A JPEG of this many bytes.
fn jpeg_of(size: usize) -> Vec<u8> {
    let mut bytes = JPEG.to_vec();
    bytes.resize(size, 0x55);
    bytes
}

#[tokio::test]
async fn an_upload_stands_for_a_file_and_is_gone_from_the_bucket_once_it_is_stored() {
    let bench = Bench::new().await;
    let photo = jpeg_of(6_000_000);
    let text = bench.app.upload(&bench.flow, "document_front", "image/jpeg", &photo).await;
    let prefix = format!("people/{}/", bench.id);
    assert_eq!(bench.storage.keys(&prefix).await.len(), 1);
    let answer = bench.store(&bench.flow, "document_front", &text).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text("/data/document_front").ends_with(".jpg"));
    assert_eq!(bench.storage.keys(&prefix).await, Vec::<String>::new());

    let again = bench.store(&bench.flow, "document_front", &text).await;
    assert_eq!((again.status, &again.body["error"]), (409, &json!("Upload conflict")));
    assert_eq!(bench.stored().await["document_front"], answer.body["data"]["document_front"]);
}

#[tokio::test]
async fn a_verification_takes_uploads_beside_files_of_the_request_and_of_the_profile() {
    let bench = Bench::new().await;
    let front = FormBody::new().file("document_front", PNG);
    let path = format!("/api/profiles/{}", bench.id);
    assert_eq!(bench.app.patch(&path).bearer(&bench.flow).form(front).send().await.status, 200);
    let session = bench.app.session(&bench.flow, "live").await;
    let back = bench.app.upload(&bench.flow, "document_back", "image/jpeg", &jpeg_of(5_000_000)).await;
    let form = || {
        FormBody::new()
            .text("liveness_session_id", &session)
            .text("liveness_confidence", "95.5")
            .text("liveness_status", "live")
            .text("document_type", "national_id")
            .file("facial_photo", JPEG)
            .text("document_back", &back)
    };
    let path = format!("/api/verification_history/{}", bench.id);
    let answer = bench.app.post(&path).bearer(&bench.flow).form(form()).send().await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let superuser = shared().await.superuser().await.unwrap();
    let filter = format!("profile=\"{}\"", bench.id);
    let record = superuser.find("verification_history", &filter).await.unwrap()[0].clone();
    for (field, extension) in [("facial_photo", ".jpg"), ("document_front", ".png"), ("document_back", ".jpg")] {
        assert!(record[field].as_str().unwrap().ends_with(extension), "{record}");
    }
    assert_eq!(bench.app.post(&path).bearer(&bench.flow).form(form()).send().await.status, 409);
    assert_eq!(superuser.find("verification_history", &filter).await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_analysis_does_not_use_up_an_upload_and_pins_its_checksum() {
    let bench = Bench::new().await;
    let image = [JPEG, b"specimen:{\"name\":\"Anna\"}"].concat();
    let made = bench.app.announce("document_front", "image/jpeg", image.len()).bearer(&bench.flow).send().await;
    assert_eq!(send_form(&made.body, &image).await, 204);
    let text = format!("upload:{}", made.text("/upload_id"));
    for _ in 0..2 {
        let form = FormBody::new().text("document_front", &text);
        let answer = bench.app.post("/api/ollama/document-analysis").bearer(&bench.flow).form(form).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.text("/data/analysis_json/name"), "Anna");
    }
    assert_eq!(bench.storage.keys(&format!("people/{}/", bench.id)).await.len(), 1, "no copy is left");
    // The form is good for ten minutes: somebody sends other bytes with it.
    let other = [JPEG, b"specimen:{\"name\":\"Evil\"}"].concat();
    assert_eq!(send_form(&made.body, &other).await, 204);
    let answer = bench.store(&bench.flow, "document_front", &text).await;
    assert_eq!((answer.status, &answer.body["error"]), (409, &json!("Upload conflict")));
    assert_eq!(bench.stored().await["document_front"], "");
    // What was seen is still good.
    assert_eq!(send_form(&made.body, &image).await, 204);
    assert_eq!(bench.store(&bench.flow, "document_front", &text).await.status, 200);
}

#[tokio::test]
async fn an_upload_can_be_used_by_its_caller_only() {
    let bench = Bench::new().await;
    let text = bench.app.upload(&bench.flow, "document_front", "image/png", PNG).await;
    let path = format!("/api/profiles/{}", bench.id);
    let form = || FormBody::new().text("document_front", &text);
    let same_team = bench.app.patch(&path).bearer(&bench.token).form(form()).send().await;
    let key = bench.app.patch(&path).key(STATIC_KEY).form(form()).send().await;
    let unknown = bench.store(&bench.flow, "document_front", "upload:000000000000000").await;
    let malformed = bench.store(&bench.flow, "document_front", "upload:../..").await;
    for answer in [same_team, key, unknown, malformed] {
        assert_eq!((answer.status, &answer.body["error"]), (404, &json!("Upload not found")), "{answer:?}");
    }
    let (_, other_flow) = bench.app.profile("postman").await;
    let analysis = bench.app.post("/api/ollama/document-analysis").bearer(&other_flow).form(form()).send().await;
    assert_eq!(analysis.status, 404);
    assert_eq!(bench.stored().await["document_front"], "");
    assert_eq!(bench.store(&bench.flow, "document_front", &text).await.status, 200);
}

#[tokio::test]
async fn an_upload_that_is_not_what_it_should_be_is_refused_and_nothing_is_stored() {
    let bench = Bench::new().await;
    let announce = async |field: &str, kind: &str, size: usize| {
        bench.app.announce(field, kind, size).bearer(&bench.flow).send().await
    };
    let early = announce("document_front", "image/png", PNG.len()).await;
    let early = bench.store(&bench.flow, "document_front", &format!("upload:{}", early.text("/upload_id"))).await;
    assert_eq!((early.status, &early.body["field"]), (409, &json!("document_front")), "{early:?}");

    let wrong_type = bench.app.upload(&bench.flow, "document_front", "image/png", MP4).await;
    assert_eq!(bench.store(&bench.flow, "document_front", &wrong_type).await.status, 400);
    let other_field = bench.app.upload(&bench.flow, "document_back", "image/png", PNG).await;
    assert_eq!(bench.store(&bench.flow, "document_front", &other_field).await.status, 400);
    // S3 itself refuses another size; moto does not, and so it is looked at once more.
    let made = announce("document_front", "image/png", PNG.len() + 1).await;
    send_form(&made.body, PNG).await;
    let text = format!("upload:{}", made.text("/upload_id"));
    assert_eq!(bench.store(&bench.flow, "document_front", &text).await.status, 409);
    // HEIC is an image, and no model reads it.
    let heic = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00heicmif1";
    let heic = bench.app.upload(&bench.flow, "document_front", "image/heic", heic).await;
    let form = FormBody::new().text("document_front", &heic);
    let answer = bench.app.post("/api/ollama/document-analysis").bearer(&bench.flow).form(form).send().await;
    assert_eq!(answer.status, 415);

    let stored = bench.stored().await;
    assert_eq!((&stored["document_front"], &stored["document_back"]), (&json!(""), &json!("")));
    let keys = bench.storage.keys(&format!("people/{}/taken/", bench.id)).await;
    assert_eq!(keys, Vec::<String>::new(), "no copy is left");
}

#[tokio::test]
async fn an_upload_that_two_requests_store_at_once_is_stored_once() {
    let bench = Bench::new().await;
    let text = bench.app.upload(&bench.token, "document_front", "image/png", PNG).await;
    let answers = join_all((0..6).map(|_| bench.store(&bench.token, "document_front", &text))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409], "{answers:?}");
}

#[tokio::test]
async fn the_policy_of_an_upload_form_restricts_every_field() {
    let bench = Bench::new().await;
    let made =
        bench.app.announce("facial_video", "Video/WebM; codecs=vp9", 52_428_800).bearer(&bench.flow).send().await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.header("cache-control"), "no-store");
    let fields = &made.body["fields"];
    let policy = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, fields["policy"].as_str().unwrap()).unwrap();
    let policy: Value = serde_json::from_slice(&policy).unwrap();
    let conditions = policy["conditions"].as_array().unwrap();
    assert!(conditions.contains(&json!(["content-length-range", 52_428_800, 52_428_800])), "{policy}");
    assert!(conditions.contains(&json!({ "Content-Type": "video/webm" })), "{policy}");
    let key = format!("people/{}/uploads/{}", bench.id, made.text("/upload_id"));
    assert!(conditions.contains(&json!({ "key": key })), "{policy}");
    let expires: chrono::DateTime<chrono::Utc> = policy["expiration"].as_str().unwrap().parse().unwrap();
    let seconds = (expires - chrono::Utc::now()).num_seconds();
    assert!((595..=600).contains(&seconds), "{policy}");
    // Every field but the policy and its signature stands in the policy.
    for (name, value) in fields.as_object().unwrap() {
        let is_named = conditions.contains(&json!({ name: value }));
        assert!(is_named || name == "policy" || name == "x-amz-signature", "{name}");
    }
    // moto checks no signature: botocore, which signs for S3 in Python, has to come to the same one.
    let (policy, date) = (fields["policy"].as_str().unwrap(), fields["x-amz-date"].as_str().unwrap());
    let signed =
        tokio::process::Command::new(root().join(".venv/bin/python")).args(["-c", BOTOCORE, policy, date]).output();
    let signed = signed.await.unwrap();
    assert_eq!(String::from_utf8_lossy(&signed.stdout).trim(), fields["x-amz-signature"], "{signed:?}");
}

const BOTOCORE: &str = "
import sys, types
from botocore.auth import SigV4Auth
from botocore.credentials import Credentials
auth = SigV4Auth(Credentials('development', 'development'), 's3', 'us-east-1')
print(auth.signature(sys.argv[1], types.SimpleNamespace(context={'timestamp': sys.argv[2]})))
";

#[tokio::test]
async fn unacceptable_uploads_are_refused_before_they_are_sent() {
    let bench = Bench::new().await;
    for (field, kind, size, status) in [
        ("document_front", "image/jpeg", 15 * 1024 * 1024 + 1, 413),
        ("selfie_video", "video/mp4", 50 * 1024 * 1024 + 1, 413),
        ("document_front", "video/mp4", 10, 400),
        ("document_front", "image/svg+xml", 10, 400),
        ("passport", "image/jpeg", 10, 400),
        ("document_front", "image/jpeg", 0, 400),
    ] {
        let answer = bench.app.announce(field, kind, size).bearer(&bench.flow).send().await;
        assert_eq!(answer.status, status, "{field} {kind} {size}: {answer:?}");
    }
    let answer = bench.app.post("/api/uploads").bearer(&bench.flow).json(&json!({ "field": "id_photo" })).send().await;
    assert_eq!(answer.status, 400);
    let form = FormBody::new().file("document_front", &jpeg_of(4_500_000));
    let path = format!("/api/profiles/{}", bench.id);
    let answer = bench.app.patch(&path).bearer(&bench.flow).form(form).send().await;
    assert_eq!(answer.status, 413);
    assert!(answer.text("/message").contains("POST /api/uploads"), "{answer:?}");
}

#[tokio::test]
async fn uploads_are_limited_per_day_and_refused_after_the_decision() {
    let storage = Storage::new().await;
    let app = App::with(&[&storage.variables()[..], &[("MAX_UPLOADS", "3")]].concat()).await;
    let (id, flow) = app.profile("postman").await;
    let announce = async || app.announce("document_front", "image/png", 10).bearer(&flow).send().await.status;
    let mut statuses = join_all((0..6).map(|_| announce())).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 201, 201, 429, 429, 429]);
    let token = app.token("postman").await;
    assert_eq!(app.announce("document_front", "image/png", 10).bearer(&token).send().await.status, 201);
    let verdict = FormBody::new().text("verification_status", "verified");
    assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&token).form(verdict).send().await.status, 200);
    assert_eq!(announce().await, 409);
}

#[tokio::test]
async fn an_upload_for_a_named_profile_needs_access_to_the_profile() {
    let bench = Bench::new().await;
    let (other, _) = bench.app.profile("other").await;
    let announce = async |token: &str, profile: &str| {
        let body = json!({ "field": "id_photo", "contentType": "image/png", "size": 9, "profileId": profile });
        bench.app.post("/api/uploads").bearer(token).json(&body).send().await.status
    };
    assert_eq!(announce(&bench.token, &bench.id).await, 201);
    assert_eq!(announce(&bench.token, &other).await, 404);
    assert_eq!(announce(&bench.token, "nonsense").await, 404);
    assert_eq!(announce(&bench.flow, &bench.id).await, 201);
    assert_eq!(announce(&bench.flow, &other).await, 403);
}

#[tokio::test]
async fn without_a_bucket_there_are_no_uploads() {
    let app = App::new().await;
    let (id, flow) = app.profile("postman").await;
    let answer = app.announce("id_photo", "image/png", 9).bearer(&flow).send().await;
    assert_eq!((answer.status, &answer.body["error"]), (501, &json!("Uploads not configured")));
    let form = FormBody::new().text("document_front", "upload:000000000000000");
    assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&flow).form(form).send().await.status, 404);
}

#[tokio::test]
async fn storing_an_upload_takes_three_calls_of_pocketbase() {
    let storage = Storage::new().await;
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &storage.variables()).await;
    let (id, flow) = app.profile("postman").await;
    let text = app.upload(&flow, "document_front", "image/png", PNG).await;
    // The function signs in when it starts.
    app.patch(&format!("/api/profiles/{id}"))
        .bearer(&flow)
        .form(FormBody::new().file("facial_photo", PNG))
        .send()
        .await;
    proxy.calls();
    let form = FormBody::new().text("document_front", &text);
    assert_eq!(app.patch(&format!("/api/profiles/{id}")).bearer(&flow).form(form).send().await.status, 200);
    let calls =
        ["GET /api/collections/profile_overview/records", "GET /api/collections/uploads/records", "POST /api/batch"];
    assert_eq!(proxy.calls(), calls);
}
