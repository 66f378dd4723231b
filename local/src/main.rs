//! `local`: what the Makefile calls. `make help` lists it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use local::pocketbase::{Superuser, wait_for};
use local::{Error, demo, seed};
use shared::auth::TokenIssuer;
use shared::config::{Env, TokenClientSettings};

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
    /// Say so when a port of the stack is taken.
    Ports,
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
        Command::Ports => ports(env),
        Command::Token => {
            let clients = TokenClientSettings::from_env(env)?.clients;
            let client = clients.first().ok_or_else(|| Error::new("no token client is configured"))?;
            let token = TokenIssuer::from_env(env)?.issue(client, &client.scopes);
            println!("{}", token.map_err(|error| Error::new(error.cause().unwrap_or("cannot sign").to_owned()))?);
            Ok(())
        }
        Command::Demo { specimens } => demo::run(&api_url(env), &superuser(env).await?, &specimens, env).await,
    }
}

async fn superuser(env: &Env) -> Result<Superuser, Error> {
    let (email, password) = (env.require("PB_SUPERUSER_EMAIL")?, env.require("PB_SUPERUSER_PASSWORD")?);
    Superuser::sign_in(env.require("POCKETBASE_URL")?, email, password).await
}

fn api_url(env: &Env) -> String {
    format!("http://127.0.0.1:{}", env.get("API_PORT").unwrap_or("3000"))
}

fn ports(env: &Env) -> Result<(), Error> {
    for name in ["API_PORT", "PB_PORT"] {
        let port = env.require(name)?;
        let address = format!("127.0.0.1:{port}");
        std::net::TcpListener::bind(&address).map_err(|error| {
            Error::new(format!("cannot listen on {address} ({error}); choose another: {name}=… make run"))
        })?;
    }
    Ok(())
}

async fn ready(env: &Env) -> Result<(), Error> {
    seed::seed(&superuser(env).await?, env).await?;
    let api = api_url(env);
    wait_for(&reqwest::Client::new(), &api).await?;
    let pocketbase = env.require("POCKETBASE_URL")?;
    let (email, password) = (env.require("PB_SUPERUSER_EMAIL")?, env.require("PB_SUPERUSER_PASSWORD")?);
    println!("Ready.");
    println!("  API         {api}");
    println!("  PocketBase  {pocketbase}/_/  ({email} / {password})");
    println!("Try, in another terminal:");
    println!("  make demo     walks through the API and shows each answer");
    println!("  curl -H \"Authorization: Bearer $(make -s token)\" {api}/");
    println!("  curl -H 'x-api-key: your-secret-api-key-1' {api}/api/profiles/{}", seed::SPECIMEN_PROFILE);
    println!("Ctrl-C stops everything.");
    // The supervisor ends the stack when any of its processes ends, so this one stays.
    std::future::pending().await
}
