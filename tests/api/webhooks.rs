//! Webhooks: events, deliveries, signatures, retries and order.

use std::time::Duration;

use admin::partner::{Action, run};
use chrono::{DateTime, TimeDelta, Utc};
use local::pocketbase::Superuser;
use local::server::Server;
use serde_json::{Value, json};
use shared::auth::hash_api_key;
use webhooks::WebhookPolicy;

use crate::support::{
    App, Clock, FormBody, Queue, Received, Receiver, Reply, SECRET_KEY, Storage, eventually, own_server, photo, root,
    selfie, unique,
};

/// A PocketBase of the test's own with a partner, its endpoint, and a queue.
pub struct Bench {
    pub server: Server,
    pub superuser: Superuser,
    pub app: App,
    pub queue: Queue,
    pub receiver: Receiver,
    pub partner: String,
    pub key: String,
    pub clock: Clock,
}

impl Bench {
    pub async fn new(events: &[&str]) -> Self {
        Self::with(events, &[("ALLOW_PRIVATE_WEBHOOKS", "true")]).await
    }

    pub async fn with(events: &[&str], own: &[(&str, &str)]) -> Self {
        let (server, storage, queue, receiver) =
            (own_server().await, Storage::new().await, Queue::new().await, Receiver::new().await);
        let superuser = server.superuser().await.unwrap();
        let (partner, key) = (unique("partner"), unique("sk_"));
        let record =
            json!({ "name": partner, "team": "team_123", "active": true, "secret_key_hash": hash_api_key(&key) });
        superuser.create("partners", record).await.unwrap();
        let app = App::at(&server.url, &[&storage.variables()[..], &queue.variables(), own].concat());
        let bench = Self { server, superuser, app, queue, receiver, partner, key, clock: Clock::slow() };
        let url = bench.receiver.url.clone();
        bench
            .say(Action::Webhook {
                name: bench.partner.clone(),
                url,
                events: events.iter().map(|event| (*event).to_owned()).collect(),
            })
            .await;
        bench
    }

    /// What `make partner` does.
    pub async fn say(&self, action: Action) -> String {
        run(&self.superuser, WebhookPolicy { allow_private: true }, &action).await.unwrap()
    }

    /// Submits a check; its id, and that of the profile.
    pub async fn check(&self, user: &str) -> (String, String) {
        let said = json!({ "person": "anna" });
        let form =
            FormBody::new().text("user_id", user).file("selfie_video", &selfie(&said)).file("id_photo", &photo(&said));
        let answer = self.app.post("/verif/submit").key(&self.key).form(form).send().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let profile = self.superuser.find("profiles", &format!("user_id=\"{user}\"")).await.unwrap();
        (answer.text("/check_id"), profile[0]["id"].as_str().unwrap().to_owned())
    }

    /// Handles the messages of the queue, and returns what the endpoint received.
    pub async fn bring(&self) -> Vec<Received> {
        let messages = self.queue.take().await;
        assert_eq!(self.app.bring(&messages).await, Vec::<String>::new());
        self.receiver.received()
    }

    pub async fn record(&self) -> Value {
        let filter = format!("name=\"{}\"", self.partner);
        self.superuser.find("partners", &filter).await.unwrap().remove(0)
    }

    pub async fn secrets(&self) -> Vec<String> {
        let secrets = self.record().await["webhook_secrets"].clone();
        secrets.as_array().unwrap().iter().map(|secret| secret["secret"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn deliveries(&self) -> Vec<Value> {
        self.superuser.find("webhook_deliveries", "").await.unwrap()
    }

    /// Makes every webhook that waits due now.
    pub async fn wait(&self) {
        self.plan("2026-01-01 00:00:00.000Z").await;
    }

    /// Makes no webhook due while the test goes on, however long that takes.
    pub async fn postpone(&self) {
        self.plan("2126-01-01 00:00:00.000Z").await;
    }

    pub async fn plan(&self, next_attempt: &str) {
        for delivery in self.deliveries().await {
            if delivery["state"] == "pending" {
                self.change("webhook_deliveries", &delivery, json!({ "next_attempt": next_attempt })).await;
            }
        }
    }

    pub async fn change(&self, collection: &str, record: &Value, changes: Value) {
        let path = format!("/api/collections/{collection}/records/{}", record["id"].as_str().unwrap());
        self.superuser.call(reqwest::Method::PATCH, &path, Some(changes)).await.unwrap();
    }
}

/// Whether the Python library of standardwebhooks.com verifies a webhook with a secret.
async fn is_taken(received: &Received, secret: &str) -> bool {
    const RECEIVER: &str = "
import sys
from standardwebhooks import Webhook
names = ('webhook-id', 'webhook-timestamp', 'webhook-signature')
Webhook(sys.argv[1]).verify(sys.argv[2], dict(zip(names, sys.argv[3:])))
";
    let mut python = tokio::process::Command::new(root().join(".venv/bin/python"));
    python.args(["-c", RECEIVER, secret, std::str::from_utf8(&received.body).unwrap()]);
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(|name| received.header(name).to_owned());
    python.args(headers).output().await.unwrap().status.success()
}

/// How many seconds may pass between the end of an attempt and its record, on a busy machine.
const SLACK: i64 = 10;

/// How long after the end of its last attempt a webhook is tried again, in seconds.
fn delay(delivery: &Value) -> i64 {
    let time = |text: &Value| text.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let last = delivery["attempts"].as_array().unwrap().last().unwrap();
    let ended = time(&last["at"]) + TimeDelta::milliseconds(last["milliseconds"].as_i64().unwrap());
    // Rounded: PocketBase cuts off times at the millisecond.
    ((time(&delivery["next_attempt"]) - ended).num_milliseconds() + 500) / 1_000
}

#[tokio::test]
async fn the_webhook_of_an_outcome_matches_the_contract_and_verifies_with_a_public_library() {
    let bench = Bench::new(&[]).await;
    let user = unique("user");
    let (check_id, profile) = bench.check(&user).await;
    let [received] = &bench.bring().await[..] else { panic!("one webhook") };
    assert_eq!(received.header("user-agent"), "IdentityVerification/1.0");
    assert_eq!(received.header("content-type"), "application/json");
    let body = received.json();
    assert_eq!((&body["check_id"], &body["user_identifier"]), (&json!(check_id), &json!(user)));
    let result = &body["verification_result"];
    assert_eq!((&result["sessionId"], &result["status"]), (&json!(check_id), &json!("verified")));
    assert_eq!((&result["user_identifier"], &result["origin"]), (&json!(user), &json!("backend")));
    assert_eq!((&result["profile_id"], &body["id_photo_back_url"]), (&json!(profile), &Value::Null));
    assert_eq!(result["document"]["fields"]["name"], "Anna Maria Eriksson");
    assert_eq!(result["faceComparison"]["similarityScore"], 96.0);
    assert_eq!(result["verificationAssessment"]["confidenceLevel"], "high");
    assert!(body["completed_at"].as_str().unwrap().parse::<DateTime<Utc>>().is_ok());
    let video = reqwest::get(body["selfie_video_url"].as_str().unwrap()).await.unwrap();
    assert_eq!(video.bytes().await.unwrap(), selfie(&json!({ "person": "anna" })));
    assert!(body["id_photo_url"].as_str().unwrap().contains("X-Amz-Expires=3600"));

    let [secret] = &bench.secrets().await[..] else { panic!("one secret") };
    assert!(is_taken(received, secret).await);
    let mut forged = received.clone();
    forged.body = forged.body.iter().map(|byte| if *byte == b'v' { b'w' } else { *byte }).collect();
    assert!(!is_taken(&forged, secret).await);
    let delivery = &bench.deliveries().await[0];
    assert_eq!((&delivery["state"], &delivery["event"]), (&json!("delivered"), &json!("check.completed")));
    assert!(!delivery.to_string().contains("X-Amz-"), "no link is kept");
    assert_eq!(bench.app.sweep().await, (0, 0));
}

#[tokio::test]
async fn both_secrets_sign_during_a_rotation() {
    let bench = Bench::new(&[]).await;
    let [old] = &bench.secrets().await[..] else { panic!("one secret") };
    let name = bench.partner.clone();
    let said = bench.say(Action::RotateSecret { name: name.clone(), hours: 1 }).await;
    let new = bench.secrets().await.remove(0);
    assert!(said.contains(&new) && !said.contains(old.as_str()));
    bench.check(&unique("user")).await;
    let [received] = &bench.bring().await[..] else { panic!("one webhook") };
    assert_eq!(received.header("webhook-signature").split(' ').count(), 2);
    assert!(is_taken(received, old).await && is_taken(received, &new).await);
    bench.say(Action::RotateSecret { name, hours: 0 }).await;
    let record = bench.record().await;
    let mut secrets = record["webhook_secrets"].clone();
    // The hour is over.
    for secret in secrets.as_array_mut().unwrap().iter_mut().skip(1) {
        secret["until"] = "2026-01-01T00:00:00Z".into();
    }
    bench.change("partners", &record, json!({ "webhook_secrets": secrets })).await;
    bench.check(&unique("user")).await;
    let [received] = &bench.bring().await[..] else { panic!("one webhook") };
    let newest = bench.secrets().await.remove(0);
    assert!(is_taken(received, &newest).await && !is_taken(received, &new).await);
}

#[tokio::test]
async fn a_webhook_is_tried_again_by_its_schedule_with_the_same_id_and_given_up_in_the_end() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    bench.receiver.reply((0..8).map(|_| Reply::Status(500)));
    let mut ids = Vec::new();
    for planned in [5, 60, 300, 1_800, 7_200, 18_000, 36_000] {
        bench.wait().await;
        bench.app.sweep().await;
        let [received] = &bench.receiver.received()[..] else { panic!("one webhook") };
        ids.push(received.header("webhook-id").to_owned());
        let seconds = delay(&bench.deliveries().await[0]);
        assert!((planned * 8 / 10..=planned * 12 / 10 + SLACK).contains(&seconds), "{planned}: {seconds}");
        // What is not due is left alone, by the queue as well.
        bench.postpone().await;
        let id = bench.deliveries().await[0]["id"].as_str().unwrap().to_owned();
        bench.app.bring(&[id]).await;
        assert!(bench.receiver.received().is_empty());
    }
    bench.wait().await;
    bench.app.sweep().await;
    ids.push(bench.receiver.received()[0].header("webhook-id").to_owned());
    assert!(ids.iter().all(|id| *id == ids[0] && id.starts_with("msg_")), "{ids:?}");
    let delivery = &bench.deliveries().await[0];
    assert_eq!((&delivery["state"], &delivery["next_attempt"]), (&json!("failed"), &json!("")));
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 8);
    bench.app.sweep().await;
    assert!(bench.receiver.received().is_empty());
}

#[tokio::test]
async fn a_retry_that_is_near_is_queued_with_a_delay() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Status(503)]);
    assert_eq!(bench.bring().await.len(), 1);
    let announced = bench.queue.sent();
    let held_back = announced.last().unwrap()["DelaySeconds"].as_u64().unwrap();
    assert!((5..=7).contains(&held_back), "{announced:?}");
    let received = eventually("the queue's message of the next try", async || {
        Some(bench.bring().await).filter(|received| !received.is_empty())
    });
    assert_eq!(received.await.len(), 1);
    assert_eq!(bench.deliveries().await[0]["state"], "delivered");
}

#[tokio::test]
async fn retry_after_of_an_endpoint_is_respected_within_limits() {
    for (asked, least, most) in [("600", 600, 600), ("1", 4, 6), ("9999999", 36_000, 36_000)] {
        let bench = Bench::new(&[]).await;
        bench.check(&unique("user")).await;
        bench.receiver.reply([Reply::With(429, "retry-after", asked.to_owned())]);
        bench.bring().await;
        let seconds = delay(&bench.deliveries().await[0]);
        assert!((least..=most + SLACK).contains(&seconds), "{asked}: {seconds}");
    }
}

#[tokio::test]
async fn within_a_check_webhooks_keep_their_order_and_another_check_does_not_wait() {
    let bench = Bench::new(&["check.completed", "profile.status_changed"]).await;
    bench.receiver.reply([Reply::Status(500)]);
    let (first, _) = bench.check(&unique("user")).await;
    let order = |received: &[Received]| -> Vec<String> {
        let name = |body: Value| body["check_id"].as_str().or(body["type"].as_str()).unwrap().to_owned();
        received.iter().map(|received| name(received.json())).collect()
    };
    assert_eq!(order(&bench.bring().await), vec![first.clone()], "the second waits for the first");
    bench.postpone().await;
    let (second, _) = bench.check(&unique("user")).await;
    let changed = "profile.status_changed".to_owned();
    assert_eq!(order(&bench.bring().await), [second, changed.clone()]);
    bench.wait().await;
    bench.app.sweep().await;
    assert_eq!(order(&bench.receiver.received()), [first, changed]);
}

#[tokio::test]
async fn a_webhook_delivered_by_several_processes_at_once_is_sent_once() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    let messages = bench.queue.take().await;
    let twice = [messages.clone(), messages].concat();
    let (_, _, _) = tokio::join!(bench.app.bring(&twice), bench.app.bring(&twice), bench.app.sweep());
    assert_eq!(bench.receiver.received().len(), 1);
}

#[tokio::test]
async fn redirects_are_not_followed_and_long_answers_are_cut() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    let elsewhere = Receiver::new().await;
    bench.receiver.reply([Reply::With(302, "location", elsewhere.url.clone()), Reply::Long(100_000)]);
    for _ in 0..2 {
        bench.wait().await;
        bench.app.sweep().await;
    }
    assert!(elsewhere.received().is_empty());
    let delivery = bench.deliveries().await.remove(0);
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!((&attempts[0]["status"], &attempts[1]["status"]), (&json!(302), &json!(500)));
    assert_eq!(attempts[1]["response"].as_str().unwrap().len(), 1_024);
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_within_ten_seconds_has_failed() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Silence]);
    let time = async {
        bench.receiver.arrived().await;
        bench.clock.advance(Duration::from_secs(10)).await;
    };
    tokio::join!(bench.bring(), time);
    let delivery = bench.deliveries().await.remove(0);
    let attempt = &delivery["attempts"][0];
    assert_eq!((&attempt["status"], &attempt["error"]), (&Value::Null, &json!("no answer within 10 s")));
    assert!(attempt["milliseconds"].as_u64().unwrap() >= 10_000, "{attempt}");
}

#[tokio::test]
async fn an_endpoint_that_answers_410_is_disabled_until_it_is_enabled_again() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Status(410)]);
    bench.bring().await;
    assert_ne!(bench.record().await["webhook_disabled"], "");
    bench.check(&unique("user")).await;
    bench.wait().await;
    assert_eq!(bench.app.sweep().await, (0, 0));
    assert!(bench.bring().await.is_empty());
    let listed = bench.app.get("/api/webhooks/deliveries").key(&bench.key).send().await;
    assert_eq!(listed.text("/data/0/endpoint/disabled_reason"), "the endpoint answered 410 Gone");
    assert!(bench.say(Action::List).await.contains("DISABLED: the endpoint answered 410 Gone"));
    let id = listed.text("/data/0/id");
    let resent = bench.app.post(&format!("/api/webhooks/deliveries/{id}/resend")).key(&bench.key).send().await;
    assert_eq!(resent.status, 409);
    let url = bench.receiver.url.clone();
    let said = bench.say(Action::Webhook { name: bench.partner.clone(), url, events: Vec::new() }).await;
    assert!(!said.contains("whsec_"), "the secret stays, and is shown once");
    bench.app.sweep().await;
    assert_eq!(bench.receiver.received().len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_fails_for_five_days_is_disabled_and_a_success_resets_the_days() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Status(500), Reply::Status(500), Reply::Status(500)]);
    bench.bring().await;
    let ago = |time: TimeDelta| shared::pocketbase::timestamp(Utc::now() - time);
    assert_ne!(bench.record().await["webhook_failing_since"], "");
    let record = bench.record().await;
    // One failure long ago and one now are not five days of failures.
    let long_ago =
        json!({ "webhook_failing_since": ago(TimeDelta::days(6)), "webhook_last_failure": ago(TimeDelta::days(6)) });
    bench.change("partners", &record, long_ago).await;
    bench.wait().await;
    bench.app.sweep().await;
    assert_eq!(bench.record().await["webhook_disabled"], "");
    let recent = ago(TimeDelta::hours(12));
    let failing = json!({ "webhook_failing_since": ago(TimeDelta::hours(119)), "webhook_last_failure": recent });
    bench.change("partners", &record, failing).await;
    bench.wait().await;
    bench.app.sweep().await;
    assert_eq!(bench.record().await["webhook_disabled"], "");
    bench.wait().await;
    bench.app.sweep().await;
    assert_eq!((&bench.record().await["webhook_failing_since"], bench.receiver.received().len()), (&json!(""), 3));

    bench.check(&unique("user")).await;
    let record = bench.record().await;
    let failing = json!({ "webhook_failing_since": ago(TimeDelta::hours(121)), "webhook_last_failure": recent });
    bench.change("partners", &record, failing).await;
    bench.receiver.reply([Reply::Status(500)]);
    bench.bring().await;
    assert_eq!(bench.record().await["webhook_disabled_reason"], "no webhook could be delivered for 5 days");
}

#[tokio::test]
async fn webhooks_to_private_addresses_are_not_sent() {
    let bench = Bench::with(&[], &[]).await;
    let record = bench.record().await;
    let port = bench.receiver.url.split(':').nth(2).unwrap().to_owned();
    bench.check(&unique("user")).await;
    for (url, why) in [
        (format!("http://127.0.0.1:{port}"), "the URL must be https, without user and password"),
        (format!("https://127.0.0.1:{port}"), "the URL leads to an address that is not of the public internet"),
        (
            format!("https://[::ffff:127.0.0.1]:{port}"),
            "the URL leads to an address that is not of the public internet",
        ),
        (
            "https://169.254.169.254/latest/meta-data".to_owned(),
            "the URL leads to an address that is not of the public internet",
        ),
        (format!("https://localhost:{port}"), "the URL leads to an address that is not of the public internet"),
    ] {
        bench.change("partners", &record, json!({ "webhook_url": url })).await;
        bench.wait().await;
        bench.app.sweep().await;
        let delivery = bench.deliveries().await.remove(0);
        assert_eq!(delivery["attempts"].as_array().unwrap().last().unwrap()["error"], why, "{url}");
    }
    assert!(bench.receiver.received().is_empty());
    let action =
        Action::Webhook { name: bench.partner.clone(), url: "https://10.0.0.1/".to_owned(), events: Vec::new() };
    assert!(run(&bench.superuser, WebhookPolicy { allow_private: false }, &action).await.is_err());
}

#[tokio::test]
async fn a_status_change_is_sent_to_partners_that_subscribed_to_it() {
    let bench = Bench::new(&["profile.status_changed"]).await;
    let user = unique("user");
    let created = bench.app.post("/api/profiles/create").key(&bench.key).json(&json!({ "userID": user })).send().await;
    let id = created.text("/id");
    let path = format!("/api/status_history/{id}");
    for (previous, new) in [("unverified", "pending"), ("pending", "verified")] {
        let entry = json!({ "previous_status": previous, "new_status": new, "notes": "By hand" });
        assert_eq!(bench.app.post(&path).key(&bench.key).json(&entry).send().await.status, 201);
    }
    let bodies: Vec<_> = bench.bring().await.iter().map(Received::json).collect();
    let changes: Vec<_> =
        bodies.iter().map(|body| (&body["data"]["previous_status"], &body["data"]["new_status"])).collect();
    assert_eq!(changes, [(&json!("unverified"), &json!("pending")), (&json!("pending"), &json!("verified"))]);
    for body in &bodies {
        assert_eq!(body["type"], "profile.status_changed");
        assert!(body["timestamp"].as_str().unwrap().parse::<DateTime<Utc>>().is_ok());
        assert_eq!((&body["data"]["profile_id"], &body["data"]["user_identifier"]), (&json!(id), &json!(user)));
    }
    // Partners get the events they subscribed to; without a choice, not this one.
    let (_, _) = bench.check(&unique("user")).await;
    let told = bench.bring().await;
    assert_eq!(
        told.iter().map(|received| received.json()["type"].clone()).collect::<Vec<_>>(),
        ["profile.status_changed"]
    );
    let other = Bench::new(&[]).await;
    let created = other.app.post("/api/profiles/create").key(&other.key).json(&json!({ "userID": user })).send().await;
    let entry = json!({ "previous_status": "unverified", "new_status": "pending", "notes": "By hand" });
    let path = format!("/api/status_history/{}", created.text("/id"));
    assert_eq!(other.app.post(&path).key(&other.key).json(&entry).send().await.status, 201);
    assert_eq!(other.deliveries().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_partner_lists_its_webhooks_sees_one_and_has_it_sent_again() {
    let bench = Bench::new(&["check.completed", "profile.status_changed"]).await;
    let (check_id, _) = bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Status(500)]);
    bench.bring().await;
    bench.check(&unique("user")).await;
    let list =
        async |query: &str| bench.app.get(&format!("/api/webhooks/deliveries{query}")).key(&bench.key).send().await;
    let all = list("").await;
    assert_eq!(
        (all.status, all.body["data"].as_array().unwrap().len(), &all.body["next_cursor"]),
        (200, 4, &Value::Null)
    );
    let of_check = list(&format!("?check_id={check_id}")).await;
    assert_eq!(of_check.body["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        (of_check.text("/data/0/event"), of_check.text("/data/0/state")),
        ("check.completed".into(), "pending".into())
    );
    assert_eq!(of_check.body["data"][0]["attempts"][0]["status"], 500);
    let (mut pages, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?limit=3&cursor={cursor}")).await;
        pages.extend(page.body["data"].as_array().unwrap().clone());
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(Value::from(pages), all.body["data"]);
    assert_eq!(list("?state=delivered").await.body["data"], json!([]));
    for bad in ["?state=lost", "?limit=0", "?limit=101", "?limit=x", "?check_id=1", "?cursor=nonsense"] {
        assert_eq!(list(bad).await.status, 400, "{bad}");
    }

    let id = of_check.text("/data/0/id");
    let path = format!("/api/webhooks/deliveries/{id}");
    let one = bench.app.get(&path).key(&bench.key).send().await;
    assert_eq!((one.status, one.text("/data/payload/check_id")), (200, check_id.clone()));
    bench.wait().await;
    bench.app.sweep().await;
    bench.receiver.received();
    bench.queue.take().await;
    // Delivered, and once more, with the same id.
    let resend = || bench.app.post(&format!("{path}/resend")).key(&bench.key);
    assert_eq!(resend().send().await.status, 202);
    let [received] = &bench.bring().await[..] else { panic!("one webhook") };
    assert_eq!(
        (received.header("webhook-id"), &received.json()["check_id"]),
        (&*format!("msg_{id}"), &json!(check_id))
    );
    let one = bench.app.get(&path).key(&bench.key).send().await;
    assert_eq!(
        (one.text("/data/state"), one.body["data"]["attempts"].as_array().unwrap().len()),
        ("delivered".into(), 3)
    );

    // Another team sees nothing of it.
    let other = bench.app.token("other").await;
    assert_eq!(bench.app.get("/api/webhooks/deliveries").bearer(&other).send().await.body["data"], json!([]));
    assert_eq!(bench.app.get(&path).bearer(&other).send().await.status, 404);
    assert_eq!(bench.app.post(&format!("{path}/resend")).bearer(&other).send().await.status, 404);
    assert_eq!(bench.app.get("/api/webhooks/deliveries/nonsense").key(&bench.key).send().await.status, 404);
}

#[tokio::test]
async fn a_partner_sees_its_own_webhooks_and_not_those_of_another_of_its_team() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    let record = bench.record().await;
    bench
        .change("partners", &record, json!({ "webhook_url": format!("{}?token=hush-hush", bench.receiver.url) }))
        .await;
    let own = bench.app.get("/api/webhooks/deliveries").key(&bench.key).send().await;
    assert_eq!(own.body["data"].as_array().unwrap().len(), 1);
    assert!(!own.body.to_string().contains("hush-hush"), "{own:?}");
    let id = own.text("/data/0/id");
    for (path, method) in
        [(format!("/api/webhooks/deliveries/{id}"), "GET"), (format!("/api/webhooks/deliveries/{id}/resend"), "POST")]
    {
        assert_eq!(bench.app.ask(method, &path).key(SECRET_KEY).send().await.status, 404);
    }
    let others = bench.app.get("/api/webhooks/deliveries").key(SECRET_KEY).send().await;
    assert_eq!(others.body["data"], json!([]));
    // The team's own backend sees all of the team.
    let token = bench.app.token("postman").await;
    assert_eq!(bench.app.get(&format!("/api/webhooks/deliveries/{id}")).bearer(&token).send().await.status, 200);
}

#[tokio::test]
async fn a_pending_webhook_keeps_its_place_when_it_is_resent() {
    let bench = Bench::new(&["check.completed", "profile.status_changed"]).await;
    bench.receiver.reply([Reply::Status(500), Reply::Status(500)]);
    bench.check(&unique("user")).await;
    assert_eq!(bench.bring().await.len(), 1);
    let first = bench.deliveries().await.remove(0);
    let path = format!("/api/webhooks/deliveries/{}/resend", first["id"].as_str().unwrap());
    assert_eq!(bench.app.post(&path).key(&bench.key).send().await.status, 202);
    bench.app.sweep().await;
    assert_eq!(bench.receiver.received().len(), 1, "and the second still waits for it");
}

#[tokio::test]
async fn a_resent_webhook_does_not_delay_others() {
    let bench = Bench::new(&["check.completed", "profile.status_changed"]).await;
    bench.check(&unique("user")).await;
    assert_eq!(bench.bring().await.len(), 2);
    let (first, second) = (bench.deliveries().await.remove(0), bench.deliveries().await.remove(1));
    bench.receiver.reply([Reply::Status(500)]);
    for delivery in [first, second] {
        let path = format!("/api/webhooks/deliveries/{}/resend", delivery["id"].as_str().unwrap());
        assert_eq!(bench.app.post(&path).key(&bench.key).send().await.status, 202);
    }
    assert_eq!(bench.bring().await.len(), 2);
}

#[tokio::test]
async fn a_message_stays_in_the_queue_while_pocketbase_is_down() {
    let mut bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    let messages = bench.queue.take().await;
    // It has signed in, and then PocketBase goes away.
    bench.app.bring(&["nonsense".to_owned()]).await;
    bench.server.down();
    assert_eq!(bench.app.bring(&messages).await, messages);
    bench.server.up().unwrap();
    bench.server.superuser().await.unwrap();
    assert_eq!(bench.app.bring(&messages).await, Vec::<String>::new());
    assert_eq!(bench.receiver.received().len(), 1);
}

#[tokio::test]
async fn a_malformed_partner_does_not_delay_the_webhooks_of_others() {
    let bench = Bench::new(&[]).await;
    let broken = json!({
        "name": unique("broken"), "team": "team_123", "active": true, "webhook_url": bench.receiver.url,
        "webhook_secrets": "whsec_none", "webhook_events": { "all": true },
    });
    bench.superuser.create("partners", broken).await.unwrap();
    bench.check(&unique("user")).await;
    assert_eq!(bench.deliveries().await.len(), 2);
    bench.app.sweep().await;
    assert_eq!(bench.receiver.received().len(), 1);
    let deliveries = bench.deliveries().await;
    let failed = deliveries.iter().find(|delivery| delivery["state"] == "pending").unwrap();
    assert_eq!(failed["attempts"][0]["error"], "no signing secret is set");
}

#[tokio::test]
async fn a_webhook_redacted_during_its_delivery_stays_redacted() {
    let bench = Bench::new(&[]).await;
    let (_, profile) = bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Held(500)]);
    let messages = bench.queue.take().await;
    let redact = async {
        bench.receiver.arrived().await;
        let root = bench.app.token("root").await;
        let path = format!("/api/profiles/{profile}");
        assert_eq!(bench.app.ask("DELETE", &path).bearer(&root).send().await.status, 204);
        bench.receiver.release();
    };
    tokio::join!(bench.app.bring(&messages), redact);
    let delivery = bench.deliveries().await.remove(0);
    assert_eq!((&delivery["payload"], &delivery["attempts"]), (&Value::Null, &Value::Null), "{delivery}");
}

#[tokio::test]
async fn an_answer_whose_body_drips_is_cut_after_a_second() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    bench.receiver.reply([Reply::Drip(200)]);
    let time = async {
        bench.receiver.arrived().await;
        bench.clock.advance(Duration::from_secs(2)).await;
    };
    tokio::join!(bench.bring(), time);
    let delivery = bench.deliveries().await.remove(0);
    let attempt = &delivery["attempts"][0];
    assert_eq!((&delivery["state"], &attempt["status"]), (&json!("delivered"), &json!(200)));
    let milliseconds = attempt["milliseconds"].as_u64().unwrap();
    assert!((1_000..5_000).contains(&milliseconds), "{milliseconds}");
}

#[tokio::test]
async fn messages_are_grouped_by_partner() {
    let bench = Bench::new(&[]).await;
    bench.check(&unique("user")).await;
    let messages = bench.queue.sent();
    assert_eq!((messages.len(), &messages[0]["MessageGroupId"]), (1, &bench.record().await["id"]), "{messages:?}");
}
