//! A real PocketBase.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use local::server::Server;
use reqwest::Method;
use serde_json::json;
use shared::env::Env;
use tempfile::TempDir;
use tokio::sync::OnceCell;

use super::variables;

pub const SERVICE_EMAIL: &str = "service@identivia.test";
pub const SERVICE_PASSWORD: &str = "service-password-of-the-tests";

/// A data folder with the schema and the development data, from which each server of the tests starts.
struct Prepared {
    /// The path in the folder and the content of each file.
    files: Vec<(PathBuf, Vec<u8>)>,
    superuser_token: String,
}

/// A token of the service account, which holds on every server that starts from the prepared data.
static SERVICE_TOKEN: OnceLock<String> = OnceLock::new();

/// The server that tests share; each keeps to users and teams of its own.
pub async fn shared() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(own_server).await
}

/// A server of a test's own, with the development data.
pub async fn own_server() -> Server {
    static PREPARED: OnceCell<Prepared> = OnceCell::const_new();
    let prepared = PREPARED.get_or_init(prepare).await;
    let folder = TempDir::new().unwrap();
    for (path, content) in &prepared.files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let server = Server::on_copy(folder, "127.0.0.1", &prepared.superuser_token).unwrap();
    server.superuser().await.expect("the server comes up");
    server
}

/// Migrates and seeds once, which takes a second.
async fn prepare() -> Prepared {
    let server = Server::start("127.0.0.1", &settings()).await.unwrap();
    let superuser = server.superuser().await.unwrap();
    let account = superuser.find("users", &format!("email=\"{SERVICE_EMAIL}\"")).await.unwrap();
    let path = format!("/api/collections/users/impersonate/{}", account[0]["id"].as_str().unwrap());
    let minted = superuser.call(Method::POST, &path, Some(json!({ "duration": 86_400 }))).await.unwrap();
    SERVICE_TOKEN.set(minted["token"].as_str().unwrap().to_owned()).unwrap();
    let superuser_token = superuser.token().to_owned();
    let folder = server.into_folder().unwrap();
    let mut files = Vec::new();
    read_files(folder.path(), Path::new(""), &mut files);
    Prepared { files, superuser_token }
}

fn read_files(root: &Path, below: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in std::fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            read_files(root, &path, files);
        } else {
            files.push((path, std::fs::read(entry.path()).unwrap()));
        }
    }
}

/// `PB_AUTH_TOKEN`, with which functions need no password; none before a server has been started.
pub fn service_token() -> &'static str {
    SERVICE_TOKEN.get().map_or("", String::as_str)
}

/// What the development data is made from.
pub fn settings() -> Env {
    variables("http://127.0.0.1:1").into_iter().collect()
}
