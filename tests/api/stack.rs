//! The built binaries in the Lambda emulator, one process per concurrent request, as `make run` serves them.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use futures_util::future::join_all;
use local::server::{free_port, spawn_leashed};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{
    App, FormBody, JPEG, MP4, Mood, Proxy, STATIC_KEY, Stage, Storage, root, shared, unique, variables,
};

/// `cargo lambda watch`, gone when the tests end however they end.
pub struct Stack {
    pub url: String,
    process: Child,
    /// Marks the environment of every process of this stack.
    mark: String,
}

impl Stack {
    async fn start(pocketbase_url: &str, processes: u8) -> Self {
        Self::with(pocketbase_url, processes, Vec::new()).await
    }

    /// One with some variables of the test's own.
    pub async fn with(pocketbase_url: &str, processes: u8, own: Vec<(&'static str, String)>) -> Self {
        let port = free_port().unwrap();
        let mark = unique("stack");
        let mut watch = Command::new(root().join(".venv/bin/cargo-lambda"));
        watch
            .args(["lambda", "watch", "--quiet", "--ignore-changes", "--wait", "--concurrency", &processes.to_string()])
            .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()])
            .envs(variables(pocketbase_url))
            .envs(own)
            .env("STACK_OF_THE_TESTS", &mark);
        let process = spawn_leashed(&watch).unwrap();
        let url = format!("http://127.0.0.1:{port}");
        local::pocketbase::wait_for(&Client::new(), &url).await.unwrap();
        Self { url, process, mark }
    }

    /// The processes of a function.
    fn processes(&self, function: &str) -> Vec<u32> {
        let mark = format!("STACK_OF_THE_TESTS={}", self.mark);
        let is_ours = |process: &Path| {
            let runs = std::fs::read_link(process.join("exe")).is_ok_and(|binary| binary.ends_with(function));
            let environment = std::fs::read(process.join("environ")).unwrap_or_default();
            runs && environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        let processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        processes.filter(|path| is_ours(path)).filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
    }

    /// Kills every process of a function, which has no chance to say anything.
    pub fn kill(&self, function: &str) {
        let processes = self.processes(function);
        assert!(!processes.is_empty(), "{function} runs");
        for process in processes {
            Command::new("kill").args(["-9", &process.to_string()]).status().unwrap();
        }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        Client::new().post(format!("{}{path}", self.url))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().unwrap();
    }
}

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.timeout(Duration::from_secs(120)).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

/// Fifty creates of one person at once.
async fn race(stack: &Stack, body: Value, collection_filter: &str) {
    let create = || answer(stack.post("/api/profiles/create").header("x-api-key", STATIC_KEY).json(&body));
    let answers = join_all((0..50).map(|_| create())).await;
    let ids: BTreeSet<_> = answers.iter().map(|(_, body)| body["id"].as_str().unwrap()).collect();
    let count = |status| answers.iter().filter(|answer| answer.0 == status).count();
    assert_eq!((ids.len(), count(201), count(200)), (1, 1, 49), "{answers:?}");
    let stored = shared().await.superuser().await.unwrap().find("profiles", collection_filter).await.unwrap();
    assert_eq!(stored.len(), 1);
}

#[tokio::test]
async fn fifty_creates_at_once_for_one_person_make_one_record() {
    let stack = Stack::start(&shared().await.url, 16).await;
    // Processes start as requests wait for them, which on a busy machine one process can be faster than.
    for _ in 0..20 {
        let create = || stack.post("/api/profiles/create").header("x-api-key", STATIC_KEY);
        join_all((0..16).map(|_| answer(create().json(&json!({ "userID": unique("user") }))))).await;
        if stack.processes("create-profile").len() > 1 {
            break;
        }
    }
    let user = unique("user");
    race(&stack, json!({ "userID": user }), &format!("user_id=\"{user}\"")).await;
    assert!(stack.processes("create-profile").len() > 1, "the requests met in several processes");
    let number = unique("A");
    let document =
        json!({ "name": "Jane", "document_type": "passport", "document_number": number, "nationality": "SG" });
    race(&stack, document, &format!("document_number=\"{number}\"")).await;
}

#[tokio::test]
async fn requests_pass_through_the_local_gateway_whole() {
    let stack = Stack::start(&shared().await.url, 16).await;
    let body =
        json!({ "name": "Jane", "document_type": "passport", "document_number": unique("A"), "nationality": "SG" });
    let (status, created) =
        answer(stack.post("/api/profiles/create").header("x-api-key", STATIC_KEY).json(&body)).await;
    assert_eq!(status, 201);
    let url = format!("{}/api/profiles/{}", stack.url, created["id"].as_str().unwrap());
    let photo = [JPEG, &[0x55; 4_000_000]].concat();
    let form =
        Form::new().text("document_name", "Jané Doe").part("facial_photo", Part::bytes(photo).file_name("photo.jpg"));
    let (status, updated) = answer(Client::new().patch(&url).header("x-api-key", STATIC_KEY).multipart(form)).await;
    assert_eq!((status, &updated["data"]["document_name"]), (200, &json!("Jané Doe")), "{updated}");
    let response = Client::new().get(&url).header("x-api-key", STATIC_KEY).send().await.unwrap();
    assert!(!response.headers()["x-request-id"].is_empty());
    let response = Client::new().delete(format!("{}/api/settings", stack.url)).send().await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET".parse().unwrap()));
    assert_eq!(answer(Client::new().get(format!("{}/no/such/path", stack.url))).await.0, 404);
}

/// A process of update-profile is killed at every stage of its work: the record is as it was, or as it should be.
#[tokio::test]
async fn a_killed_update_is_done_whole_or_not_at_all() {
    let proxy = Proxy::new().await;
    let app = App::new().await;
    let superuser = shared().await.superuser().await.unwrap();
    let image = |fill: u8| [JPEG, &vec![fill; 1_400_000]].concat();
    let form = || {
        FormBody::new()
            .text("document_name", "new")
            .file("document_front", &image(1))
            .file("document_back", &image(2))
            .file("facial_photo", &image(3))
    };
    for (stage, is_done) in [
        (Stage::Reading, Some(false)),
        // More is missing than the kernel would still deliver for the dead process.
        (Stage::Writing(1), Some(false)),
        (Stage::Writing(2_000_000), None),
        (Stage::Written, Some(true)),
    ] {
        // The emulator does not replace a process that was killed, so each gets an emulator of its own.
        let stack = Stack::start(&proxy.url, 1).await;
        let (id, _) = app.profile("postman").await;
        proxy.set(Mood::Pausing(stage));
        let (content_type, body) = (form().content_type(), form().finish());
        let request = Client::new().patch(format!("{}/api/profiles/{id}", stack.url)).header("x-api-key", STATIC_KEY);
        let request = tokio::spawn(request.header("content-type", content_type).body(body).send());
        tokio::time::timeout(Duration::from_secs(60), proxy.paused()).await.expect("the update gets this far");
        stack.kill("update-profile");
        request.abort();
        // Longer than the pause: what PocketBase will ever get, it has.
        tokio::time::sleep(Duration::from_secs(3)).await;
        proxy.set(Mood::Honest);
        let record = &superuser.find("profiles", &format!("id=\"{id}\"")).await.unwrap()[0];
        let fields =
            ["document_name", "document_front", "document_back", "facial_photo"].map(|field| record[field] != "");
        let is_done = is_done.unwrap_or(fields[0]);
        assert_eq!(fields, [is_done; 4], "{stage:?}: {record}");
        let again = app.patch(&format!("/api/profiles/{id}")).key(STATIC_KEY).form(form()).send().await;
        assert_eq!(again.status, 200, "the same request works afterwards: {again:?}");
    }
}

/// What stops a function at its start is said on standard error, by the name of the variable and never by its value.
#[tokio::test]
async fn a_function_with_a_bad_setting_does_not_start_and_says_which() {
    for (function, name, value, complaint) in [
        ("get-settings", "JWT_SECRET", "too-short-a-secret", "JWT_SECRET must be at least 32 bytes long"),
        ("issue-token", "JWT_SECRET", "too-short-a-secret", "JWT_SECRET must be at least 32 bytes long"),
        ("create-profile", "CLIENT_URL", "", "CLIENT_URL is not set"),
        ("health", "PB_USER_PASSWORD", "", "PB_USER_PASSWORD is not set"),
        ("get-profile", "PUBLIC_STATUS_LOOKUP", "perhaps", "PUBLIC_STATUS_LOOKUP must be true or false"),
    ] {
        let mut started = Command::new(root().join("target/debug").join(function));
        started.envs(variables(&shared().await.url)).env(name, value).env("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1");
        let output = started.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(complaint), "{function}: {said}");
        assert!(value.is_empty() || !said.contains(value), "{said}");
    }
}

/// A video of 50 MB goes from the bucket to PocketBase through a process that never holds it.
#[tokio::test]
async fn a_large_upload_is_stored_without_being_held_in_memory() {
    let storage = Storage::new().await;
    let own = storage.variables().into_iter().chain([("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "s")]);
    let own: Vec<_> = own.map(|(name, value)| (name, value.to_owned())).collect();
    let stack = Stack::with(&shared().await.url, 1, own).await;
    let app = App::with(&storage.variables()).await;
    let (id, flow) = app.profile("postman").await;
    let mut video = MP4.to_vec();
    video.resize(50 * 1024 * 1024, 0x55);
    let text = app.upload(&flow, "facial_video", "video/mp4", &video).await;
    drop(video);
    let form = Form::new().text("facial_video", text);
    let request = Client::new().patch(format!("{}/api/profiles/{id}", stack.url)).bearer_auth(&flow).multipart(form);
    let (status, updated) = answer(request).await;
    assert_eq!(status, 200, "{updated}");
    let mut find = Command::new("find");
    find.arg(shared().await.data().join("storage")).args(["-path", &format!("*/{id}/*"), "-size", "52428800c"]);
    assert_eq!(String::from_utf8_lossy(&find.output().unwrap().stdout).lines().count(), 1, "it is stored whole");
    for process in stack.processes("update-profile") {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
        let megabytes = peak.unwrap() / 1024;
        println!("update-profile had at most {megabytes} MB resident");
        assert!(megabytes < 64, "{megabytes} MB");
    }
}
