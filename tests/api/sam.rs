//! Tests of the release build in Lambda's own emulators: `make test-sam`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use local::process::{Background, free_port};
use local::server::Server;
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use shared::env::Env;

use crate::support::{JPEG, STATIC_KEY, Storage, development, moto, root, stand_ins, template};

const SPECIMEN: &str = local::seed::SPECIMEN_PROFILE;

async fn pocketbase() -> Server {
    Server::start("0.0.0.0", &development().into_iter().collect::<Env>()).await.unwrap()
}

fn start(program: &Path, arguments: &[String], variables: &[(String, String)]) -> Background {
    let mut command = Command::new(program);
    command.args(arguments).envs(variables.iter().cloned());
    Background::start(command).unwrap()
}

fn sam() -> PathBuf {
    root().join(".venv-sam/bin/sam")
}

/// The Runtime Interface Emulator that the SAM CLI brings.
fn runtime_emulator() -> PathBuf {
    let library = std::fs::read_dir(root().join(".venv-sam/lib")).unwrap().next().unwrap().unwrap().path();
    let machine = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    library.join("site-packages/samcli/local/rapid").join(format!("aws-lambda-rie-{machine}"))
}

#[tokio::test]
#[ignore = "needs `make build`: make test-sam"]
async fn every_event_answers_as_its_name_says() {
    let server = pocketbase().await;
    let functions: BTreeSet<_> = template().functions.into_values().collect();
    let (_standins, standins_url) = stand_ins();
    let services = local::standins::variables(&development().into_iter().collect(), &standins_url, &moto().await.url);
    let services = services.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let storage = Storage::new().await;
    let ffmpeg = root().join(".venv/bin/ffmpeg").display().to_string();
    let own = storage.variables().into_iter().chain([("POCKETBASE_URL", &*server.url), ("FFMPEG_PATH", &ffmpeg)]);
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let variables = [development(), services, own].concat();
    let mut events = 0;
    for binary in functions {
        let (port, runtime_port) = (free_port().unwrap(), free_port().unwrap());
        let arguments = [
            "--runtime-interface-emulator-address".to_owned(),
            format!("127.0.0.1:{port}"),
            "--runtime-api-address".to_owned(),
            format!("127.0.0.1:{runtime_port}"),
            root().join(format!("target/lambda/{binary}/bootstrap")).display().to_string(),
        ];
        let _emulator = start(&runtime_emulator(), &arguments, &variables);
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/function/invocations");
        local::pocketbase::wait_for(&Client::new(), &format!("http://127.0.0.1:{port}/")).await.unwrap();
        let mut files: Vec<_> =
            std::fs::read_dir(root().join("events").join(&binary)).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_stem().unwrap().to_str().unwrap();
            let event = std::fs::read_to_string(&file).unwrap();
            let answer: Value = Client::new().post(&url).body(event).send().await.unwrap().json().await.unwrap();
            if name.starts_with("sqs-") || name.starts_with("schedule-") {
                assert!(answer.is_object() && answer.get("errorMessage").is_none(), "{binary}/{name}: {answer}");
            } else {
                assert_eq!(answer["statusCode"].to_string(), name[..3], "{binary}/{name}: {answer}");
                assert_eq!(answer["headers"]["x-request-id"], "sample-event");
            }
            events += 1;
        }
    }
    assert!(events >= 9);
}

fn has_docker() -> bool {
    Command::new("docker").arg("info").output().is_ok_and(|output| output.status.success())
}

#[tokio::test]
#[ignore = "needs `make build`, and Docker: make test-sam"]
async fn the_http_api_passes_forms_and_routes_under_sam_local() {
    if !has_docker() {
        println!("SKIPPED: there is no Docker, which `sam local start-api` needs");
        return;
    }
    let server = pocketbase().await;
    let port = free_port().unwrap();
    // This file beats what the shell of whoever runs the tests has set.
    let settings =
        [development(), vec![("POCKETBASE_URL".to_owned(), format!("http://host.docker.internal:{}", server.port))]]
            .concat();
    let settings: String = settings.iter().map(|(name, value)| format!("{name}=\"{value}\"\n")).collect();
    let file = tempfile::NamedTempFile::with_suffix(".env").unwrap();
    std::fs::write(file.path(), settings).unwrap();
    let mut arguments: Vec<String> =
        ["local", "start-api", "--port", &port.to_string(), "--warm-containers", "LAZY"].map(str::to_owned).to_vec();
    arguments.extend(["--add-host", "host.docker.internal:host-gateway", "--env-vars"].map(str::to_owned));
    arguments.push(file.path().display().to_string());
    // Where the base image is there already it need not be fetched.
    let image = "public.ecr.aws/lambda/provided:al2023-x86_64";
    if Command::new("docker").args(["image", "inspect", image]).output().is_ok_and(|output| output.status.success()) {
        arguments.insert(2, "--skip-pull-image".to_owned());
    }
    let region = [("AWS_DEFAULT_REGION", "us-east-1"), ("SAM_CLI_TELEMETRY", "0")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let _api = start(&sam(), &arguments, &region);
    let api = format!("http://127.0.0.1:{port}");
    local::pocketbase::wait_for(&Client::new(), &format!("{api}/no/such/path")).await.unwrap();

    let send = async |request: reqwest::RequestBuilder| -> Response {
        request.timeout(Duration::from_secs(120)).send().await.unwrap()
    };
    let photo = [JPEG, &[0x55; 300_000]].concat();
    let form = Form::new().part("facial_photo", Part::bytes(photo.clone()).file_name("photo.jpg"));
    let updated = send(
        Client::new().patch(format!("{api}/api/profiles/{SPECIMEN}")).header("x-api-key", STATIC_KEY).multipart(form),
    )
    .await;
    assert_eq!(updated.status(), 200, "{:?}", updated.text().await);
    let updated: Value = updated.json().await.unwrap();
    let superuser = server.superuser().await.unwrap();
    let token = superuser.call(Method::POST, "/api/files/token", None).await.unwrap();
    let name = updated["data"]["facial_photo"].as_str().unwrap();
    let url = format!("{}/api/files/profiles/{SPECIMEN}/{name}?token={}", server.url, token["token"].as_str().unwrap());
    assert_eq!(Client::new().get(url).send().await.unwrap().bytes().await.unwrap(), photo, "every byte arrived");

    let missing = send(Client::new().get(format!("{api}/no/such/path"))).await;
    assert_eq!(
        (missing.status().as_u16(), missing.json::<Value>().await.unwrap()["error"].clone()),
        (404, json!("Not found"))
    );
    for path in ["/verif", "/verif/"] {
        assert_eq!(send(Client::new().get(format!("{api}{path}"))).await.status(), 400, "{path} has no key");
    }
}
