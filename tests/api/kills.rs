//! Processes that are killed on the way from a submission to its webhook: nothing is half done, and no webhook is lost.
//!
//! The built binaries run behind the local gateway. A proxy before PocketBase holds one call, and the process that waits for it is killed; then
//! the next call, and so on.

use std::time::Duration;

use local::functions::Function;
use local::gateway::Gateway;
use local::pocketbase::Superuser;
use local::server::Server;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::stack::Stack;
use crate::support::{
    App, FormBody, Mood, Proxy, Queue, Receiver, Reply, SECRET_KEY, Storage, eventually, own_server, photo, root,
    selfie, stand_ins, unique,
};

struct Bench {
    server: Server,
    superuser: Superuser,
    proxy: Proxy,
    receiver: Receiver,
    /// The variables of the processes.
    variables: Vec<(String, String)>,
    /// The functions in this process, which are not killed.
    app: App,
}

impl Bench {
    async fn new() -> Self {
        let (server, storage, queue, receiver) =
            (own_server().await, Storage::new().await, Queue::new().await, Receiver::new().await);
        let superuser = server.superuser().await.unwrap();
        let partner = superuser.find("partners", "").await.unwrap().remove(0);
        let changes = json!({
            "webhook_url": receiver.url,
            "webhook_secrets": [{ "secret": "whsec_ZGV2ZWxvcG1lbnQtb25seS1zaWduaW5nLXNlY3JldA==" }],
        });
        let path = format!("/api/collections/partners/records/{}", partner["id"].as_str().unwrap());
        superuser.call(Method::PATCH, &path, Some(changes)).await.unwrap();
        let (_, standins) = stand_ins();
        let own = storage.variables().into_iter().chain(queue.variables()).chain([
            ("ALLOW_PRIVATE_WEBHOOKS", "true"),
            // The longest that is allowed: a busy machine must not fail a test.
            ("PB_TIMEOUT_MS", "20000"),
        ]);
        let own: Vec<_> = own.collect();
        let services = local::standins::variables(&shared::env::Env::default(), &standins, "http://127.0.0.1:1");
        let services = services.into_iter().map(|(name, value)| (name.to_owned(), value));
        let variables = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        // The sign-in by password is one of the calls.
        let variables = services.chain(variables).chain([("PB_AUTH_TOKEN".to_owned(), String::new())]).collect();
        let app = App::at(&server.url, &own);
        let proxy = Proxy::to(&server.url).await;
        Self { server, superuser, proxy, receiver, variables, app }
    }

    /// Sends a request to a process of a function, and kills it when the proxy holds a call. Whether a call was held before the request was
    /// answered.
    async fn kill(&self, mood: Mood, function: &str, request: impl FnOnce(&str) -> reqwest::RequestBuilder) -> bool {
        let gateway = Gateway::start().await.unwrap();
        // Before the process starts: signing in is a call too.
        self.proxy.set(mood);
        let functions = [Function::new(function, 1)];
        let mut stack = Stack::behind(gateway, &self.proxy.url, &functions, self.variables.clone()).await;
        let mut request = tokio::spawn(request(&stack.url).timeout(Duration::from_secs(120)).send());
        let is_held = tokio::select! {
            () = self.proxy.paused() => true,
            done = &mut request => {
                let status = done.unwrap().unwrap().status();
                assert!(status.is_success(), "{status}");
                false
            }
        };
        stack.functions.kill(function).await;
        request.abort();
        self.proxy.set(Mood::Honest);
        // What PocketBase will ever get, it has got and answered.
        self.proxy.idle().await;
        is_held
    }

    async fn find(&self, collection: &str, filter: &str) -> Vec<Value> {
        self.superuser.find(collection, filter).await.unwrap()
    }

    /// Whether a person's check was decided: then all that follows from it is there, else nothing of it.
    async fn is_decided(&self, user: &str) -> bool {
        let profiles = self.find("profiles", &format!("user_id=\"{user}\"")).await;
        let Some(profile) = profiles.first() else { return false };
        let of_profile = format!("profile={}", profile["id"]);
        let checks = self.find("checks", &of_profile).await;
        // The media are the same for all people: only the first is verified with them.
        let is_decided = |check: &&Value| check["status"] == "verified" || check["status"] == "pending";
        let decided: Vec<_> = checks.iter().filter(is_decided).collect();
        let mut counts = Vec::new();
        for collection in ["verification_history", "status_history", "webhook_deliveries"] {
            counts.push(self.find(collection, &of_profile).await.len());
        }
        assert_eq!(counts, vec![decided.len(); 3], "{checks:?}");
        let status = decided.first().map_or(&Value::Null, |check| &check["status"]);
        let status = status.as_str().unwrap_or("unverified");
        assert_eq!(profile["verification_status"], status);
        assert!(decided.len() < 2);
        decided.len() == 1
    }

    /// Ages the leases and the checks in the database, so that they are over.
    async fn age(&mut self) {
        const AGE: &str = "
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    past = '2026-01-01 00:00:00.000Z'
    database.execute(\"UPDATE webhook_deliveries SET leased_until = ? WHERE leased_until != ''\", (past,))
    database.execute(\"UPDATE webhook_deliveries SET next_attempt = ? WHERE state = 'pending'\", (past,))
    database.execute(\"UPDATE checks SET created = ? WHERE status = 'processing'\", (past,))
";
        self.server.down();
        let mut python = tokio::process::Command::new(root().join(".venv/bin/python"));
        let aged = python.args(["-c", AGE]).arg(self.server.data().join("data.db")).output().await.unwrap();
        assert!(aged.status.success(), "{aged:?}");
        self.server.up().unwrap();
        self.superuser = self.server.superuser().await.unwrap();
    }
}

fn media() -> (Vec<u8>, Vec<u8>) {
    let anna = json!({ "person": "anna" });
    (selfie(&anna), photo(&anna))
}

fn submission(url: &str, user: &str) -> reqwest::RequestBuilder {
    let (video, image) = media();
    let form = Form::new()
        .text("api_key", SECRET_KEY)
        .text("user_identifier", user.to_owned())
        .part("selfie_video", Part::bytes(video).file_name("selfie.webm"))
        .part("id_photo", Part::bytes(image).file_name("id.jpg"));
    Client::new().post(format!("{url}/verif/submit")).multipart(form)
}

#[tokio::test]
async fn a_submission_that_is_killed_at_any_call_is_decided_whole_or_not_at_all_and_its_webhook_goes_out() {
    let mut bench = Bench::new().await;
    let mut expected = Vec::new();
    let mut steps = 0;
    for calls in 0.. {
        let user = unique("user");
        if !bench.kill(Mood::Before(calls), "submit-verification", |url| submission(url, &user)).await {
            assert!(bench.is_decided(&user).await, "it was not killed");
            expected.push(user);
            steps = calls;
            break;
        }
        assert!(!bench.is_decided(&user).await, "killed before call {calls}");
        // The same submission works afterwards.
        if calls % 2 == 0 {
            let (video, image) = media();
            let form = FormBody::new().text("api_key", SECRET_KEY).text("user_identifier", &user);
            let form = form.file("selfie_video", &video).file("id_photo", &image);
            assert_eq!(bench.app.post("/verif/submit").form(form).send().await.status, 200);
            assert!(bench.is_decided(&user).await);
            expected.push(user);
        }
    }
    assert!(steps >= 5, "signing in, the key, the profile, the check, the partners, the outcome: {steps}");
    // The last call is the outcome: PocketBase has written it, and the process never learns that.
    let user = unique("user");
    assert!(bench.kill(Mood::Behind(steps - 1), "submit-verification", |url| submission(url, &user)).await);
    assert!(bench.is_decided(&user).await);
    expected.push(user);

    bench.age().await;
    let (_, abandoned) = bench.app.sweep().await;
    let processing = bench.find("checks", "status=\"processing\"").await;
    assert!(abandoned > 0 && processing.is_empty(), "the sweep ends what was abandoned: {abandoned}, {processing:?}");
    let told: Vec<_> =
        bench.receiver.received().iter().map(|received| received.json()["user_identifier"].clone()).collect();
    assert_eq!(told.len(), expected.len(), "{told:?}");
    assert!(expected.iter().all(|user| told.contains(&json!(user))), "{told:?} {expected:?}");
}

#[tokio::test]
async fn a_delivery_that_is_killed_at_any_call_is_delivered_all_the_same() {
    let mut bench = Bench::new().await;
    let invoke = |url: &str, id: &str| {
        let event = json!({ "Records": [{ "messageId": "1", "body": id }] });
        Client::new().post(format!("{url}/2015-03-31/functions/deliver-webhook/invocations")).json(&event)
    };
    let mut killed = 0;
    for calls in 0.. {
        let user = unique("user");
        let (video, image) = media();
        let form = FormBody::new().text("api_key", SECRET_KEY).text("user_identifier", &user);
        let form = form.file("selfie_video", &video).file("id_photo", &image);
        assert_eq!(bench.app.post("/verif/submit").form(form).send().await.status, 200);
        let delivery = bench.find("webhook_deliveries", "state=\"pending\"").await.remove(0);
        let id = delivery["id"].as_str().unwrap().to_owned();
        let is_held = bench.kill(Mood::Before(calls), "deliver-webhook", |url| invoke(url, &id)).await;
        if is_held {
            bench.age().await;
            bench.app.sweep().await;
        }
        killed += usize::from(is_held);
        assert_eq!(bench.find("webhook_deliveries", &format!("id=\"{id}\"")).await[0]["state"], "delivered", "{calls}");
        let received = bench.receiver.received();
        // Twice when it was killed between sending it and writing that down; always under one id.
        assert!((1..=2).contains(&received.len()), "{calls}: {}", received.len());
        assert!(received.iter().all(|received| received.header("webhook-id") == format!("msg_{id}")));
        if !is_held {
            break;
        }
    }
    assert!(killed >= 4, "signing in, the queue, the lease, what became of it: {killed}");

    // And while the endpoint has it.
    let (video, image) = media();
    let form = FormBody::new().text("api_key", SECRET_KEY).text("user_identifier", &unique("user"));
    let form = form.file("selfie_video", &video).file("id_photo", &image);
    assert_eq!(bench.app.post("/verif/submit").form(form).send().await.status, 200);
    let id = bench.find("webhook_deliveries", "state=\"pending\"").await[0]["id"].as_str().unwrap().to_owned();
    bench.receiver.reply([Reply::Silence]);
    let (gateway, functions) = (Gateway::start().await.unwrap(), [Function::new("deliver-webhook", 1)]);
    let mut stack = Stack::behind(gateway, &bench.server.url, &functions, bench.variables.clone()).await;
    let request = tokio::spawn(invoke(&stack.url, &id).send());
    eventually("a webhook at the endpoint", async || (!bench.receiver.received().is_empty()).then_some(())).await;
    stack.functions.kill("deliver-webhook").await;
    request.abort();
    // Nobody else has it while the dead process's lease lasts.
    bench.app.sweep().await;
    assert!(bench.receiver.received().is_empty());
    bench.age().await;
    bench.app.sweep().await;
    assert_eq!(bench.receiver.received().len(), 1);
    assert_eq!(bench.find("webhook_deliveries", "state=\"pending\"").await, Vec::<Value>::new());
}
