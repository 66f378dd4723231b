//! `admin`: manages the partners of a deployment and issues tokens.
//!
//! It signs in at `POCKETBASE_URL` as the superuser `PB_SUPERUSER_EMAIL` with `PB_SUPERUSER_PASSWORD`, and needs nothing else of the
//! deployment. Tokens are signed with `JWT_SECRET`.

use admin::pocketbase::Superuser;
use admin::{Error, partner};
use clap::{Parser, Subcommand};
use shared::auth::{TokenClientSettings, TokenIssuer};
use shared::env::Env;
use webhooks::WebhookPolicy;

#[derive(Parser)]
#[command(about = "Manage the partners of a deployment, and issue tokens")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Add partners; rotate and revoke their keys; set their webhooks and the look of their page.
    Partner {
        #[command(subcommand)]
        action: partner::Action,
    },
    /// Print a bearer token of the first configured client, with all its scopes.
    Token,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::process::ExitCode {
    match run(Arguments::parse().command, &Env::from_process()).await {
        Ok(output) => {
            println!("{output}");
            std::process::ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("admin: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(command: Command, env: &Env) -> Result<String, Error> {
    match command {
        Command::Partner { action } => {
            let policy = WebhookPolicy::from_env(env)?;
            partner::run(&Superuser::from_env(env).await?, policy, &action).await
        }
        Command::Token => {
            let clients = TokenClientSettings::from_env(env)?.clients;
            let client = clients.first().ok_or_else(|| Error::new("no token client is configured"))?;
            let token = TokenIssuer::from_env(env)?.issue(client, &client.scopes);
            token.map_err(|error| Error::new(error.to_string()))
        }
    }
}
