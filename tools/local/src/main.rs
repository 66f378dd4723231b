//! `local`: the commands of the Makefile and the Procfile for the local stack.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use local::functions::{Functions, Output};
use local::pocketbase::Superuser;
use local::process::root;
use local::settings::{Addresses, function_processes, function_variables};
use local::standins::StandIns;
use local::{Error, demo, gateway, generate, preflight, ready, receiver, rehearsal, seed, stack, triggers};
use shared::env::Env;
use template::Template;
use tokio::net::TcpListener;

/// The lifetime of the token that spares the functions a sign-in by password at each start.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

#[derive(Parser)]
#[command(about = "The local stack")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check the settings of all functions, and that the ports are free.
    Preflight,
    /// Run the commands of the Procfile, and end all of them together.
    Stack,
    /// Serve the API: cargo-lambda's emulator with the routes of template.yaml.
    Gateway,
    /// Fill PocketBase with development data, and run the functions of target/debug.
    Functions,
    /// Serve the stand-ins of Rekognition, OpenAI and Fingerprint.
    StandIns,
    /// Invoke functions as the queue and the schedules of template.yaml do.
    Triggers,
    /// Receive webhooks as a partner does, verify and print them.
    Receiver,
    /// Wait for the stack, and print what to try.
    Ready,
    /// Walk through the API and show each answer.
    Demo {
        /// The folder of the specimen images.
        #[arg(long, default_value = ".run/specimens")]
        specimens: PathBuf,
    },
    /// Lose a temporary PocketBase under load, restore it from a backup, and report what was lost.
    RehearseRestore,
    /// Update the functions in tests/Cargo.toml from template.yaml.
    Generate,
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
        Command::Preflight => preflight::run(env).await,
        Command::Stack => stack::run().await,
        Command::Gateway => {
            // Beside the data of PocketBase, so that temporary stacks leave nothing behind.
            let data = root().join(env.require("PB_DATA")?);
            let mut emulator = gateway::command(env.require("API_PORT")?, data.parent().unwrap_or(&data))?;
            Err(Error::new(emulator.exec().to_string()))
        }
        Command::Functions => functions(env).await,
        Command::StandIns => StandIns::default().serve(listen(env, "STANDINS_PORT").await?).await,
        Command::Triggers => {
            let Addresses { api, moto, .. } = Addresses::from_env(env)?;
            triggers::run(&api, &moto).await
        }
        Command::Receiver => {
            receiver::serve(listen(env, "RECEIVER_PORT").await?, env.require("DEV_PARTNER_SIGNING_SECRET")?).await
        }
        Command::Ready => {
            ready::run(env).await?;
            // The stack ends when any of its processes ends.
            std::future::pending().await
        }
        Command::Demo { specimens } => run_demo(env, &specimens).await,
        Command::RehearseRestore => {
            println!("{}", rehearsal::run(std::env::vars().collect()).await?);
            Ok(())
        }
        Command::Generate => generate::run(),
    }
}

async fn listen(env: &Env, port: &'static str) -> Result<TcpListener, Error> {
    let address = format!("127.0.0.1:{}", env.require(port)?);
    TcpListener::bind(&address).await.map_err(|error| Error::new(format!("{address}: {error}")))
}

/// Seeds PocketBase, then runs the functions until this process ends.
async fn functions(env: &Env) -> Result<(), Error> {
    let superuser = Superuser::from_env(env).await?;
    seed::seed(&superuser, env).await?;
    let mut variables = function_variables(env)?;
    // Each process would sign in by password, which costs PocketBase a bcrypt comparison of about 50 ms.
    if env.get("PB_AUTH_TOKEN").is_none() && env.get("PB_AUTH_COLLECTION").is_none_or(|name| name == "users") {
        let token = superuser.impersonate(env.require("PB_USER_EMAIL")?, TOKEN_LIFETIME).await?;
        variables.push(("PB_AUTH_TOKEN".to_owned(), token));
    }
    let template = Template::read(&template::path()).map_err(|error| Error::new(error.to_string()))?;
    let functions = gateway::functions(&template, function_processes(env)?);
    let functions = Functions::start(&Addresses::from_env(env)?.api, &functions, variables, Output::Show).await?;
    functions.ready().await?;
    std::future::pending().await
}

async fn run_demo(env: &Env, specimens: &Path) -> Result<(), Error> {
    let addresses = Addresses::from_env(env)?;
    let unreachable = format!("nothing answers at {}: is `make run` running, and on this API_PORT?", addresses.api);
    reqwest::get(&addresses.api).await.map_err(|_| Error::new(unreachable))?;
    demo::run(&addresses, &Superuser::from_env(env).await?, specimens, env).await
}
