//! Multipart forms with files: accepted, refused, and stored.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{Answer, App, FormBody, JPEG, MP4, PNG, shared};

struct Bench {
    app: App,
    id: String,
    flow: String,
    token: String,
}

impl Bench {
    async fn new() -> Self {
        let app = App::new().await;
        let (id, flow) = app.profile("postman").await;
        let token = app.token("postman").await;
        Self { app, id, flow, token }
    }

    async fn update(&self, form: FormBody) -> Answer {
        self.raw(&form.content_type(), form.finish()).await
    }

    async fn raw(&self, content_type: &str, body: Vec<u8>) -> Answer {
        let path = format!("/api/profiles/{}", self.id);
        self.app.patch(&path).bearer(&self.token).body(content_type, body).send().await
    }

    async fn verify(&self, token: &str, form: FormBody) -> Answer {
        self.app.post(&format!("/api/verification_history/{}", self.id)).bearer(token).form(form).send().await
    }

    /// How many verifications the profile has.
    async fn verifications(&self) -> usize {
        let superuser = shared().await.superuser().await.unwrap();
        superuser.find("verification_history", &format!("profile=\"{}\"", self.id)).await.unwrap().len()
    }

    async fn stored(&self) -> Value {
        let found =
            shared().await.superuser().await.unwrap().find("profiles", &format!("id=\"{}\"", self.id)).await.unwrap();
        found[0].clone()
    }
}

/// A JPEG of this many bytes.
fn jpeg_of(size: usize) -> Vec<u8> {
    let mut bytes = JPEG.to_vec();
    bytes.resize(size, 0x55);
    bytes
}

#[tokio::test]
async fn a_form_without_boundary_is_refused() {
    let answer = Bench::new().await.raw("multipart/form-data", FormBody::new().text("country", "US").finish()).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("Invalid form")));
}

#[tokio::test]
async fn another_content_type_is_refused() {
    let bench = Bench::new().await;
    for content_type in ["application/json", "application/x-www-form-urlencoded", "", "multipart/mixed; boundary=x"] {
        assert_eq!(bench.raw(content_type, b"{}".to_vec()).await.status, 415, "{content_type}");
    }
}

#[tokio::test]
async fn a_truncated_form_is_refused_and_changes_nothing() {
    let bench = Bench::new().await;
    let form = FormBody::new().text("country", "US").file("document_front", &jpeg_of(1_000));
    let (content_type, whole) = (form.content_type(), form.finish());
    for length in [0, 1, 20, 150, whole.len() / 2, whole.len() - 30, whole.len() - 4] {
        let answer = bench.raw(&content_type, whole[..length].to_vec()).await;
        assert_eq!(answer.status, 400, "{length} of {}: {answer:?}", whole.len());
    }
    assert_eq!(bench.stored().await["country"], "");
}

#[tokio::test]
async fn two_hundred_parts_are_refused() {
    let form = (0..200).fold(FormBody::new(), |form, i| form.text(&format!("field{i}"), "x"));
    let answer = Bench::new().await.update(form).await;
    assert_eq!((answer.status, &answer.body["error"]), (400, &json!("Invalid form")));
}

#[tokio::test]
async fn the_type_of_a_file_is_read_from_its_bytes() {
    let bench = Bench::new().await;
    for (field, bytes) in [
        ("document_front", MP4),
        ("document_front", b"%PDF-1.7\n"),
        ("document_front", b"8BPS\x00\x01\x00\x00\x00\x00\x00\x00\x00\x03"),
        ("document_front", b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>"),
        ("document_front", b"<html><script>alert(1)</script>"),
        ("facial_photo", b"x"),
        ("facial_video", JPEG),
    ] {
        let answer = bench.update(FormBody::new().file(field, bytes)).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!(field)), "{answer:?}");
    }
    let disguised = FormBody::new()
        .part("name=\"document_front\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg", b"MZ not an image");
    assert_eq!(bench.update(disguised).await.status, 400);
}

#[tokio::test]
async fn an_empty_file_is_refused() {
    let answer = Bench::new().await.update(FormBody::new().file("document_front", b"")).await;
    assert_eq!((answer.status, &answer.body["field"]), (400, &json!("document_front")));
}

#[tokio::test]
async fn the_name_that_a_file_was_given_is_not_kept() {
    let bench = Bench::new().await;
    for name in
        ["../../etc/passwd", "C:\\\\temp\\\\x.jpg", "jane-doe-passport.html", "line%0Abreak", "x\u{202e}gpj.exe", ""]
    {
        let part = format!("name=\"document_front\"; filename=\"{name}\"\r\nContent-Type: text/html");
        let answer = bench.update(FormBody::new().part(&part, PNG)).await;
        assert_eq!(answer.status, 200, "{name:?} {answer:?}");
        let stored = answer.text("/data/document_front");
        assert!(stored.starts_with("document_front_") && stored.ends_with(".png"), "{stored}");
    }
}

#[tokio::test]
async fn a_file_name_with_a_line_break_cannot_smuggle_a_header() {
    let bench = Bench::new().await;
    for name in ["a\r\nX-Injected: yes\r\n\r\n.jpg", "a\nb", "a\0b"] {
        let part = format!("name=\"document_front\"; filename=\"{name}\"");
        let answer = bench.update(FormBody::new().part(&part, JPEG)).await;
        assert_eq!(answer.status, 400, "{name:?} {answer:?}");
    }
}

#[tokio::test]
async fn a_text_of_a_megabyte_is_refused() {
    let bench = Bench::new().await;
    for field in ["document_name", "unknown"] {
        let answer = bench.update(FormBody::new().text(field, &"x".repeat(1_000_000))).await;
        assert_eq!((answer.status, &answer.body["field"]), (413, &json!(field)));
    }
    let answer = bench.update(FormBody::new().text("document_name", &"x".repeat(256))).await;
    assert_eq!((answer.status, &answer.body["field"]), (400, &json!("document_name")));
}

#[tokio::test]
async fn files_of_four_point_four_megabytes_are_stored_and_more_are_refused() {
    let bench = Bench::new().await;
    let half = jpeg_of(2_200_000);
    let form = FormBody::new().file("document_front", &half).file("document_back", &half);
    let answer = bench.update(form).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let before = bench.stored().await;
    for form in [
        FormBody::new().file("document_front", &jpeg_of(4_400_001)),
        FormBody::new().file("document_front", &half).file("document_back", &half).file("facial_photo", JPEG),
        FormBody::new().file("document_front", &jpeg_of(8_000_000)),
    ] {
        let answer = bench.update(form).await;
        assert_eq!((answer.status, &answer.body["error"]), (413, &json!("Request too large")));
    }
    assert_eq!(bench.stored().await, before);
    assert_eq!(bench.update(FormBody::new().file("document_front", &jpeg_of(4_400_000))).await.status, 200);
}

/// PocketBase writes whole records, so that of two changes at once one could undo the other.
#[tokio::test]
async fn changes_of_a_profile_at_once_are_all_stored() {
    let bench = Bench::new().await;
    for round in 0..20 {
        let value = format!("A{round}");
        let fields = ["document_number", "document_name", "document_type", "country"];
        let answers = join_all(fields.map(|field| bench.update(FormBody::new().text(field, &value)))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
        let stored = bench.stored().await;
        assert_eq!(fields.map(|field| stored[field].as_str().unwrap()), [&*value; 4]);
    }
}

#[tokio::test]
async fn unknown_and_repeated_files_and_misplaced_fields_are_refused_by_name() {
    let bench = Bench::new().await;
    for (form, field) in [
        (FormBody::new().file("passport", JPEG), "passport"),
        (FormBody::new().file("dedupe_key", JPEG), "dedupe_key"),
        (FormBody::new().file("document_front", JPEG).file("document_front", PNG), "document_front"),
        (FormBody::new().text("country", "US").text("country", "SG"), "country"),
        (FormBody::new().text("document_front", "not a file"), "document_front"),
        (FormBody::new().file("country", JPEG), "country"),
        (FormBody::new().text("verification_status", "approved"), "verification_status"),
        (FormBody::new().text("verification_status", "VERIFIED"), "verification_status"),
        (FormBody::new().text("face_liveness_confidence", "high"), "face_liveness_confidence"),
        (FormBody::new().text("face_liveness_confidence", "101"), "face_liveness_confidence"),
        (FormBody::new().text("face_liveness_result", &"x".repeat(5_001)), "face_liveness_result"),
        (FormBody::new().part("name=\"country\"", b"\xff\xfe"), "country"),
        (FormBody::new().text("country", "a\u{0}b"), "country"),
    ] {
        let answer = bench.update(form).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!(field)), "{answer:?}");
    }
}

#[tokio::test]
async fn a_result_of_face_liveness_may_be_json_or_a_plain_text() {
    let bench = Bench::new().await;
    for (sent, stored) in [("{\"isLive\":true}", json!({ "isLive": true })), ("live, 95.5", json!("live, 95.5"))] {
        assert_eq!(bench.update(FormBody::new().text("face_liveness_result", sent)).await.status, 200);
        assert_eq!(bench.stored().await["face_liveness_result"], stored);
    }
}

#[tokio::test]
async fn an_update_without_fields_is_refused_and_unknown_fields_change_nothing() {
    let bench = Bench::new().await;
    let before = bench.stored().await;
    for form in [
        FormBody::new(),
        FormBody::new().text("country", "  "),
        FormBody::new()
            .text("dedupe_key", "user:stolen")
            .text("team", "team_456")
            .text("user_id", "x")
            .text("@jsonPayload", "{}"),
    ] {
        let answer = bench.update(form).await;
        assert_eq!((answer.status, &answer.body["error"]), (400, &json!("Nothing to update")));
    }
    assert_eq!(bench.stored().await, before);
}

fn required() -> FormBody {
    with_session("session-xyz")
}

fn with_session(session: &str) -> FormBody {
    FormBody::new()
        .text("liveness_session_id", session)
        .text("liveness_confidence", "95.5")
        .text("liveness_status", "live")
}

#[tokio::test]
async fn everything_that_a_verification_lacks_is_listed_at_once() {
    let bench = Bench::new().await;
    for (form, missing) in [
        (
            FormBody::new(),
            json!([
                "liveness_session_id",
                "liveness_confidence",
                "document_type",
                "liveness_status",
                "facial_photo",
                "document_front",
            ]),
        ),
        (
            required().text("document_type", "national_id").file("facial_photo", JPEG),
            json!(["document_front", "document_back"]),
        ),
        (required().text("document_type", "Passport").file("facial_photo", JPEG), json!(["document_front"])),
    ] {
        let answer = bench.verify(&bench.token, form).await;
        assert_eq!((answer.status, &answer.body["missing"]), (400, &missing), "{answer:?}");
    }
    assert_eq!(bench.verifications().await, 0, "nothing is stored");
}

#[tokio::test]
async fn files_that_a_verification_does_not_bring_are_copied_from_the_profile() {
    let bench = Bench::new().await;
    let (front, back) = (jpeg_of(300_000), jpeg_of(70_000));
    let form = FormBody::new().file("document_front", &front).file("document_back", &back).file("facial_photo", PNG);
    assert_eq!(bench.update(form).await.status, 200);
    let sent = jpeg_of(5_000);
    let form = required().text("document_type", "national_id").file("facial_photo", &sent);
    let answer = bench.verify(&bench.token, form).await;
    assert_eq!(answer.status, 201, "{answer:?}");

    let server = shared().await;
    let superuser = server.superuser().await.unwrap();
    let token = superuser.call(reqwest::Method::POST, "/api/files/token", None).await.unwrap();
    let http = reqwest::Client::new();
    for (field, expected) in [("document_front", front), ("document_back", back), ("facial_photo", sent)] {
        let (record, name) = (answer.text("/data/id"), answer.text(&format!("/data/{field}")));
        let url = format!("{}/api/files/verification_history/{record}/{name}", server.url);
        let stranger = http.get(&url).send().await.unwrap();
        assert_eq!(stranger.status(), 404, "files are protected");
        let url = format!("{url}?token={}", token["token"].as_str().unwrap());
        assert_eq!(http.get(&url).send().await.unwrap().bytes().await.unwrap(), expected, "{field}");
    }
}

#[tokio::test]
async fn wrong_fields_of_a_verification_are_named_and_nothing_is_stored() {
    let bench = Bench::new().await;
    for (field, value) in [
        ("date_of_birth", "15/01/1990"),
        ("date_of_birth", "1990-02-30"),
        ("ip_address", "999.1.1.1"),
        ("ip_address", "example.com"),
        ("address", &"x".repeat(1_025)),
        ("fingerprint", &"x".repeat(200)),
    ] {
        let form = required()
            .text("document_type", "passport")
            .text(field, value)
            .file("facial_photo", JPEG)
            .file("document_front", JPEG);
        let answer = bench.verify(&bench.token, form).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!(field)), "{answer:?}");
    }
    assert_eq!(bench.verifications().await, 0, "nothing is stored");
}

#[tokio::test]
async fn verifications_are_limited_to_five_a_day_also_when_simultaneous() {
    let bench = Bench::new().await;
    let sessions = join_all((0..13).map(|_| bench.app.session(&bench.flow, "live"))).await;
    let form = |session: &str| {
        let form = with_session(session).text("document_type", "passport");
        form.file("facial_photo", JPEG).file("document_front", JPEG)
    };
    let answers = join_all(sessions[1..].iter().map(|session| bench.verify(&bench.flow, form(session)))).await;
    let count = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert_eq!((count(201), count(429)), (5, 7), "{answers:?}");
    let refused = answers.iter().find(|answer| answer.status == 429).unwrap();
    assert!((1..=86_400).contains(&refused.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(bench.verify(&bench.flow, form(&sessions[0])).await.status, 429);
    assert_eq!(
        bench.verify(&bench.token, form(&sessions[0])).await.status,
        201,
        "the limit is for people, not for partners"
    );
}
