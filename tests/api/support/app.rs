//! The functions behind the local gateway's router table, in this process.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request};
use serde_json::{Value, json};
use shared::config::Env;
use shared::http::answer;
use tokio::sync::OnceCell;

use super::{FormBody, Proxy, openapi, root, shared, variables};

/// The routes of `[workspace.metadata.lambda.watch.router]`: path → method → function.
pub struct Router(pub BTreeMap<String, BTreeMap<String, String>>);

impl Router {
    pub fn read() -> Self {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let routes = manifest["workspace"]["metadata"]["lambda"]["watch"]["router"].as_table().unwrap().clone();
        let methods = |route: &toml::Value| match route.as_array() {
            Some(methods) => methods
                .iter()
                .map(|entry| {
                    (entry["method"].as_str().unwrap().to_owned(), entry["function"].as_str().unwrap().to_owned())
                })
                .collect(),
            None => BTreeMap::from([("ANY".to_owned(), route.as_str().unwrap().to_owned())]),
        };
        Self(routes.iter().map(|(path, route)| (path.clone(), methods(route))).collect())
    }

    /// `(method, path, function)` of each route that is not the default one.
    pub fn routes(&self) -> Vec<(String, String, String)> {
        let all = self.0.iter().flat_map(|(path, methods)| {
            methods.iter().map(|(method, function)| (method.clone(), path.clone(), function.clone()))
        });
        all.filter(|(_, _, function)| function != "not-found").collect()
    }

    /// The route's path, its function, and the id in the path.
    fn find(&self, method: &str, path: &str) -> (String, String, Option<String>) {
        let exact = self.0.get_key_value(path).map(|(pattern, methods)| (pattern, methods, None));
        let by_id = || {
            self.0.iter().find_map(|(pattern, methods)| {
                let id = path.strip_prefix(pattern.strip_suffix("{id}")?)?;
                (!id.is_empty() && !id.contains('/')).then(|| (pattern, methods, Some(id.to_owned())))
            })
        };
        let default = "not-found".to_owned();
        match exact.or_else(by_id) {
            Some((pattern, methods, id)) => (pattern.clone(), methods.get(method).cloned().unwrap_or(default), id),
            None => (path.to_owned(), default, None),
        }
    }
}

/// What a request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn text(&self, pointer: &str) -> String {
        let found = self.body.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_else(|| panic!("no {pointer} in {self:?}")).to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// Each function's state, made when it is first called, as Lambda would.
#[derive(Default)]
struct States {
    create_profile: OnceCell<create_profile::State>,
    get_profile: OnceCell<get_profile::State>,
    get_settings: OnceCell<get_settings::State>,
    health: OnceCell<health::State>,
    issue_token: OnceCell<issue_token::State>,
    not_found: OnceCell<not_found::State>,
    record_status: OnceCell<record_status::State>,
    record_verification: OnceCell<record_verification::State>,
    update_profile: OnceCell<update_profile::State>,
}

pub struct App {
    env: Env,
    router: Router,
    states: States,
}

impl App {
    /// The functions, at the PocketBase that tests share.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The same with some variables of the test's own.
    pub async fn with(own: &[(&str, &str)]) -> Self {
        Self::at(&shared().await.url, own)
    }

    /// The functions, with a proxy between them and PocketBase.
    pub async fn behind(proxy: &Proxy, own: &[(&str, &str)]) -> Self {
        Self::at(&proxy.url, own)
    }

    pub fn at(pocketbase_url: &str, own: &[(&str, &str)]) -> Self {
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env = variables(pocketbase_url).into_iter().chain(own).collect();
        Self { env, router: Router::read(), states: States::default() }
    }

    pub fn get(&self, path: &str) -> Ask<'_> {
        self.ask("GET", path)
    }

    pub fn post(&self, path: &str) -> Ask<'_> {
        self.ask("POST", path)
    }

    pub fn patch(&self, path: &str) -> Ask<'_> {
        self.ask("PATCH", path)
    }

    pub fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        Ask { app: self, method: method.to_owned(), path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// A token of one of the configured clients.
    pub async fn token(&self, client: &str) -> String {
        let secret = if client == "postman" { "replace-me".to_owned() } else { format!("{client}-secret") };
        let credentials = json!({ "client_id": client, "client_secret": secret });
        self.post("/api/auth/token").json(&credentials).send().await.text("/access_token")
    }

    /// A new profile of a client's team: its id and a flow token for it.
    pub async fn profile(&self, client: &str) -> (String, String) {
        let token = self.token(client).await;
        let person = json!({ "userID": super::unique("user") });
        let created = self.post("/api/profiles/create").bearer(&token).json(&person).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        (created.text("/id"), created.text("/flow_token"))
    }

    async fn call(&self, function: &str, request: Request) -> lambda_http::Response<Body> {
        macro_rules! call {
            ($module:ident, $state:expr) => {{
                let state = self.states.$module.get_or_init(|| async { $state.expect("the function starts") }).await;
                answer(&|request| $module::handle(state, request), request).await
            }};
        }
        match function {
            "create-profile" => call!(create_profile, create_profile::State::from_env(&self.env).await),
            "get-profile" => call!(get_profile, get_profile::State::from_env(&self.env).await),
            "get-settings" => call!(get_settings, get_settings::State::from_env(&self.env).await),
            "health" => call!(health, health::State::from_env(&self.env).await),
            "issue-token" => call!(issue_token, issue_token::State::from_env(&self.env)),
            "not-found" => call!(not_found, not_found::State::new()),
            "record-status" => call!(record_status, record_status::State::from_env(&self.env).await),
            "record-verification" => call!(record_verification, record_verification::State::from_env(&self.env).await),
            "update-profile" => call!(update_profile, update_profile::State::from_env(&self.env).await),
            _ => panic!("no function {function}"),
        }
    }
}

/// A request that is being put together.
pub struct Ask<'a> {
    app: &'a App,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Ask<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    pub fn key(self, key: &str) -> Self {
        self.header("x-api-key", key)
    }

    pub fn body(mut self, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    pub fn json(self, body: &Value) -> Self {
        self.body("application/json", body.to_string())
    }

    pub fn form(self, form: FormBody) -> Self {
        self.body(&form.content_type(), form.finish())
    }

    /// Sends it as API Gateway would: an HTTP API event, format 2.0.
    pub async fn send(self) -> Answer {
        let (route, function, id) = self.app.router.find(&self.method, &self.path);
        let headers: BTreeMap<_, _> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": self.path,
            "rawQueryString": "",
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "api-id",
                "domainName": "id.execute-api.us-east-1.amazonaws.com",
                "http": { "method": self.method, "path": self.path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "tests" },
                "requestId": "gateway-request-id",
                "routeKey": "$default",
                "stage": "$default",
                "time": "20/Nov/2026:00:00:00 +0000",
                "timeEpoch": 1_795_000_000_000_u64,
            },
            "pathParameters": id.map(|id| json!({ "id": id })),
            "body": if self.body.is_empty() { Value::Null } else { STANDARD.encode(&self.body).into() },
            "isBase64Encoded": !self.body.is_empty(),
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let response = self.app.call(&function, request).await;
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers.get("x-request-id").unwrap(), "gateway-request-id");
        assert_ne!(parts.status, StatusCode::INTERNAL_SERVER_ERROR, "{body:?}");
        assert_eq!(parts.headers["content-type"], "application/json");
        let (status, body) = (parts.status.as_u16(), serde_json::from_slice(&body).expect("every answer is JSON"));
        if function != "not-found" {
            openapi::judge(&self.method, &route, status, &body);
        }
        Answer { status, headers: parts.headers, body }
    }
}
