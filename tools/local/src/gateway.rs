//! The local gateway: cargo-lambda's emulator, with a router derived from template.yaml. It builds, starts and watches nothing.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use template::Template;

use crate::Error;
use crate::functions::Function;
use crate::pocketbase::wait_for;
use crate::process::{Background, free_port, root};

/// The emulator's configuration, in TOML: which function answers which path and method.
///
/// What no route matches goes to the emulator's default function, as it goes to the `$default` route in AWS.
pub fn configuration(template: &Template) -> String {
    let mut text = "# The router of the local gateway, generated from template.yaml.\n[watch.router]\n".to_owned();
    for (path, methods) in template.paths() {
        let entry = |(method, binary): (&&str, &&str)| format!("{{ method = {method:?}, function = {binary:?} }}");
        let entries: Vec<_> = methods.iter().map(entry).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{path:?} = [{}]", entries.join(", "));
    }
    text
}

/// The functions of a template with a number of processes each, the one of the default route under the emulator's name for it too.
pub fn functions(template: &Template, processes: usize) -> Vec<Function> {
    let default = template.default.iter().map(|binary| Function::default_route(binary, processes));
    template.binaries().into_iter().map(|binary| Function::new(binary, processes)).chain(default).collect()
}

/// The command that runs the emulator on a port of this machine. Its configuration is written to a file in `folder`.
///
/// # Errors
/// When template.yaml cannot be read, or the file not be written.
pub fn command(port: &str, folder: &Path) -> Result<Command, Error> {
    let template = Template::read(&template::path()).map_err(|error| Error::new(error.to_string()))?;
    let file = folder.join(format!("gateway-{port}.toml"));
    let write = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&file, configuration(&template)));
    write.map_err(|error| Error::new(format!("{}: {error}", file.display())))?;
    let mut emulator = Command::new(root().join(".venv/bin/cargo-lambda"));
    emulator.args(["lambda", "--global"]).arg(&file);
    // With a concurrency above 1 it would start functions by itself.
    emulator.args(["watch", "--quiet", "--only-lambda-apis", "--invoke-address", "127.0.0.1", "--invoke-port", port]);
    emulator.current_dir(root()).env("RUST_LOG", "off");
    Ok(emulator)
}

/// A temporary gateway without functions. It ends when this value is dropped.
pub struct Gateway {
    /// Its base URL.
    pub url: String,
    _process: Background,
    _folder: TempDir,
}

impl Gateway {
    /// Starts a gateway on a free port, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start() -> Result<Self, Error> {
        let folder = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
        let port = free_port()?;
        let process = Background::start(command(&port.to_string(), folder.path())?)?;
        let url = format!("http://127.0.0.1:{port}");
        // A path that the emulator answers by itself: 405.
        wait_for(&reqwest::Client::new(), &format!("{url}/2015-03-31/functions/_/invocations")).await?;
        Ok(Self { url, _process: process, _folder: folder })
    }
}
