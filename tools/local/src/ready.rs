//! `local ready`: waits for the local stack and says what to try.

use reqwest::Client;
use shared::env::Env;

use crate::pocketbase::wait_for;
use crate::settings::{Addresses, function_variables};
use crate::{Error, seed, storage};

/// Creates bucket and queue, waits until the API answers, and prints addresses and first commands.
///
/// # Errors
/// When a setting is missing, or a server does not answer.
pub async fn run(env: &Env) -> Result<(), Error> {
    let Addresses { api, moto, .. } = Addresses::from_env(env)?;
    wait_for(&Client::new(), &format!("{moto}/moto-api/")).await?;
    storage::make_bucket(&moto).await?;
    storage::make_queue(&moto).await?;
    wait_for(&Client::new(), &api).await?;
    let pocketbase = env.require("POCKETBASE_URL")?;
    let (email, password) = (env.require("PB_SUPERUSER_EMAIL")?, env.require("PB_SUPERUSER_PASSWORD")?);
    println!("Ready.");
    println!("  API         {api}");
    println!("  PocketBase  {pocketbase}/_/  ({email} / {password})");
    print_services(env)?;
    print_commands(env, &api);
    println!("Webhooks of the development partner are printed here. Ctrl-C stops everything.");
    Ok(())
}

/// Prints which services are real and which have a stand-in.
fn print_services(env: &Env) -> Result<(), Error> {
    let variables = function_variables(env)?;
    let services =
        [("AWS", "AWS_ACCESS_KEY_ID"), ("OpenAI", "OPENAI_API_KEY"), ("Fingerprint", "FINGERPRINT_SECRET_KEY")];
    for (service, variable) in services {
        let has_stand_in = variables.iter().any(|(name, _)| name == variable);
        let which = if has_stand_in { "stand-in (.env has no key)" } else { "the real service" };
        println!("  {service:<11} {which}");
    }
    Ok(())
}

fn print_commands(env: &Env, api: &str) {
    let defaults = [("API_PORT", "3000"), ("PB_PORT", "8090"), ("STANDINS_PORT", "8091"), ("RECEIVER_PORT", "8093")];
    let changed =
        defaults.iter().filter_map(|(name, default)| Some((name, env.get(name)?)).filter(|(_, port)| port != default));
    let ports: String = changed.map(|(name, port)| format!("{name}={port} ")).collect();
    println!("Try, in another terminal:");
    println!("  {ports}make demo     walks through the API and shows each answer");
    println!("  curl -H \"Authorization: Bearer $(make -s token)\" {api}/");
    if let Some(key) = env.get("VALID_API_KEYS").and_then(|keys| keys.split(',').next()) {
        println!("  curl -H 'x-api-key: {key}' {api}/api/profiles/{}", seed::SPECIMEN_PROFILE);
    }
    if let Some(key) = env.get("DEV_PARTNER_PUBLISHABLE_KEY") {
        println!("  in a browser: {api}/verif/?api_key={key}&user_identifier=somebody");
    }
}
