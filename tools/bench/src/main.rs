//! `make bench`: start time, resident memory and warm request time of each function of the release build.
//!
//! The references, an empty function and PocketBase itself, are measured in the same run, because the speed of a machine drifts.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use local::Error;
use local::process::root;
use local::server::Server;
use local::standins::StandIns;
use reqwest::Client;
use shared::env::Env;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};

/// The number of measured starts of each function, after one that is not measured.
const STARTS: usize = 15;

/// The number of measured warm requests.
const REQUESTS: usize = 300;

/// Lambda's Runtime API: gives out events and takes responses.
struct Runtime {
    address: String,
    asked: mpsc::UnboundedReceiver<Instant>,
    answered: mpsc::UnboundedReceiver<Instant>,
    events: mpsc::UnboundedSender<String>,
}

struct Ends {
    asked: mpsc::UnboundedSender<Instant>,
    answered: mpsc::UnboundedSender<Instant>,
    events: Mutex<mpsc::UnboundedReceiver<String>>,
}

impl Runtime {
    async fn new() -> Result<Self, Error> {
        let (asked_sender, asked) = mpsc::unbounded_channel();
        let (answered_sender, answered) = mpsc::unbounded_channel();
        let (events, event_receiver) = mpsc::unbounded_channel();
        let ends = Ends { asked: asked_sender, answered: answered_sender, events: Mutex::new(event_receiver) };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .with_state(Arc::new(ends));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(other)?;
        let address = listener.local_addr().map_err(other)?.to_string();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, asked, answered, events })
    }
}

async fn next(State(ends): State<Arc<Ends>>) -> impl IntoResponse {
    let _ = ends.asked.send(Instant::now());
    let event = ends.events.lock().await.recv().await.unwrap_or_default();
    let headers = [("lambda-runtime-aws-request-id", "bench"), ("lambda-runtime-deadline-ms", "4102444800000")];
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(name, axum::http::HeaderValue::from_static(value));
    }
    (map, event)
}

async fn response(State(ends): State<Arc<Ends>>, _body: Bytes) {
    let _ = ends.answered.send(Instant::now());
}

fn other(error: impl std::fmt::Display) -> Error {
    Error::new(error.to_string())
}

fn start(binary: &str, runtime: &Runtime, variables: &[(String, String)]) -> Result<Child, Error> {
    Command::new(root().join("target/release").join(binary))
        .env("AWS_LAMBDA_RUNTIME_API", &runtime.address)
        .envs([("AWS_LAMBDA_FUNCTION_NAME", binary), ("AWS_LAMBDA_FUNCTION_VERSION", "1")])
        .envs([("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"), ("AWS_LAMBDA_LOG_LEVEL", "error")])
        .envs(variables.iter().cloned())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| Error::new(format!("{binary}: {error}: run `make bench`")))
}

async fn received(channel: &mut mpsc::UnboundedReceiver<Instant>) -> Result<Instant, Error> {
    let waited = tokio::time::timeout(Duration::from_secs(30), channel.recv()).await;
    waited.ok().flatten().ok_or_else(|| Error::new("a function stopped"))
}

/// Milliseconds from exec to the first call for an event, and resident megabytes at that time.
async fn start_once(binary: &str, variables: &[(String, String)]) -> Result<(f64, f64), Error> {
    let mut runtime = Runtime::new().await?;
    let begun = Instant::now();
    let process = start(binary, &runtime, variables)?;
    let asked = received(&mut runtime.asked).await?;
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", process.id().unwrap_or_default())).map_err(other)?;
    let resident =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<f64>().ok());
    Ok((milliseconds(asked - begun), resident.unwrap_or_default() / 1024.0))
}

/// Milliseconds of a warm request, from giving out the event to receiving the response.
async fn warm(binary: &str, event: &str, variables: &[(String, String)]) -> Result<f64, Error> {
    let mut runtime = Runtime::new().await?;
    let _process = start(binary, &runtime, variables)?;
    let mut times = Vec::new();
    for _ in 0..=REQUESTS {
        received(&mut runtime.asked).await?;
        let begun = Instant::now();
        runtime.events.send(event.to_owned()).map_err(other)?;
        times.push(milliseconds(received(&mut runtime.answered).await? - begun));
    }
    Ok(median(times.split_off(1)))
}

async fn long_lived_token(server: &Server, env: &Env) -> Result<String, Error> {
    server.superuser().await?.impersonate(env.require("PB_USER_EMAIL")?, Duration::from_secs(3_600)).await
}

async fn bare_pocketbase(server: &Server) -> Result<f64, Error> {
    let superuser = server.superuser().await?;
    let path = format!("/api/collections/profiles/records/{}", local::seed::SPECIMEN_PROFILE);
    let mut times = Vec::new();
    for _ in 0..=REQUESTS {
        let begun = Instant::now();
        superuser.call(reqwest::Method::GET, &path, None).await?;
        times.push(milliseconds(begun.elapsed()));
    }
    Ok(median(times.split_off(1)))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut variables: Vec<(String, String)> = std::env::vars().collect();
    let env: Env = variables.iter().cloned().collect();
    let server = Server::start("127.0.0.1", &env).await?;
    variables.push(("POCKETBASE_URL".to_owned(), server.url.clone()));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(other)?;
    let standins = format!("http://{}", listener.local_addr().map_err(other)?);
    tokio::spawn(StandIns::default().serve(listener));
    // No AWS: the time of moto would mean nothing.
    let services = local::standins::variables(&env, &standins, "http://127.0.0.1:1");
    variables.extend(services.into_iter().map(|(name, value)| (name.to_owned(), value)));
    // Upload forms are signed without a call of S3.
    variables.extend(
        [("UPLOADS_BUCKET", "bench"), ("MAX_UPLOADS", "1000")].map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    // A start includes the sign-in at PocketBase, a bcrypt comparison there, so it is measured with and without.
    local::pocketbase::wait_for(&Client::new(), &server.url).await?;
    let without = [variables.clone(), vec![("POCKETBASE_URL".to_owned(), "http://127.0.0.1:1".to_owned())]].concat();

    let with_token =
        [variables.clone(), vec![("PB_AUTH_TOKEN".to_owned(), long_lived_token(&server, &env).await?)]].concat();

    let mut functions: Vec<String> = std::fs::read_dir(root().join("functions"))
        .map_err(other)?
        .filter_map(|folder| folder.ok()?.file_name().into_string().ok())
        .collect();
    functions.sort();
    functions.insert(0, "empty".to_owned());
    println!("Starts: exec to the first request asked for, median of {STARTS}; memory resident then.");
    println!("init: PocketBase out of reach; then signing in with the password, and with PB_AUTH_TOKEN.");
    println!("{:<26}{:>8}{:>9}{:>10}{:>8}{:>8}{:>9}", "", "init ms", "× empty", "password", "token", "MB", "× empty");
    let mut floor = None;
    for function in &functions {
        let (mut alone, mut signed_in, mut by_token, mut memory) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        start_once(function, &variables).await?;
        for _ in 0..STARTS {
            alone.push(start_once(function, &without).await?.0);
            let (time, resident) = start_once(function, &variables).await?;
            signed_in.push(time);
            memory.push(resident);
            by_token.push(start_once(function, &with_token).await?.0);
        }
        let (alone, signed_in, by_token, memory) = (median(alone), median(signed_in), median(by_token), median(memory));
        let (floor_time, floor_memory) = *floor.get_or_insert((alone, memory));
        let ratios = (alone / floor_time, memory / floor_memory);
        println!(
            "{function:<26}{alone:>8.1}{:>9.1}{signed_in:>10.1}{by_token:>8.1}{memory:>8.1}{:>9.1}",
            ratios.0, ratios.1
        );
    }

    println!("\nWarm requests, median of {REQUESTS}:");
    let event = |path: &str| std::fs::read_to_string(root().join("events").join(path)).map_err(other);
    let bare = bare_pocketbase(&server).await?;
    println!("{:<34}{bare:>8.2} ms", "PocketBase itself, one record");
    for (function, path) in [
        ("empty", "get-profile/200-bearer.json"),
        ("issue-token", "issue-token/200-json.json"),
        ("get-profile", "get-profile/200-bearer.json"),
        ("get-settings", "get-settings/200-bearer.json"),
        ("create-profile", "create-profile/200-known-person.json"),
        ("record-status", "record-status/201-pending.json"),
        ("update-profile", "update-profile/200-document-photo.json"),
        ("get-liveness-results", "get-liveness-results/200-stored-result.json"),
        ("create-liveness-session", "create-liveness-session/200-with-audit-images.json"),
        ("analyze-document", "analyze-document/200-passport.json"),
        ("create-upload", "create-upload/201-flow-token.json"),
        ("verification-page", "verification-page/200-flow-token.json"),
        ("list-deliveries", "list-deliveries/200-pending.json"),
    ] {
        let time = warm(function, &event(path)?, &variables).await?;
        println!("{function:<34}{time:>8.2} ms{:>8.1} × PocketBase itself", time / bare);
    }
    Ok(())
}
