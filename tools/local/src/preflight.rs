//! `local preflight`: finds what would keep the local stack from starting, before anything is started.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::process::Stdio;

use shared::env::Env;
use template::Template;
use tokio::process::Command;

use crate::process::root;
use crate::settings::{PORTS, function_processes, function_variables};
use crate::{Error, within_limit};

/// Checks the settings of every function, and that the ports are free.
///
/// # Errors
/// When a function complains about a setting, or a port is taken; the message has every distinct complaint.
pub async fn run(env: &Env) -> Result<(), Error> {
    for name in PORTS {
        let address = format!("127.0.0.1:{}", env.require(name)?);
        TcpListener::bind(&address).map_err(|error| {
            Error::new(format!(
                "cannot listen on {address} ({error}); is an earlier stack still running? \
                 Another port: {name}=… make run"
            ))
        })?;
    }
    function_processes(env)?;
    let template = Template::read(&template::path()).map_err(|error| Error::new(error.to_string()))?;
    let complaints = complaints(&template, &function_variables(env)?).await?;
    if complaints.is_empty() {
        return Ok(());
    }
    let complaints: Vec<_> = complaints.into_iter().collect();
    Err(Error::new(complaints.join("\nlocal: ")))
}

/// The complaints of functions about their settings, each of them once.
async fn complaints(template: &Template, variables: &[(String, String)]) -> Result<BTreeSet<String>, Error> {
    let mut complaints = BTreeSet::new();
    for binary in template.binaries() {
        let path = root().join("target/debug").join(binary);
        let mut command = Command::new(&path);
        command.arg("--check-settings").envs(variables.iter().map(|(name, value)| (name, value))).kill_on_drop(true);
        let output =
            within_limit(command.stdin(Stdio::null()).output(), &format!("{binary} --check-settings to end")).await?;
        let output = output.map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint = complaint.trim().trim_start_matches("Error: ").to_owned();
            let unexplained = || format!("{binary} --check-settings: {}", output.status);
            complaints.insert(if complaint.is_empty() { unexplained() } else { complaint });
        }
    }
    Ok(complaints)
}
