//! A real PocketBase.

use local::server::Server;
use shared::env::Env;
use tokio::sync::OnceCell;

use super::variables;

pub const SERVICE_EMAIL: &str = "service@identivia.test";
pub const SERVICE_PASSWORD: &str = "service-password-of-the-tests";

/// The server that tests share; each keeps to users and teams of its own.
pub async fn shared() -> &'static Server {
    static SERVER: OnceCell<Server> = OnceCell::const_new();
    SERVER.get_or_init(own_server).await
}

/// A server of a test's own, with the development data.
pub async fn own_server() -> Server {
    Server::start("127.0.0.1", &settings()).await.unwrap()
}

/// What the development data is made from.
pub fn settings() -> Env {
    variables("http://127.0.0.1:1").into_iter().collect()
}
