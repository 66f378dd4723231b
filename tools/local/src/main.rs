//! `local`: the commands of the Makefile and the Procfile for the local stack.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, Subcommand};
use local::functions::{Functions, Output};
use local::pocketbase::Superuser;
use local::process::{Background, root};
use local::settings::{Addresses, function_processes, function_variables};
use local::standins::StandIns;
use local::{Error, demo, gateway, generate, preflight, ready, receiver, seed, triggers};
use shared::config::Env;
use template::Template;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// The lifetime of the token that spares the functions a sign-in by password at each start.
const TOKEN_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3_600);

/// How often `local stack` checks whether its command has ended.
const POLL: Duration = Duration::from_millis(200);

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
    /// Run a command that ends with this one: at Ctrl-C, when the terminal is closed, and when this process is killed.
    Stack {
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
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
        Command::Stack { command } => stack(&command).await,
        Command::Gateway => {
            let mut emulator = gateway::command(env.require("API_PORT")?, &root().join(".run"))?;
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
            // honcho ends the stack when any of its processes ends.
            std::future::pending().await
        }
        Command::Demo { specimens } => run_demo(env, &specimens).await,
        Command::Generate => generate::run(),
    }
}

async fn listen(env: &Env, port: &'static str) -> Result<TcpListener, Error> {
    let address = format!("127.0.0.1:{}", env.require(port)?);
    TcpListener::bind(&address).await.map_err(|error| Error::new(format!("{address}: {error}")))
}

/// Runs a command until it ends, or until this process is asked to end.
async fn stack(command: &[String]) -> Result<(), Error> {
    let (program, arguments) = command.split_first().ok_or_else(|| Error::new("no command"))?;
    let failed = |error: std::io::Error| Error::new(error.to_string());
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(failed)?;
    let mut process = std::process::Command::new(program);
    process.args(arguments);
    let mut process = Background::start_shown(process)?;
    let ended = async {
        // SIGHUP does not arrive here when `make` is all that runs in the terminal.
        let had_terminal = has_terminal();
        loop {
            match process.status() {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(Error::new(format!("{program}: {status}"))),
                None if had_terminal && !has_terminal() => return Ok(()),
                None => tokio::time::sleep(POLL).await,
            }
        }
    };
    tokio::select! {
        result = ended => result,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hang_up.recv() => Ok(()),
    }
}

/// Whether this process has a terminal, which has not been closed.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
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
