//! A real PocketBase on a free port, with an empty data folder of its own, gone when the tests end however they end.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use local::pocketbase::Superuser;
use local::seed::seed;
use shared::config::Env;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::{root, variables};

pub const SERVICE_EMAIL: &str = "service@identivia.test";
pub const SERVICE_PASSWORD: &str = "service-password-of-the-tests";
pub const SUPERUSER_EMAIL: &str = "admin@identivia.test";
pub const SUPERUSER_PASSWORD: &str = "admin-password-of-the-tests";

pub struct Server {
    pub url: String,
    pub port: u16,
    folder: TempDir,
    process: Option<Child>,
}

/// The server that tests share; each keeps to users and teams of its own.
pub async fn shared() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(Server::start).await
}

pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Server {
    /// A server with the project's schema and development data.
    pub async fn start() -> Self {
        let server = Self::bare(tempfile::tempdir().unwrap(), &root().join("migrations"));
        server.seed().await;
        server
    }

    /// A server on a data folder, with the migrations of another.
    pub fn bare(folder: TempDir, migrations: &Path) -> Self {
        let port = free_port();
        let mut server = Self { url: format!("http://127.0.0.1:{port}"), port, folder, process: None };
        server.make_superuser(migrations);
        server.up_with(migrations);
        server
    }

    pub async fn seed(&self) {
        let env: Env = variables(&self.url).into_iter().collect();
        seed(&self.superuser().await, &env).await.unwrap();
    }

    pub async fn superuser(&self) -> Superuser {
        Superuser::sign_in(&self.url, SUPERUSER_EMAIL, SUPERUSER_PASSWORD).await.unwrap()
    }

    pub fn up(&mut self) {
        self.up_with(&root().join("migrations"));
    }

    fn up_with(&mut self, migrations: &Path) {
        // The server ends with its standard input, which is ours to hold: so it cannot outlive the tests.
        let script = r#""$@" >/dev/null 2>&1 & server=$!; cat >/dev/null; kill $server; wait $server"#;
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(binary())
            .args(["serve", "--http", &format!("127.0.0.1:{}", self.port), "--dir"])
            .arg(self.folder.path())
            .arg("--migrationsDir")
            .arg(migrations)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    pub fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            process.wait().unwrap();
        }
    }

    /// Stops the server and hands on its data.
    pub fn into_folder(mut self) -> TempDir {
        self.down();
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }

    fn make_superuser(&self, migrations: &Path) {
        let made = Command::new(binary())
            .args(["superuser", "upsert", SUPERUSER_EMAIL, SUPERUSER_PASSWORD, "--dir"])
            .arg(self.folder.path())
            .arg("--migrationsDir")
            .arg(migrations)
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}{}",
            String::from_utf8_lossy(&made.stdout),
            String::from_utf8_lossy(&made.stderr)
        );
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

fn binary() -> std::path::PathBuf {
    let binary = root().join(".venv/bin/pocketbase");
    assert!(binary.exists(), "PocketBase is not installed: run `make test`");
    binary
}
