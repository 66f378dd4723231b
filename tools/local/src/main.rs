//! `local`: what the Makefile calls. `make help` lists it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use local::pocketbase::{Superuser, wait_for};
use local::standins::{self, StandIns};
use local::{Error, demo, partner, receiver, seed, storage, triggers};
use shared::auth::TokenIssuer;
use shared::config::{
    ApiKeySettings, AttemptSettings, AwsSettings, DecisionSettings, Env, FaceComparison, FingerprintSettings,
    JwtSettings, LinkSettings, LivenessSettings, OpenAiSettings, PocketBaseSettings, PublicSettings, SecretsSettings,
    StorageSettings, TokenClientSettings, WebhookSettings,
};
use tokio::net::TcpListener;
use webhooks::WebhookPolicy;

#[derive(Parser)]
#[command(about = "The development stack")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fill PocketBase with development data, wait for the API, and say what to try; then stay.
    Ready,
    /// Say what would keep the stack from starting: a setting, or a taken port.
    Preflight,
    /// Serve what stands in for Rekognition, OpenAI and Fingerprint.
    StandIns,
    /// Start functions as the queue and the schedules do in AWS.
    Triggers,
    /// Receive webhooks as a partner would, and print them.
    Receiver,
    /// Run a command with the stand-ins' variables, for each service that no variable names a real one of.
    With {
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Add partners, and rotate and revoke their keys.
    Partner {
        #[command(subcommand)]
        action: partner::Action,
    },
    /// Print a bearer token of the development client.
    Token,
    /// Walk through the API and show each answer.
    Demo {
        /// The folder of the specimen images.
        #[arg(long, default_value = ".run/specimens")]
        specimens: PathBuf,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match run(Arguments::parse().command, &Env::from_process()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("local: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, env: &Env) -> Result<(), Error> {
    match command {
        Command::Ready => ready(env).await,
        Command::Preflight => preflight(env),
        Command::StandIns => {
            let address = format!("127.0.0.1:{}", env.require("STANDINS_PORT")?);
            let listener =
                TcpListener::bind(&address).await.map_err(|error| Error::new(format!("{address}: {error}")))?;
            StandIns::default().serve(listener).await
        }
        Command::Triggers => triggers::run(&api_url(env), &moto_url(env)?).await,
        Command::Receiver => {
            let address = format!("127.0.0.1:{}", env.require("RECEIVER_PORT")?);
            let listener =
                TcpListener::bind(&address).await.map_err(|error| Error::new(format!("{address}: {error}")))?;
            receiver::serve(listener, env.require("DEV_PARTNER_SIGNING_SECRET")?).await
        }
        Command::With { command } => {
            let (program, arguments) = command.split_first().ok_or_else(|| Error::new("no command"))?;
            let variables = stand_in_variables(env)?;
            Err(Error::new(std::process::Command::new(program).args(arguments).envs(variables).exec().to_string()))
        }
        Command::Partner { action } => {
            let policy = WebhookPolicy::from_env(env)?;
            println!("{}", partner::run(&superuser(env).await?, policy, &action).await?);
            Ok(())
        }
        Command::Token => {
            let clients = TokenClientSettings::from_env(env)?.clients;
            let client = clients.first().ok_or_else(|| Error::new("no token client is configured"))?;
            let token = TokenIssuer::from_env(env)?.issue(client, &client.scopes);
            println!("{}", token.map_err(|error| Error::new(error.to_string()))?);
            Ok(())
        }
        Command::Demo { specimens } => {
            reqwest::get(api_url(env)).await.map_err(|_| {
                Error::new(format!("nothing answers at {}: is `make run` running, and on this API_PORT?", api_url(env)))
            })?;
            let standins = format!("http://127.0.0.1:{}", env.require("STANDINS_PORT")?);
            demo::run(&api_url(env), &standins, &superuser(env).await?, &specimens, env).await
        }
    }
}

async fn superuser(env: &Env) -> Result<Superuser, Error> {
    let (email, password) = (env.require("PB_SUPERUSER_EMAIL")?, env.require("PB_SUPERUSER_PASSWORD")?);
    Superuser::sign_in(env.require("POCKETBASE_URL")?, email, password).await
}

fn stand_in_variables(env: &Env) -> Result<Vec<(&'static str, String)>, Error> {
    let (standins, moto) = (format!("http://127.0.0.1:{}", env.require("STANDINS_PORT")?), moto_url(env)?);
    let mut variables = standins::variables(env, &standins, &moto);
    if variables.iter().any(|(name, _)| *name == "AWS_ENDPOINT_URL") {
        variables
            .extend([("UPLOADS_BUCKET", storage::BUCKET.to_owned()), ("WEBHOOK_QUEUE_URL", storage::queue_url(&moto))]);
    }
    if env.get("FFMPEG_PATH").is_none() {
        variables.push(("FFMPEG_PATH", local::server::root().join(".venv/bin/ffmpeg").display().to_string()));
    }
    Ok(variables)
}

fn moto_url(env: &Env) -> Result<String, Error> {
    Ok(format!("http://127.0.0.1:{}", env.require("MOTO_PORT")?))
}

fn api_url(env: &Env) -> String {
    format!("http://127.0.0.1:{}", env.get("API_PORT").unwrap_or("3000"))
}

fn preflight(env: &Env) -> Result<(), Error> {
    PocketBaseSettings::from_env(env)?;
    JwtSettings::from_env(env)?;
    TokenClientSettings::from_env(env)?;
    ApiKeySettings::from_env(env)?;
    LinkSettings::from_env(env)?;
    PublicSettings::from_env(env)?;
    aws::Settings::from_env(env)?;
    LivenessSettings::from_env(env)?;
    OpenAiSettings::from_env(env)?;
    FingerprintSettings::from_env(env)?;
    SecretsSettings::from_env(env)?;
    AttemptSettings::from_env(env)?;
    StorageSettings::from_env(env)?;
    WebhookSettings::from_env(env)?;
    DecisionSettings::from_env(env)?;
    FaceComparison::from_env(env)?;
    for name in ["API_PORT", "PB_PORT", "STANDINS_PORT", "MOTO_PORT", "RECEIVER_PORT"] {
        let port = env.require(name)?;
        let address = format!("127.0.0.1:{port}");
        std::net::TcpListener::bind(&address).map_err(|error| {
            Error::new(format!("cannot listen on {address} ({error}); is an earlier stack still running? Or choose another: {name}=… make run"))
        })?;
    }
    Ok(())
}

async fn ready(env: &Env) -> Result<(), Error> {
    seed::seed(&superuser(env).await?, env).await?;
    let moto = moto_url(env)?;
    wait_for(&reqwest::Client::new(), &format!("{moto}/moto-api/")).await?;
    storage::make_bucket(&moto).await?;
    storage::make_queue(&moto).await?;
    let api = api_url(env);
    wait_for(&reqwest::Client::new(), &api).await?;
    let pocketbase = env.require("POCKETBASE_URL")?;
    let (email, password) = (env.require("PB_SUPERUSER_EMAIL")?, env.require("PB_SUPERUSER_PASSWORD")?);
    println!("Ready.");
    println!("  API         {api}");
    println!("  PocketBase  {pocketbase}/_/  ({email} / {password})");
    let stood_in = stand_in_variables(env)?;
    let is_stood_in = |name| stood_in.iter().any(|(variable, _)| *variable == name);
    for (service, variable) in
        [("AWS", "AWS_ACCESS_KEY_ID"), ("OpenAI", "OPENAI_API_KEY"), ("Fingerprint", "FINGERPRINT_SECRET_KEY")]
    {
        let which = if is_stood_in(variable) { "a stand-in (its key is not set in .env)" } else { "the real one" };
        println!("  {service:<11} {which}");
    }
    println!("Try, in another terminal:");
    let defaults = [("API_PORT", "3000"), ("PB_PORT", "8090"), ("STANDINS_PORT", "8091")];
    let moved =
        defaults.iter().filter_map(|(name, default)| Some((name, env.get(name)?)).filter(|(_, port)| port != default));
    let ports: String = moved.map(|(name, port)| format!("{name}={port} ")).collect();
    println!("  {ports}make demo     walks through the API and shows each answer");
    println!("  curl -H \"Authorization: Bearer $(make -s token)\" {api}/");
    if let Some(key) = env.get("VALID_API_KEYS").and_then(|keys| keys.split(',').next()) {
        println!("  curl -H 'x-api-key: {key}' {api}/api/profiles/{}", seed::SPECIMEN_PROFILE);
    }
    if let Some(key) = env.get("DEV_PARTNER_PUBLISHABLE_KEY") {
        println!("  in a browser: {api}/verif/?api_key={key}&user_identifier=somebody");
    }
    println!("Webhooks of the development partner are printed here. Ctrl-C stops everything.");
    // The supervisor ends the stack when any of its processes ends, so this one stays.
    std::future::pending().await
}
