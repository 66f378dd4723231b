//! A PocketBase of one's own: on a free port, with an empty data folder, gone when its owner is, however that ends; and the
//! like of moto. For tests and measurements; `make run` has some that stay.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use shared::env::Env;
use tempfile::TempDir;

use crate::Error;
use crate::pocketbase::{Superuser, wait_for};
use crate::seed::seed;

const SUPERUSER_EMAIL: &str = "admin@identivia.test";
const SUPERUSER_PASSWORD: &str = "password-of-a-passing-admin";

/// A running PocketBase.
pub struct Server {
    /// Where it answers.
    pub url: String,
    /// The port of that.
    pub port: u16,
    address: &'static str,
    migrations: PathBuf,
    folder: TempDir,
    process: Option<Child>,
    /// The token of the superuser's session, which also holds after a restart and on a copy of the data.
    superuser_token: OnceLock<String>,
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A port that nobody listens on.
///
/// # Errors
/// When there is none.
pub fn free_port() -> Result<u16, Error> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.map_err(|error| Error::new(error.to_string()))?.port())
}

/// Runs a command that ends when this process does: its standard input is ours to hold.
///
/// # Errors
/// When it cannot be started.
pub fn spawn_leashed(command: &Command) -> Result<Child, Error> {
    // Asked to end as Ctrl-C would ask it; made to, where whoever started us has had that ignored.
    const SCRIPT: &str = r#"
        exec 2>/dev/null; set -m
        "$@" >/dev/null 2>&1 & started=$!
        cat >/dev/null
        for signal in INT TERM KILL; do
            kill -$signal -- -$started
            for _ in $(seq 50); do kill -0 -- -$started || exit 0; sleep 0.1; done
        done"#;
    let mut leashed = Command::new("bash");
    leashed.args(["-c", SCRIPT, "bash"]).arg(command.get_program()).args(command.get_args()).stdin(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => leashed.env(name, value),
            None => leashed.env_remove(name),
        };
    }
    leashed.current_dir(root()).spawn().map_err(|error| Error::new(error.to_string()))
}

impl Server {
    /// A server with the project's schema and development data, on an address (`127.0.0.1`, or `0.0.0.0` to be reached from
    /// containers).
    ///
    /// # Errors
    /// When PocketBase does not start.
    pub async fn start(address: &'static str, env: &Env) -> Result<Self, Error> {
        let folder = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
        let server = Self::on(folder, address, &root().join("pocketbase/migrations"))?;
        seed(&server.superuser().await?, env).await?;
        Ok(server)
    }

    /// A server on a data folder, with the migrations of another.
    ///
    /// # Errors
    /// When PocketBase does not start.
    pub fn on(folder: TempDir, address: &'static str, migrations: &Path) -> Result<Self, Error> {
        let mut server = Self::at_rest(folder, address, migrations)?;
        server.run("migrate", &["up"])?;
        server.run("superuser", &["upsert", SUPERUSER_EMAIL, SUPERUSER_PASSWORD])?;
        server.up()?;
        Ok(server)
    }

    /// A server on a copy of the data folder of another server, which had the project's schema, and the token of that
    /// server's superuser.
    ///
    /// # Errors
    /// When PocketBase does not start.
    pub fn on_copy(folder: TempDir, address: &'static str, superuser_token: &str) -> Result<Self, Error> {
        let mut server = Self::at_rest(folder, address, &root().join("pocketbase/migrations"))?;
        server.superuser_token = OnceLock::from(superuser_token.to_owned());
        server.up()?;
        Ok(server)
    }

    fn at_rest(folder: TempDir, address: &'static str, migrations: &Path) -> Result<Self, Error> {
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let (migrations, superuser_token) = (migrations.to_owned(), OnceLock::new());
        Ok(Self { url, port, address, migrations, folder, process: None, superuser_token })
    }

    fn run(&self, command: &str, arguments: &[&str]) -> Result<(), Error> {
        let output =
            self.pocketbase(command)?.args(arguments).output().map_err(|error| Error::new(error.to_string()))?;
        let said = || [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        if output.status.success() { Ok(()) } else { Err(Error::new(String::from_utf8_lossy(&said()))) }
    }

    fn pocketbase(&self, command: &str) -> Result<Command, Error> {
        let binary = root().join(".venv/bin/pocketbase");
        if !binary.exists() {
            return Err(Error::new("PocketBase is not installed: run `make test`"));
        }
        let mut pocketbase = Command::new(binary);
        pocketbase.arg("--dir").arg(self.folder.path()).arg("--migrationsDir").arg(&self.migrations).arg(command);
        // What a test changes in a collection is not to become a migration of the project.
        pocketbase.arg("--automigrate=0");
        Ok(pocketbase)
    }

    /// A superuser's session, once the server is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn superuser(&self) -> Result<Superuser, Error> {
        if let Some(token) = self.superuser_token.get() {
            return Superuser::with_token(&self.url, token.clone()).await;
        }
        let superuser = Superuser::sign_in(&self.url, SUPERUSER_EMAIL, SUPERUSER_PASSWORD).await?;
        // Somebody else may have been faster; their token is as good.
        let _ = self.superuser_token.set(superuser.token().to_owned());
        Ok(superuser)
    }

    /// The settings of a function that signs in as the superuser.
    pub fn superuser_variables() -> [(&'static str, &'static str); 3] {
        [
            ("PB_AUTH_COLLECTION", "_superusers"),
            ("PB_USER_EMAIL", SUPERUSER_EMAIL),
            ("PB_USER_PASSWORD", SUPERUSER_PASSWORD),
        ]
    }

    /// Starts it (again).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn up(&mut self) -> Result<(), Error> {
        let mut serve = self.pocketbase("serve")?;
        serve.args(["--http", &format!("{}:{}", self.address, self.port)]);
        self.process = Some(spawn_leashed(&serve)?);
        Ok(())
    }

    /// Stops it.
    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            // Whether it had ended before makes no difference.
            let _ = process.wait();
        }
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it and hands on its data.
    ///
    /// # Errors
    /// When no other folder can be made in its place.
    pub fn into_folder(mut self) -> Result<TempDir, Error> {
        self.down();
        let empty = TempDir::new().map_err(|error| Error::new(error.to_string()))?;
        Ok(std::mem::replace(&mut self.folder, empty))
    }
}

/// What moto has of AWS: STS, Secrets Manager and more, with everything in memory.
pub struct Moto {
    /// Where it answers.
    pub url: String,
    process: Child,
}

impl Moto {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn start() -> Result<Self, Error> {
        let port = free_port()?.to_string();
        let mut moto = Command::new(root().join(".venv/bin/moto_server"));
        moto.args(["--host", "127.0.0.1", "--port", &port]);
        let moto = Self { url: format!("http://127.0.0.1:{port}"), process: spawn_leashed(&moto)? };
        wait_for(&reqwest::Client::new(), &format!("{}/moto-api/", moto.url)).await?;
        Ok(moto)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // Whether it had ended before makes no difference.
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}
