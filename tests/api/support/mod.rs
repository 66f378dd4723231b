//! What the tests stand on.

mod app;
mod form;
mod moto;
pub mod openapi;
mod pocketbase;
mod proxy;
mod queue;
mod receiver;
mod shape;
mod specimens;
mod storage;
mod waiting;

use std::collections::BTreeSet;

pub use local::process::root;

pub use app::{Answer, App, Ask, Partner, stand_ins};
pub use form::{FormBody, JPEG, MP4, PNG};
pub use moto::{Recorder, Secret, moto};
pub use pocketbase::{own_server, settings, shared};
pub use proxy::{Mood, Proxy, Stage};
pub use queue::Queue;
pub use receiver::{Received, Receiver, Reply};
pub use shape::assert_shape;
pub use specimens::{photo, selfie};
pub use storage::{Storage, refusing_s3, send_form};
use template::Template;
pub use waiting::{Clock, eventually, within};

pub const JWT_SECRET: &str = "a-secret-of-the-tests-that-is-long-enough";
pub const STATIC_KEY: &str = "your-secret-api-key-1";
pub const SECRET_KEY: &str = "sk_development_partner_secret";
pub const PUBLISHABLE_KEY: &str = "pk_development_partner_publishable";

/// Functions sign in with the password.
pub const BY_PASSWORD: (&str, &str) = ("PB_AUTH_TOKEN", "");

/// Takes the stand-in's key of AWS away.
pub const NO_AWS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];

/// template.yaml.
pub fn template() -> Template {
    Template::read(&template::path()).unwrap()
}

/// `(method, path)` of each route, as openapi.yaml describes it. /verif/ has two routes in the template, since a route of an HTTP API
/// cannot end in a slash.
pub fn described_routes() -> BTreeSet<(String, String)> {
    let routes = template().routes.into_iter().filter(|route| route.path != "/verif");
    routes.map(|route| (route.method, route.path.replace("{proxy+}", ""))).collect()
}

/// The settings of .env.example, which the sample events are made for.
pub fn development() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    lines.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned())).collect()
}

/// A name that no other test uses.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:016x}", rand::random::<u64>())
}

/// The variables that the functions are started with, unless a test says otherwise.
pub fn variables(pocketbase_url: &str) -> Vec<(String, String)> {
    let ffmpeg = root().join(".venv/bin/ffmpeg").display().to_string();
    let scopes = shared::auth::Scope::join(&shared::auth::Scope::ALL);
    let clients = serde_json::json!([
        { "client_id": "postman", "client_secret": "replace-me", "team_id": "team_123", "partner_id": "internal-tools",
          "scopes": scopes.split(' ').collect::<Vec<_>>() },
        { "client_id": "other", "client_secret": "other-secret", "team_id": "team_456",
          "scopes": scopes.split(' ').collect::<Vec<_>>() },
        { "client_id": "limited", "client_secret": "limited-secret", "team_id": "team_123", "scopes": ["documents:analyze"] },
        { "client_id": "root", "client_secret": "root-secret", "all_teams": true, "scopes": scopes.split(' ').collect::<Vec<_>>() },
        { "client_id": "teamless", "client_secret": "teamless-secret", "scopes": scopes.split(' ').collect::<Vec<_>>() },
    ]);
    [
        ("POCKETBASE_URL", pocketbase_url),
        ("PB_USER_EMAIL", pocketbase::SERVICE_EMAIL),
        ("PB_USER_PASSWORD", pocketbase::SERVICE_PASSWORD),
        // Spares PocketBase the comparison of the password at each start of a function.
        ("PB_AUTH_TOKEN", pocketbase::service_token()),
        ("JWT_SECRET", JWT_SECRET),
        ("JWT_ISSUER", "identivia-backend"),
        ("JWT_AUDIENCE", "identivia-api"),
        ("JWT_CLIENTS_JSON", &clients.to_string()),
        ("VALID_API_KEYS", STATIC_KEY),
        ("DEFAULT_TEAM_ID", local::seed::TEAM),
        ("DEV_PARTNER_SECRET_KEY", SECRET_KEY),
        ("DEV_PARTNER_PUBLISHABLE_KEY", PUBLISHABLE_KEY),
        ("CLIENT_URL", "https://app.identivia.com"),
        ("FFMPEG_PATH", &ffmpeg),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}
