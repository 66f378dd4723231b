//! The built binaries behind the local gateway, one process per concurrent request, as `make run` serves them.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use futures_util::future::join_all;
use local::functions::{Function, Functions, Output};
use local::gateway::Gateway;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};

use crate::support::{
    App, FormBody, JPEG, MP4, Mood, Proxy, STATIC_KEY, Stage, Storage, root, shared, unique, variables, within,
};

/// A gateway with processes of some functions.
pub struct Stack {
    pub url: String,
    pub functions: Functions,
    // Ends after the functions.
    _gateway: Gateway,
}

impl Stack {
    /// Processes of functions that are ready for requests.
    async fn start(pocketbase_url: &str, functions: &[Function]) -> Self {
        let stack = Self::behind(Gateway::start().await.unwrap(), pocketbase_url, functions, Vec::new()).await;
        stack.functions.ready().await.unwrap();
        stack
    }

    /// Processes that are starting, with some variables of the test's own.
    pub async fn behind(
        gateway: Gateway,
        pocketbase_url: &str,
        functions: &[Function],
        own: Vec<(String, String)>,
    ) -> Self {
        // The longest that is allowed: a busy machine must not fail a test.
        let patient = vec![("PB_TIMEOUT_MS".to_owned(), "20000".to_owned())];
        let variables = [variables(pocketbase_url), patient, own].concat();
        let functions = Functions::start(&gateway.url, functions, variables, Output::Discard).await.unwrap();
        Self { url: gateway.url.clone(), functions, _gateway: gateway }
    }

    fn post(&self, path: &str) -> RequestBuilder {
        Client::new().post(format!("{}{path}", self.url))
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
    let stack = Stack::start(&shared().await.url, &[Function::new("create-profile", 16)]).await;
    let user = unique("user");
    race(&stack, json!({ "userID": user }), &format!("user_id=\"{user}\"")).await;
    let requests = stack.functions.requests("create-profile");
    assert!(requests.iter().filter(|requests| **requests > 0).count() > 1, "several processes compete: {requests:?}");
    let number = unique("A");
    let document =
        json!({ "name": "Jane", "document_type": "passport", "document_number": number, "nationality": "SG" });
    race(&stack, document, &format!("document_number=\"{number}\"")).await;
}

#[tokio::test]
async fn requests_pass_through_the_local_gateway_whole() {
    let functions = ["create-profile", "update-profile", "get-profile", "verification-page"];
    let functions = functions.map(|binary| Function::new(binary, 1));
    let functions = [&functions[..], &[Function::default_route("not-found", 1)]].concat();
    let stack = Stack::start(&shared().await.url, &functions).await;
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
    for method in ["DELETE", "PUT", "TRACE"] {
        let url = format!("{}/api/settings", stack.url);
        let request = Client::new().request(method.parse().unwrap(), url).timeout(Duration::from_secs(120));
        let response = request.send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (405, &"GET".parse().unwrap()));
    }
    assert_eq!(answer(Client::new().get(format!("{}/no/such/path", stack.url))).await.0, 404);
    for (path, status) in [("/verif", 400), ("/verif/", 400), ("/verif/other/path", 404), ("/verif/submit", 405)] {
        assert_eq!(answer(Client::new().get(format!("{}{path}", stack.url))).await.0, status, "{path}");
    }
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
        let mut stack = Stack::start(&proxy.url, &[Function::new("update-profile", 1)]).await;
        let (id, _) = app.profile("postman").await;
        proxy.set(Mood::Pausing(stage));
        let (content_type, body) = (form().content_type(), form().finish());
        let request = Client::new().patch(format!("{}/api/profiles/{id}", stack.url)).header("x-api-key", STATIC_KEY);
        let request = tokio::spawn(request.header("content-type", content_type).body(body).send());
        within(&format!("an update at {stage:?}"), proxy.paused()).await;
        stack.functions.kill("update-profile").await;
        request.abort();
        proxy.set(Mood::Honest);
        // What PocketBase will ever get, it has got and answered.
        proxy.idle().await;
        let record = &superuser.find("profiles", &format!("id=\"{id}\"")).await.unwrap()[0];
        let fields =
            ["document_name", "document_front", "document_back", "facial_photo"].map(|field| record[field] != "");
        let is_done = is_done.unwrap_or(fields[0]);
        assert_eq!(fields, [is_done; 4], "{stage:?}: {record}");
        let again = app.patch(&format!("/api/profiles/{id}")).key(STATIC_KEY).form(form()).send().await;
        assert_eq!(again.status, 200, "the same request works afterwards: {again:?}");
    }
}

/// As at API Gateway, which answers 500 when a process ends during a request.
#[tokio::test]
async fn a_process_that_ends_is_replaced_and_its_request_is_answered() {
    let proxy = Proxy::new().await;
    let (id, _) = App::new().await.profile("postman").await;
    let stack = Stack::start(&proxy.url, &[Function::new("get-profile", 1)]).await;
    let get = || Client::new().get(format!("{}/api/profiles/{id}", stack.url)).header("x-api-key", STATIC_KEY);
    proxy.set(Mood::Pausing(Stage::Reading));
    let request = tokio::spawn(answer(get()));
    proxy.paused().await;
    let killed = stack.functions.processes("get-profile");
    let kill = Command::new("kill").args(["-9", &killed[0].to_string()]).status().unwrap();
    assert!(kill.success() && killed.len() == 1, "{killed:?}");
    assert_eq!(request.await.unwrap(), (500, json!({ "message": "Internal Server Error" })));
    proxy.set(Mood::Honest);
    assert_eq!(answer(get()).await.0, 200);
    let replaced = stack.functions.processes("get-profile");
    assert!(replaced.len() == 1 && replaced != killed, "{killed:?} {replaced:?}");
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
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (gateway, function) = (Gateway::start().await.unwrap(), Function::new("update-profile", 1));
    let stack = Stack::behind(gateway, &shared().await.url, &[function], own).await;
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
    for process in stack.functions.processes("update-profile") {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok());
        let megabytes = peak.unwrap() / 1024;
        println!("update-profile had at most {megabytes} MB resident");
        assert!(megabytes < 64, "{megabytes} MB");
    }
}
