//! Temporary servers for tests and benchmarks: PocketBase and moto on free ports, with empty data folders.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use shared::env::Env;
use tempfile::TempDir;

use crate::Error;
use crate::pocketbase::{Superuser, wait_for};
use crate::process::{Background, free_port, root};
use crate::seed::seed;

const SUPERUSER_EMAIL: &str = "admin@identivia.test";
const SUPERUSER_PASSWORD: &str = "password-of-a-temporary-superuser";

/// A temporary PocketBase. It ends, and its data is deleted, when this value is dropped.
pub struct Server {
    /// Its base URL.
    pub url: String,
    /// Its port.
    pub port: u16,
    address: &'static str,
    migrations: PathBuf,
    hooks: bool,
    process: Option<Background>,
    // Dropped after the process.
    folder: TempDir,
    /// The token of a superuser, which also holds after a restart and on a copy of the data.
    superuser_token: OnceLock<String>,
}

impl Server {
    /// A server with the project's schema and development data. It listens on `127.0.0.1`, or on `0.0.0.0` for containers.
    ///
    /// # Errors
    /// When PocketBase does not start.
    pub async fn start(address: &'static str, env: &Env) -> Result<Self, Error> {
        let folder = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
        let server = Self::on(folder, address, &root().join("pocketbase/migrations"), true)?;
        seed(&server.superuser().await?, env).await?;
        Ok(server)
    }

    /// A server with the data and the migrations of two folders, with or without the project's hooks.
    ///
    /// # Errors
    /// When PocketBase does not start.
    pub fn on(folder: TempDir, address: &'static str, migrations: &Path, hooks: bool) -> Result<Self, Error> {
        let mut server = Self::stopped(folder, address, migrations)?;
        server.hooks = hooks;
        server.run("migrate", &["up"])?;
        server.run("superuser", &["upsert", SUPERUSER_EMAIL, SUPERUSER_PASSWORD])?;
        server.up()?;
        Ok(server)
    }

    /// A server on a copy of the data folder of another one, with the project's schema and the token of that server's superuser.
    ///
    /// # Errors
    /// When PocketBase does not start.
    pub fn on_copy(folder: TempDir, address: &'static str, superuser_token: &str) -> Result<Self, Error> {
        let mut server = Self::stopped(folder, address, &root().join("pocketbase/migrations"))?;
        server.superuser_token = OnceLock::from(superuser_token.to_owned());
        server.up()?;
        Ok(server)
    }

    fn stopped(folder: TempDir, address: &'static str, migrations: &Path) -> Result<Self, Error> {
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let (migrations, superuser_token) = (migrations.to_owned(), OnceLock::new());
        Ok(Self { url, port, address, migrations, hooks: true, process: None, folder, superuser_token })
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Result<(), Error> {
        let output =
            self.pocketbase(command)?.args(arguments).output().map_err(|error| Error::new(error.to_string()))?;
        let text = || [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        if output.status.success() { Ok(()) } else { Err(Error::new(String::from_utf8_lossy(&text()))) }
    }

    fn pocketbase(&self, command: &str) -> Result<Command, Error> {
        let binary = root().join(".venv/bin/pocketbase");
        if !binary.exists() {
            return Err(Error::new("PocketBase is not installed: run `make test`"));
        }
        let mut pocketbase = Command::new(binary);
        pocketbase.arg("--dir").arg(self.folder.path()).arg("--migrationsDir").arg(&self.migrations).arg(command);
        // Otherwise a collection that a test changes becomes a migration of the project.
        pocketbase.arg("--automigrate=0");
        // With --hooksWatch=0, a hook that does not load stops the start.
        let hooks = if self.hooks { root().join("pocketbase/hooks") } else { self.folder.path().join("no-hooks") };
        pocketbase.arg("--hooksDir").arg(hooks).arg("--hooksWatch=0");
        Ok(pocketbase)
    }

    /// A superuser's session, as soon as the server answers.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn superuser(&self) -> Result<Superuser, Error> {
        if let Some(token) = self.superuser_token.get() {
            return Superuser::with_token(&self.url, token.clone()).await;
        }
        let superuser = Superuser::sign_in(&self.url, SUPERUSER_EMAIL, SUPERUSER_PASSWORD).await?;
        // It fails when another caller was faster, whose token is as good.
        let _ = self.superuser_token.set(superuser.token().to_owned());
        Ok(superuser)
    }

    /// The variables with which a function signs in as the superuser.
    pub fn superuser_variables() -> [(&'static str, &'static str); 3] {
        [
            ("PB_AUTH_COLLECTION", "_superusers"),
            ("PB_USER_EMAIL", SUPERUSER_EMAIL),
            ("PB_USER_PASSWORD", SUPERUSER_PASSWORD),
        ]
    }

    /// Starts the server, also again after `down`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn up(&mut self) -> Result<(), Error> {
        let mut serve = self.pocketbase("serve")?;
        serve.args(["--http", &format!("{}:{}", self.address, self.port)]);
        self.process = Some(Background::start(serve)?);
        Ok(())
    }

    /// Stops the server. Its data stays.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// The data folder.
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Stops the server and returns its data folder.
    ///
    /// # Errors
    /// When the empty folder that takes its place cannot be created.
    pub fn into_folder(mut self) -> Result<TempDir, Error> {
        self.down();
        let empty = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
        Ok(std::mem::replace(&mut self.folder, empty))
    }
}

/// A temporary moto: STS, S3, SQS and Secrets Manager, in memory. It ends when this value is dropped.
pub struct Moto {
    /// Its base URL.
    pub url: String,
    _process: Background,
}

impl Moto {
    /// Starts moto, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start() -> Result<Self, Error> {
        let port = free_port()?.to_string();
        let mut moto = Command::new(root().join(".venv/bin/moto_server"));
        moto.args(["--host", "127.0.0.1", "--port", &port]);
        let moto = Self { url: format!("http://127.0.0.1:{port}"), _process: Background::start(moto)? };
        wait_for(&reqwest::Client::new(), &format!("{}/moto-api/", moto.url)).await?;
        Ok(moto)
    }
}
