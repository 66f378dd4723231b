//! POST /verif/submit: comparison of faces, outcome, records, and refusals.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    Answer, App, Clock, FormBody, JPEG, MP4, Mood, PUBLISHABLE_KEY, Partner, Proxy, SECRET_KEY, Storage, eventually,
    photo, refusing_s3, root, selfie, shared, stand_ins, unique,
};

/// Only the key of the function's role is set: enough for S3, and Rekognition counts as not configured.
const NO_REKOGNITION: (&str, &str) = ("AWS_SESSION_TOKEN", "of-a-role");

struct Bench {
    app: App,
    storage: Storage,
    id: String,
    flow: String,
    partner: Partner,
    clock: Clock,
}

impl Bench {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(own: &[(&str, &str)]) -> Self {
        let storage = Storage::new().await;
        let app = App::with(&[&storage.variables()[..], own].concat()).await;
        // A team of its own, since pictures and documents serve one person of a team.
        let partner = app.partner(json!({})).await;
        let (id, flow) = app.person(&partner, json!({})).await;
        Self { app, storage, id, flow, partner, clock: Clock::slow() }
    }

    /// Sends a person's video and a photo, in the request itself, with the flow token.
    async fn submit(&self, person: &Value, document: &Value) -> Answer {
        self.send(FormBody::new().file("selfie_video", &selfie(person)).file("id_photo", &photo(document))).await
    }

    async fn send(&self, form: FormBody) -> Answer {
        self.app.post("/verif/submit").bearer(&self.flow).form(form).send().await
    }

    async fn find(&self, collection: &str) -> Vec<Value> {
        let field = if collection == "profiles" { "id" } else { "profile" };
        let superuser = shared().await.superuser().await.unwrap();
        superuser.find(collection, &format!("{field}=\"{}\"", self.id)).await.unwrap()
    }

    /// Asserts that no record holds a decision.
    async fn assert_undecided(&self) {
        assert_eq!(self.find("profiles").await[0]["verification_status"], "unverified");
        for collection in ["verification_history", "status_history", "webhook_deliveries"] {
            assert_eq!(self.find(collection).await, Vec::<Value>::new(), "{collection}");
        }
    }
}

fn anna() -> Value {
    json!({ "person": "anna" })
}

/// Anna's passport, with its machine-readable zone.
fn passport() -> Value {
    json!({
        "person": "anna",
        "document_type": "passport",
        "document_number": "L898902C3",
        "mrz_lines": ["P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F3404159ZE184226B<<<<<16"],
    })
}

/// A description with some fields replaced.
fn with(mut description: Value, fields: Value) -> Value {
    description.as_object_mut().unwrap().extend(fields.as_object().cloned().unwrap());
    description
}

fn bert() -> Value {
    json!({ "person": "bert" })
}

#[tokio::test]
async fn a_person_who_is_who_they_say_is_verified_with_uploads_and_a_flow_token() {
    let bench = Bench::new().await;
    let video = bench.app.upload(&bench.flow, "selfie_video", "video/webm", &selfie(&anna())).await;
    let image = bench.app.upload(&bench.flow, "id_photo", "image/jpeg", &photo(&anna())).await;
    let form = || FormBody::new().text("selfie_video", &video).text("id_photo", &image);
    let answer = bench.send(form()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.text("/result/status"), "verified");
    assert_eq!(answer.text("/result/verificationAssessment/confidenceLevel"), "high");
    assert_eq!(answer.body["result"]["faceComparison"]["similarityScore"], 96.0);
    assert_eq!(answer.body["result"]["faceComparison"]["confidence"], 0.96);
    assert_eq!(answer.body["result"]["verificationAssessment"]["riskFactors"], json!([]));
    let check_id = answer.text("/check_id");
    assert_eq!(answer.text("/result/sessionId"), check_id);
    assert_eq!(answer.header("cache-control"), "no-store");
    for (file, start, end) in [("selfieVideo", "_selfie_1", ".webm"), ("idPhoto", "_id_1", ".jpg")] {
        let name = answer.text(&format!("/result/files/{file}/fileName"));
        assert!(name.starts_with(&format!("{check_id}{start}")) && name.ends_with(end), "{name}");
    }
    let video = reqwest::get(answer.text("/result/files/selfieVideo/url")).await.unwrap().bytes().await.unwrap();
    assert_eq!(video, selfie(&anna()));

    let profile = bench.find("profiles").await.remove(0);
    assert_eq!(profile["verification_status"], "verified");
    assert_eq!(answer.text("/result/user_identifier"), profile["user_id"].as_str().unwrap());
    let history = bench.find("verification_history").await.remove(0);
    let check = bench.find("checks").await.remove(0);
    assert_eq!((&history["status"], &history["check"]), (&json!("verified"), &check["id"]));
    assert_eq!((&check["status"], &check["check_id"]), (&json!("verified"), &json!(check_id)));
    let entry = bench.find("status_history").await.remove(0);
    assert_eq!((&entry["previous_status"], &entry["new_status"]), (&json!("unverified"), &json!("verified")));
    assert_eq!((&entry["verification"], &entry["by_flow"]), (&history["id"], &json!(false)));
    let keys = bench.storage.keys(&format!("people/{}/", bench.id)).await;
    let key = |file: &str| format!("people/{}/checks/{check_id}/{file}", bench.id);
    let frames = (1..=5).map(|number| key(&format!("frame_{number}.jpg")));
    let media: Vec<_> = frames.chain([key("id_photo"), key("selfie_video")]).collect();
    assert_eq!(keys, media, "the media and the compared frames stay, the uploads are gone");
    assert_eq!(check["frames"], 5);

    let again = bench.send(form()).await;
    assert_eq!((again.status, again.text("/error")), (409, "Profile already decided".to_owned()));
    let token = bench.app.token("root").await;
    let read = bench.app.get(&format!("/api/profiles/{}", bench.id)).bearer(&token).send().await;
    assert_eq!(
        (read.text("/data/status"), read.text("/data/verification_status")),
        ("verified".into(), "verified".into())
    );
}

#[tokio::test]
async fn a_partner_submits_with_its_key_in_the_form_or_in_the_header() {
    let bench = Bench::new().await;
    let user = unique("user");
    let form = |id_name: &str, document: &Value| {
        FormBody::new()
            .text(id_name, &user)
            .text("user_email", "anna@example.com")
            .text("user_phone", "+4912345")
            .file("selfie_video", &selfie(&anna()))
            .file("id_photo", &photo(document))
    };
    let rejected = form("user_identifier", &bert()).text("api_key", SECRET_KEY);
    let rejected = bench.app.post("/verif/submit").form(rejected).send().await;
    assert_eq!((rejected.status, rejected.text("/result/status")), (200, "rejected".to_owned()), "{rejected:?}");
    assert_eq!(rejected.body["result"]["verificationAssessment"]["riskFactors"], json!(["faces_differ"]));
    assert_eq!(rejected.body["result"]["faceComparison"]["isIdentical"], false);
    let verified = bench.app.post("/verif/submit").key(SECRET_KEY).form(form("user_id", &anna())).send().await;
    assert_eq!((verified.status, verified.text("/result/status")), (200, "verified".to_owned()), "{verified:?}");
    let superuser = shared().await.superuser().await.unwrap();
    let profiles = superuser.find("profiles", &format!("user_id=\"{user}\"")).await.unwrap();
    let [profile] = &profiles[..] else { panic!("{profiles:?}") };
    assert_eq!((&profile["team"], &profile["email"]), (&json!("team_123"), &json!("anna@example.com")));
    let filter = format!("profile={}", profile["id"]);
    let entries = superuser.find("status_history", &filter).await.unwrap();
    let statuses: Vec<_> = entries.iter().map(|entry| (&entry["previous_status"], &entry["new_status"])).collect();
    assert_eq!(statuses, [(&json!("unverified"), &json!("rejected")), (&json!("rejected"), &json!("verified"))]);
    let checks = superuser.find("checks", &filter).await.unwrap();
    assert!(checks.iter().all(|check| check["partner"] != "" && check["user_phone"] == "+4912345"), "{checks:?}");
}

#[tokio::test]
async fn rekognition_compares_as_well_and_alone() {
    let bench = Bench::with(&[("FACE_COMPARISON", "rekognition"), ("OPENAI_API_KEY", "invalid")]).await;
    let rejected = bench.submit(&anna(), &bert()).await;
    assert_eq!(rejected.text("/result/status"), "rejected", "{rejected:?}");
    assert_eq!(rejected.text("/result/faceComparison/method"), "rekognition");
    assert!(bench.app.standins.requests().iter().all(|request| request.get("chat").is_none()));
    for (document, status, factor) in [
        (passport(), "verified", None),
        (with(passport(), json!({ "faces": 0 })), "pending", Some("id_face_not_clear")),
    ] {
        let bench = Bench::with(&[("FACE_COMPARISON", "rekognition")]).await;
        let answer = bench.submit(&anna(), &document).await;
        assert_eq!(answer.text("/result/status"), status, "{answer:?}");
        let factors = json!(factor.into_iter().collect::<Vec<_>>());
        assert_eq!(answer.body["result"]["verificationAssessment"]["riskFactors"], factors);
    }
    for (person, factor) in [
        (json!({ "person": "anna", "faces": 2 }), "several_people"),
        (json!({ "person": "anna", "faces": 0 }), "selfie_face_not_clear"),
    ] {
        let bench = Bench::with(&[("FACE_COMPARISON", "rekognition")]).await;
        let answer = bench.submit(&person, &passport()).await;
        assert_eq!(answer.body["result"]["verificationAssessment"]["riskFactors"], json!([factor]), "{answer:?}");
        assert_eq!(answer.text("/result/status"), "pending");
    }
}

/// Bert's document, submitted with Anna's face, carries instructions to the model.
#[tokio::test]
async fn instructions_on_a_document_never_verify_a_person() {
    for (told, own, factor) in [
        ("noticed", &[NO_REKOGNITION][..], "suspected_instructions"),
        ("obeyed", &[NO_REKOGNITION], "suspected_instructions"),
        ("hidden", &[], "second_comparison_disagrees"),
    ] {
        let bench = Bench::with(own).await;
        // A score between the thresholds.
        let similarity = if told == "noticed" { json!(85) } else { json!(100) };
        let document = json!({ "person": "bert", "instructions": told, "similarity": similarity, "same_person": true });
        let answer = bench.submit(&anna(), &document).await;
        assert_eq!((answer.status, answer.text("/result/status")), (200, "pending".to_owned()), "{told} {answer:?}");
        let factors = answer.body["result"]["verificationAssessment"]["riskFactors"].as_array().unwrap();
        assert!(factors.contains(&json!(factor)), "{told} {answer:?}");
        assert_eq!(bench.find("profiles").await[0]["verification_status"], "pending");
        // A person who is pending may try again, and be verified with their own document.
        assert_eq!(bench.submit(&anna(), &anna()).await.text("/result/status"), "verified");
    }
}

#[tokio::test]
async fn risk_factors_leave_a_check_pending_for_manual_review() {
    for (document, factor) in [
        (json!({ "person": "anna", "is_document": false }), "not_an_identity_document"),
        (json!({ "person": "anna", "document_is_copied": true }), "document_copied"),
        (json!({ "person": "anna", "several_people": true }), "several_people"),
        (json!({ "person": "anna", "selfie_is_replayed": true }), "selfie_not_live"),
        (json!({ "person": "anna", "similarity": 60 }), "similarity_inconclusive"),
    ] {
        let bench = Bench::with(&[NO_REKOGNITION]).await;
        let answer = bench.submit(&anna(), &document).await;
        assert_eq!(answer.body["result"]["verificationAssessment"]["riskFactors"], json!([factor]), "{answer:?}");
        assert_eq!(answer.text("/result/status"), "pending");
    }
}

#[tokio::test]
async fn a_model_that_fails_decides_nothing_and_the_same_submission_works_afterwards() {
    let bench = Bench::new().await;
    // The stand-in never answers a slow call, so only that call gets a short time limit.
    let hurried = App::with(&[&bench.storage.variables()[..], &[("OPENAI_TIMEOUT_MS", "1000")]].concat()).await;
    let video = bench.app.upload(&bench.flow, "selfie_video", "video/webm", &selfie(&anna())).await;
    let image = bench.app.upload(&bench.flow, "id_photo", "image/jpeg", &photo(&anna())).await;
    let form = || FormBody::new().text("selfie_video", &video).text("id_photo", &image);
    // More failures than a person has attempts: failures of services do not count.
    let troubles = ["throttled", "failing", "malformed", "slow", "denied"].map(|trouble| ("chat", trouble, 1));
    for (operation, trouble, times) in troubles.into_iter().chain([("CompareFaces", "failing", 9)]) {
        let app = if trouble == "slow" { &hurried } else { &bench.app };
        assert!(app.standins.trouble(operation, trouble, times));
        let send = app.post("/verif/submit").bearer(&bench.flow).form(form()).send();
        let time = async {
            if trouble == "slow" {
                eventually("a question to the model", async || app.standins.requests().pop()).await;
                bench.clock.advance(Duration::from_secs(1)).await;
            }
        };
        let (answer, ()) = tokio::join!(send, time);
        let error = answer.text("/error");
        assert_eq!((answer.status, &*error), (500, "Verification processing failed"), "{trouble} {answer:?}");
        let superuser = shared().await.superuser().await.unwrap();
        let filter = format!("check_id=\"{}\"", answer.text("/check_id"));
        let check = superuser.find("checks", &filter).await.unwrap().remove(0);
        assert_eq!(check["status"], "failed", "{trouble}");
        assert_ne!(check["reason"], "", "{trouble}");
        bench.assert_undecided().await;
    }
    bench.app.standins.trouble("CompareFaces", "failing", 0);
    let answer = bench.send(form()).await;
    assert_eq!((answer.status, answer.text("/result/status")), (200, "verified".to_owned()), "{answer:?}");
}

#[tokio::test]
async fn a_model_that_refuses_or_answers_out_of_format_decides_nothing() {
    for said in ["refusal", "filtered", "truncated", "prose", "other_json"] {
        let bench = Bench::with(&[NO_REKOGNITION]).await;
        let answer = bench.submit(&json!({ "person": "anna", "simulate": said }), &anna()).await;
        assert_eq!(answer.status, 200, "the document chooses: {answer:?}");
        let bench = Bench::with(&[NO_REKOGNITION]).await;
        let answer = bench.submit(&anna(), &json!({ "person": "anna", "simulate": said })).await;
        assert_eq!(
            (answer.status, answer.text("/error")),
            (500, "Verification processing failed".to_owned()),
            "{said}"
        );
        bench.assert_undecided().await;
    }
}

#[tokio::test]
async fn media_that_cannot_be_decoded_are_named_and_not_kept() {
    let bench = Bench::new().await;
    let broken = [JPEG, &[0x55; 2_000]].concat();
    for (field, form) in [
        ("id_photo", FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &broken)),
        ("selfie_video", FormBody::new().file("selfie_video", MP4).file("id_photo", &photo(&anna()))),
    ] {
        let answer = bench.send(form).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!(field)), "{answer:?}");
        assert_eq!(bench.find("checks").await.pop().unwrap()["status"], "failed");
    }
    bench.assert_undecided().await;
    assert_eq!(bench.storage.keys(&format!("people/{}/", bench.id)).await, Vec::<String>::new());
    // A playlist is no video, whatever it is called, and what it names is never fetched.
    let playlist = b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n";
    let form = FormBody::new().file("selfie_video", playlist).file("id_photo", &photo(&anna()));
    assert_eq!(bench.send(form).await.status, 400);
}

#[tokio::test]
async fn errors_are_those_of_the_contract() {
    let bench = Bench::new().await;
    let media = || FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &photo(&anna()));
    let post = || bench.app.post("/verif/submit");
    let user = unique("user");
    for (form, status, error) in [
        (media().text("user_id", &user), 400, "API key is required"),
        (media().text("user_id", &user).text("api_key", "nonsense"), 401, "Invalid API key"),
        (media().text("user_id", &user).text("api_key", "sk_nobody"), 401, "Invalid API key"),
        (media().text("api_key", SECRET_KEY), 400, "User identifier is required"),
        (
            FormBody::new().text("api_key", SECRET_KEY).text("user_id", &user),
            400,
            "Both selfie video and ID photo are required",
        ),
        (media().text("user_id", &user).text("api_key", PUBLISHABLE_KEY), 403, "Insufficient scope"),
    ] {
        let answer = post().form(form).send().await;
        assert_eq!((answer.status, answer.text("/error").as_str()), (status, error), "{answer:?}");
    }
    let token = bench.app.token("postman").await;
    let answer = post().bearer(&token).form(media().text("user_id", &user)).send().await;
    assert_eq!(answer.status, 403, "a machine's token is no key");
    let another = bench.send(media().text("user_identifier", "somebody else")).await;
    assert_eq!((another.status, &another.body["field"]), (403, &json!("user_identifier")), "{another:?}");
    assert_eq!(post().bearer("nonsense").form(media().text("api_key", SECRET_KEY)).send().await.status, 401);
    bench.assert_undecided().await;
}

#[tokio::test]
async fn checks_of_one_person_are_limited_per_day() {
    let bench = Bench::with(&[("MAX_VERIFICATION_ATTEMPTS", "2"), NO_REKOGNITION]).await;
    let unsure = json!({ "person": "anna", "similarity": 60 });
    let person = anna();
    let answers = join_all((0..4).map(|_| bench.submit(&person, &unsure))).await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 429, 429], "{answers:?}");
    assert_eq!(bench.find("checks").await.len(), 2);
}

#[tokio::test]
async fn uploads_that_are_submitted_twice_at_once_are_decided_once() {
    let bench = Bench::new().await;
    let video = bench.app.upload(&bench.flow, "selfie_video", "video/webm", &selfie(&anna())).await;
    let image = bench.app.upload(&bench.flow, "id_photo", "image/jpeg", &photo(&anna())).await;
    let form = || FormBody::new().text("selfie_video", &video).text("id_photo", &image);
    let answers = join_all((0..3).map(|_| bench.send(form()))).await;
    let decided = answers.iter().filter(|answer| answer.status == 200).count();
    let refused = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((decided, refused), (1, 2), "{answers:?}");
    assert_eq!(bench.find("verification_history").await.len(), 1);
    assert_eq!(bench.find("status_history").await.len(), 1);
}

#[tokio::test]
async fn a_check_makes_four_calls_to_pocketbase_and_one_of_used_evidence_seven() {
    let storage = Storage::new().await;
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &storage.variables()).await;
    let partner = app.partner(json!({ "webhook_url": "https://partner.example" })).await;
    let submit = async |person: &Value| {
        let (_, flow) = app.person(&partner, json!({})).await;
        proxy.calls();
        let form = FormBody::new().file("selfie_video", &selfie(person)).file("id_photo", &photo(person));
        let answer = app.post("/verif/submit").bearer(&flow).form(form).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        proxy.calls()
    };
    let start = ["GET /api/collections/profile_overview/records", "POST /api/batch"];
    let end = ["GET /api/collections/profile_overview/records", "POST /api/batch"];
    // The function starts, and asks for the partner's budgets and the subscriptions, as it does once a minute.
    let first = submit(&anna()).await;
    assert_eq!(first.iter().filter(|call| *call == "GET /api/collections/partners/records").count(), 2, "{first:?}");
    assert_eq!((&*first[0], first.len()), ("POST /api/collections/users/auth-refresh", 7), "{first:?}");
    assert_eq!(submit(&bert()).await, [start, end].concat());
    let look_up = ["GET /api/collections/evidence/records"];
    assert_eq!(submit(&bert()).await, [&start[..], &end, &look_up, &end].concat());
}

#[tokio::test]
async fn without_a_bucket_or_a_comparison_service_submissions_are_501() {
    let app = App::new().await;
    let (_, flow) = app.profile("postman").await;
    let form = || FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &photo(&anna()));
    let answer = app.post("/verif/submit").bearer(&flow).form(form()).send().await;
    assert_eq!((answer.status, answer.text("/error")), (501, "Uploads not configured".to_owned()));
    for own in [&[("OPENAI_API_KEY", "")][..], &[("FACE_COMPARISON", "rekognition"), NO_REKOGNITION]] {
        let bench = Bench::with(own).await;
        let answer = bench.send(form()).await;
        assert_eq!(answer.status, 501, "{answer:?}");
        bench.assert_undecided().await;
    }
}

#[tokio::test]
async fn a_profile_deleted_during_its_check_leaves_no_data_behind() {
    let (standins, url) = stand_ins();
    let model = Proxy::to(&url).await;
    let bench = Bench::with(&[("OPENAI_BASE_URL", &format!("{}/v1", model.url))]).await;
    standins.trouble("chat", "failing", 1);
    model.set(Mood::Holding);
    let token = bench.app.token("root").await;
    let delete = async {
        model.paused().await;
        let path = format!("/api/profiles/{}", bench.id);
        assert_eq!(bench.app.ask("DELETE", &path).bearer(&token).send().await.status, 204);
        model.set(Mood::Honest);
    };
    let (person, document) = (anna(), anna());
    let (answer, ()) = tokio::join!(bench.submit(&person, &document), delete);
    assert_eq!(answer.status, 500, "{answer:?}");
    let check = bench.find("checks").await.remove(0);
    assert_eq!((&check["status"], &check["user_identifier"]), (&json!("failed"), &json!("")), "{check}");
    assert_eq!(bench.storage.keys(&format!("people/{}/", bench.id)).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_decision_of_the_partner_during_the_comparison_of_faces_stands() {
    for by_history in [false, true] {
        // The answer of the model, a match, arrives after the decision.
        let (_standins, url) = stand_ins();
        let model = Proxy::to(&url).await;
        let bench = Bench::with(&[("OPENAI_BASE_URL", &format!("{}/v1", model.url))]).await;
        let key = &bench.partner.secret;
        model.set(Mood::Holding);
        let decide = async {
            model.paused().await;
            if by_history {
                let entry = json!({ "previous_status": "unverified", "new_status": "rejected", "notes": "By hand" });
                let path = format!("/api/status_history/{}", bench.id);
                assert_eq!(bench.app.post(&path).key(key).json(&entry).send().await.status, 201);
            } else {
                let form = FormBody::new().text("verification_status", "rejected");
                let path = format!("/api/profiles/{}", bench.id);
                assert_eq!(bench.app.patch(&path).key(key).form(form).send().await.status, 200);
            }
            model.set(Mood::Honest);
        };
        let (person, document) = (anna(), anna());
        let (answer, ()) = tokio::join!(bench.submit(&person, &document), decide);
        assert_eq!(answer.status, 409, "{answer:?}");
        assert_eq!(bench.find("verification_history").await, Vec::<Value>::new());
        assert_ne!(bench.find("profiles").await[0]["verification_status"], "verified");
    }
}

#[tokio::test]
async fn an_outcome_stands_and_keeps_its_media_when_the_answer_of_pocketbase_is_lost() {
    let storage = Storage::new().await;
    let proxy = Proxy::new().await;
    let app = App::behind(&proxy, &storage.variables()).await;
    let partner = app.partner(json!({})).await;
    let (id, flow) = app.person(&partner, json!({})).await;
    let form = |person: &Value| FormBody::new().file("selfie_video", &selfie(person)).file("id_photo", &photo(person));
    // Signs in, and reads the subscribers.
    let (_, other) = app.person(&partner, json!({})).await;
    assert_eq!(app.post("/verif/submit").bearer(&other).form(form(&bert())).send().await.status, 200);
    proxy.set(Mood::LosingBatch(1));
    let answer = app.post("/verif/submit").bearer(&flow).form(form(&anna())).send().await;
    proxy.set(Mood::Honest);
    assert_eq!((answer.status, answer.text("/result/status")), (200, "verified".to_owned()), "{answer:?}");
    let superuser = shared().await.superuser().await.unwrap();
    assert_eq!(superuser.find("checks", &format!("profile=\"{id}\"")).await.unwrap()[0]["status"], "verified");
    assert_eq!(storage.keys(&format!("people/{id}/checks/")).await.len(), 7);
}

#[tokio::test]
async fn failures_caused_by_the_sender_use_up_attempts() {
    let bench = Bench::with(&[("MAX_VERIFICATION_ATTEMPTS", "3"), NO_REKOGNITION]).await;
    let broken = || FormBody::new().file("selfie_video", MP4).file("id_photo", &photo(&anna()));
    let refused = json!({ "person": "anna", "simulate": "refusal" });
    assert_eq!(bench.send(broken()).await.status, 400);
    // A failure of the model does not count as an attempt.
    bench.app.standins.trouble("chat", "failing", 1);
    assert_eq!(bench.submit(&anna(), &anna()).await.status, 500);
    assert_eq!(bench.submit(&anna(), &refused).await.status, 500);
    assert_eq!(bench.send(broken()).await.status, 400);
    assert_eq!(bench.send(broken()).await.status, 429);
}

/// 400 million pixels in 50 kB.
#[tokio::test]
async fn a_decompression_bomb_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.png");
    let draw = "import sys; from PIL import Image; Image.new('1', (20000, 20000)).save(sys.argv[1], optimize=True)";
    let mut python = std::process::Command::new(root().join(".venv/bin/python"));
    assert!(python.args(["-c", draw]).arg(&path).status().unwrap().success());
    let bomb = std::fs::read(&path).unwrap();
    assert!(bomb.len() < 200_000);
    let bench = Bench::new().await;
    let answer = bench.send(FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &bomb)).await;
    assert_eq!((answer.status, &answer.body["field"]), (400, &json!("id_photo")), "{answer:?}");
}

/// Photos of other types than JPEG and videos of other types than WebM, each from a real encoder.
#[tokio::test]
async fn other_media_types_are_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let said = folder.path().join("id.jpg");
    std::fs::write(&said, photo(&anna())).unwrap();
    std::fs::write(folder.path().join("selfie.webm"), selfie(&anna())).unwrap();
    let convert = |from: &str, options: &[&str], to: &str| {
        let mut ffmpeg = std::process::Command::new(root().join(".venv/bin/ffmpeg"));
        ffmpeg.args(["-loglevel", "error", "-y", "-i"]).arg(folder.path().join(from)).args(options);
        assert!(ffmpeg.arg(folder.path().join(to)).status().unwrap().success(), "{to}");
        std::fs::read(folder.path().join(to)).unwrap()
    };
    let mp4 = convert("selfie.webm", &["-c:v", "libx264", "-pix_fmt", "yuv420p"], "selfie.mp4");
    let by_pillow = |to: &str| {
        let save = "import sys; from PIL import Image; import pillow_heif; pillow_heif.register_heif_opener(); \
                    Image.open(sys.argv[1]).resize((1200, 900)).save(sys.argv[2], quality=90)";
        let mut python = std::process::Command::new(root().join(".venv/bin/python"));
        python.args(["-c", save]).arg(folder.path().join("id.jpg")).arg(folder.path().join(to));
        assert!(python.status().unwrap().success(), "{to}");
        std::fs::read(folder.path().join(to)).unwrap()
    };
    let jpeg = || photo(&anna());
    for (video, image) in [
        (mp4, convert("id.jpg", &[], "id.png")),
        (
            convert("selfie.webm", &["-c:v", "mpeg4", "-b:v", "2M"], "selfie.3gp"),
            convert("id.jpg", &["-quality", "90"], "id.webp"),
        ),
        (convert("selfie.webm", &["-c:v", "wmv2", "-b:v", "2M"], "selfie.wmv"), by_pillow("id.avif")),
        (convert("selfie.webm", &["-c:v", "mpeg4", "-b:v", "2M"], "selfie.avi"), by_pillow("id.heic")),
        (convert("selfie.webm", &["-c:v", "libtheora", "-b:v", "2M"], "selfie.ogv"), by_pillow("id.tiff")),
        (convert("selfie.webm", &["-c:v", "mpeg2video", "-r", "25", "-b:v", "2M"], "selfie.mpg"), by_pillow("id.bmp")),
        (convert("selfie.webm", &["-c", "copy"], "selfie.mkv"), jpeg()),
    ] {
        let bench = Bench::new().await;
        let answer = bench.send(FormBody::new().file("selfie_video", &video).file("id_photo", &image)).await;
        assert_eq!((answer.status, answer.text("/result/status")), (200, "verified".to_owned()), "{answer:?}");
    }
}

#[tokio::test]
async fn both_sides_of_a_card_are_read_and_kept() {
    let bench = Bench::new().await;
    let zone = ["I<UTOD231458907<<<<<<<<<<<<<<<", "7408122F3404159UTO<<<<<<<<<<<2", "ERIKSSON<<ANNA<MARIA<<<<<<<<<<"];
    let back = json!({ "card": false, "faces": 0, "mrz_lines": zone });
    let submit = async |front: &Value| {
        let form = FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &photo(front));
        bench.send(form.file("id_photo_back", &photo(&back))).await
    };
    let other = submit(&json!({ "person": "anna", "document_number": "D99999999" })).await;
    let factors = &other.body["result"]["verificationAssessment"]["riskFactors"];
    assert_eq!(factors, &json!(["mrz_differs_from_print"]), "{other:?}");
    let answer = submit(&anna()).await;
    assert_eq!(answer.text("/result/status"), "verified", "{answer:?}");
    let checks = &answer.body["result"]["document"]["checks"];
    assert_eq!(
        (&checks["mrz_check_digits"]["result"], &checks["mrz_matches_document"]["result"]),
        (&json!("pass"), &json!("pass"))
    );
    let link = answer.text("/result/files/idPhotoBack/url");
    assert_eq!(reqwest::get(link).await.unwrap().bytes().await.unwrap(), photo(&back));
    let key = format!("people/{}/checks/{}/id_photo_back", bench.id, answer.text("/check_id"));
    let check = bench.find("checks").await.into_iter().find(|check| check["status"] == "verified").unwrap();
    assert_eq!(check["id_photo_back"], key);
}

/// A 403 of AWS concerns this deployment's role. It is the operator's mistake, and costs no attempt.
#[tokio::test]
async fn a_refusal_of_the_functions_role_uses_up_no_attempt() {
    let bench = Bench::with(&[("MAX_VERIFICATION_ATTEMPTS", "1")]).await;
    let s3 = refusing_s3().await;
    let refused = App::with(&[
        ("AWS_ENDPOINT_URL_S3", &*s3),
        ("UPLOADS_BUCKET", "identivia-uploads"),
        ("MAX_VERIFICATION_ATTEMPTS", "1"),
    ])
    .await;
    let form = || FormBody::new().file("selfie_video", &selfie(&anna())).file("id_photo", &photo(&anna()));
    for _ in 0..2 {
        let answer = refused.post("/verif/submit").bearer(&bench.flow).form(form()).send().await;
        assert_eq!((answer.status, answer.text("/error")), (403, "AWS access denied".to_owned()), "{answer:?}");
    }
    let checks = bench.find("checks").await;
    assert!(
        checks
            .iter()
            .all(|check| check["status"] == "failed" && !check["flow_attempt"].as_str().unwrap().contains('#')),
        "{checks:?}"
    );
    let answer = bench.send(form()).await;
    assert_eq!((answer.status, answer.text("/result/status")), (200, "verified".to_owned()), "{answer:?}");
}
