//! The functions behind the routes of template.yaml, in this process.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::{HeaderMap, StatusCode};
use lambda_http::{Body, Request};
use local::standins::StandIns;
use serde_json::{Value, json};
use shared::env::Env;
use shared::runtime::{EventError, HttpService, Tick};
use template::Template;
use tokio::sync::OnceCell;

use super::{FormBody, Proxy, openapi, template, unique, variables};

/// The routes of template.yaml, as API Gateway matches them.
struct Router(Template);

impl Router {
    /// The route's path, its function, and the parameter in the path.
    fn find(&self, method: &str, path: &str) -> (String, String, Option<(String, String)>) {
        let paths = self.0.paths();
        let with_method = paths.iter().filter_map(|(pattern, methods)| Some((pattern, *methods.get(method)?)));
        let mut matching: Vec<_> = with_method
            .filter_map(|(pattern, binary)| Some((pattern, binary, parameter(pattern, path)?)))
            .map(|(pattern, binary, parameter)| (pattern.to_owned(), binary.to_owned(), parameter))
            .collect();
        // The most specific pattern first: without a parameter, with one, with the rest of the path.
        matching.sort_by_key(|(pattern, _, parameter)| (pattern.contains('*'), parameter.is_some()));
        let default = || (path.to_owned(), self.0.default.clone().unwrap(), None);
        matching.into_iter().next().unwrap_or_else(default)
    }
}

/// Matches a path with a pattern: `None` if it does not match, else the parameter in the path, if there is one.
fn parameter(pattern: &str, path: &str) -> Option<Option<(String, String)>> {
    let Some((start, rest)) = pattern.split_once('{') else { return (pattern == path).then_some(None) };
    let (name, end) = rest.split_once('}')?;
    let value = path.strip_prefix(start)?.strip_suffix(end)?;
    let matches = !value.is_empty() && (name.starts_with('*') || !value.contains('/'));
    matches.then(|| Some((name.trim_start_matches('*').to_owned(), value.to_owned())))
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

/// Declares [`Functions`]: each function with its state, started when it is first called, as Lambda would.
macro_rules! functions {
    (http { $($binary:literal => $http:ident,)* } events { $($event:ident,)* }) => {
        #[derive(Default)]
        struct Functions {
            $($http: OnceCell<HttpService<$http::State>>,)*
            $($event: OnceCell<$event::State>,)*
        }

        impl Functions {
            /// Answers a request with a function.
            async fn call(&self, env: &Env, function: &str, request: Request) -> lambda_http::Response<Body> {
                match function {
                    $($binary => {
                        let start = async || {
                            let service = HttpService::start(
                                $binary,
                                env.clone(),
                                |env| Box::pin($http::State::from_env(env)),
                                |state, request| Box::pin($http::handle(state, request)),
                            );
                            service.await.expect("the function starts")
                        };
                        // Boxed: the arms share one stack.
                        Box::pin(async { self.$http.get_or_init(start).await.answer(request).await }).await
                    })*
                    _ => panic!("no function {function}"),
                }
            }
        }
    };
}

// A call of the macro with the functions of template.yaml, which build.rs writes.
include!(concat!(env!("OUT_DIR"), "/functions.rs"));

/// Stand-ins that serve until the test ends.
pub fn stand_ins() -> (StandIns, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let standins = StandIns::default();
    tokio::spawn(standins.clone().serve(tokio::net::TcpListener::from_std(listener).unwrap()));
    (standins, url)
}

/// A partner with its keys.
pub struct Partner {
    pub team: String,
    pub secret: String,
    pub publishable: String,
    pub link_secret: String,
}

impl Partner {
    /// A link to the hosted page that the partner signed, for so many seconds; negative for an expired one.
    pub fn signed_link(&self, user: &str, seconds: i64) -> String {
        let expires = u64::try_from(chrono::Utc::now().timestamp() + seconds).unwrap();
        let secret = shared::pocketbase::records::LinkSecret(self.link_secret.clone());
        let signature = shared::auth::sign_link(&secret, &user.parse().unwrap(), expires).unwrap();
        format!("{}&expires={expires}&signature={signature}", self.open_link(user))
    }

    /// A link to the hosted page without a signature.
    pub fn open_link(&self, user: &str) -> String {
        let user: String = url::form_urlencoded::byte_serialize(user.as_bytes()).collect();
        format!("/verif/?api_key={}&user_identifier={user}", self.publishable)
    }
}

pub struct App {
    env: Env,
    router: Router,
    functions: Functions,
    /// What stands in for Rekognition, OpenAI and Fingerprint: this app's own.
    pub standins: StandIns,
}

impl App {
    /// The functions, at the PocketBase that tests share.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The same with some variables of the test's own.
    pub async fn with(own: &[(&str, &str)]) -> Self {
        Self::at(&super::shared().await.url, own)
    }

    /// The functions, with a proxy between them and PocketBase.
    pub async fn behind(proxy: &Proxy, own: &[(&str, &str)]) -> Self {
        Self::at(&proxy.url, own)
    }

    pub fn at(pocketbase_url: &str, own: &[(&str, &str)]) -> Self {
        let (standins, url) = stand_ins();
        // Nobody is at moto's place: a test that needs it says where it is.
        let services = local::standins::variables(&Env::default(), &url, "http://127.0.0.1:1");
        let services = services.into_iter().map(|(name, value)| (name.to_owned(), value));
        let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env = variables(pocketbase_url).into_iter().chain(services).chain(own).collect();
        Self { env, router: Router(template()), functions: Functions::default(), standins }
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

    /// A new partner with open links and a team of its own. `own` are more fields of its record.
    pub async fn partner(&self, own: Value) -> Partner {
        let name = unique("partner");
        let (secret, publishable) = (format!("sk_{name}"), format!("pk_{name}"));
        let mut record = json!({
            "name": name,
            "team": unique("team"),
            "active": true,
            "secret_key_hash": shared::auth::hash_api_key(&secret),
            "publishable_key_hash": shared::auth::hash_api_key(&publishable),
            "link_mode": "open",
            "link_secret": format!("ls_{name}"),
        });
        record.as_object_mut().unwrap().extend(own.as_object().cloned().unwrap());
        let record = super::shared().await.superuser().await.unwrap().create("partners", record).await.unwrap();
        let text = |field: &str| record[field].as_str().unwrap().to_owned();
        Partner { team: text("team"), link_secret: text("link_secret"), secret, publishable }
    }

    /// A profile that a partner's backend creates, with what it declares: its id and a flow token.
    pub async fn person(&self, partner: &Partner, declared: Value) -> (String, String) {
        let mut person = json!({ "userID": unique("user") });
        person.as_object_mut().unwrap().extend(declared.as_object().cloned().unwrap());
        let created = self.post("/api/profiles/create").key(&partner.secret).json(&person).send().await;
        assert_eq!(created.status, 201, "{created:?}");
        (created.text("/id"), created.text("/flow_token"))
    }

    /// A session of Face Liveness made with a token, in which the person does as told: `live`, `not_live`, a score, ….
    pub async fn session(&self, token: &str, outcome: &str) -> String {
        let created = self.post("/api/face-liveness/session").bearer(token).send().await;
        let id = created.text("/sessionId");
        assert!(self.standins.end_session(&id, outcome));
        id
    }

    /// Brings messages of the queue to who delivers them; the ids of those that it could not handle.
    pub async fn bring(&self, messages: &[String]) -> Vec<String> {
        let state = self
            .functions
            .deliver_webhook
            .get_or_init(async || deliver_webhook::State::from_env(&self.env).await.unwrap());
        let records: Vec<_> = messages.iter().map(|body| json!({ "messageId": body, "body": body })).collect();
        let messages = serde_json::from_value(json!({ "Records": records })).unwrap();
        let unhandled = Box::pin(deliver_webhook::handle(state.await, messages)).await.unwrap();
        let unhandled = serde_json::to_value(unhandled).unwrap();
        let failures = unhandled["batchItemFailures"].as_array().unwrap();
        failures.iter().map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned()).collect()
    }

    /// A tick of the schedule; how many webhooks were tried and how many checks ended.
    pub async fn sweep(&self) -> (usize, usize) {
        self.try_sweep().await.unwrap()
    }

    /// A tick of the schedule that may fail.
    pub async fn try_sweep(&self) -> Result<(usize, usize), EventError> {
        let state = self
            .functions
            .sweep_webhooks
            .get_or_init(async || sweep_webhooks::State::from_env(&self.env).await.unwrap());
        let swept = Box::pin(sweep_webhooks::handle(state.await, Tick(Value::Null))).await?;
        Ok((swept.webhooks, swept.checks))
    }

    /// A day's tick of the schedule.
    pub async fn clean(&self) -> Result<Value, String> {
        let state = self
            .functions
            .enforce_retention
            .get_or_init(async || enforce_retention::State::from_env(&self.env).await.unwrap());
        let cleaned = Box::pin(enforce_retention::handle(state.await, Tick(Value::Null))).await;
        cleaned.map(|cleaned| json!(cleaned)).map_err(|failure| failure.to_string())
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
        let (path, query) = self.path.split_once('?').unwrap_or((&self.path, ""));
        let (route, function, parameter) = self.app.router.find(&self.method, path);
        let parameters: BTreeMap<_, _> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let headers: BTreeMap<_, _> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request_id = unique("request");
        let event = json!({
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": query,
            "queryStringParameters": parameters,
            "headers": headers,
            "requestContext": {
                "accountId": "123456789012",
                "apiId": "api-id",
                "domainName": "id.execute-api.us-east-1.amazonaws.com",
                "http": { "method": self.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "tests" },
                "requestId": request_id,
                "routeKey": "$default",
                "stage": "$default",
                "time": "20/Nov/2026:00:00:00 +0000",
                "timeEpoch": 1_795_000_000_000_u64,
            },
            "pathParameters": parameter.map(|(name, value)| json!({ name: value })),
            "body": if self.body.is_empty() { Value::Null } else { STANDARD.encode(&self.body).into() },
            "isBase64Encoded": !self.body.is_empty(),
        });
        let request = lambda_http::request::from_str(&event.to_string()).unwrap();
        let response = self.app.functions.call(&self.app.env, &function, request).await;
        let (parts, body) = response.into_parts();
        assert_eq!(parts.headers.get("x-request-id").unwrap(), &*request_id);
        let status = parts.status.as_u16();
        let is_page = parts.headers.get("content-type").is_some_and(|kind| kind == "text/html; charset=utf-8");
        let body = if matches!(status, 204 | 303) {
            assert!(body.is_empty() && !parts.headers.contains_key("content-type"));
            Value::Null
        } else if is_page {
            String::from_utf8(body.to_vec()).unwrap().into()
        } else {
            assert_eq!(parts.headers["content-type"], "application/json");
            serde_json::from_slice(&body).expect("every other answer is JSON")
        };
        // The contract has this one for a check that came to nothing; every other is a mistake.
        assert!(
            parts.status != StatusCode::INTERNAL_SERVER_ERROR || body["error"] == "Verification processing failed",
            "{body:?}"
        );
        // openapi.yaml describes /verif/, and neither its form without a slash nor what does not exist below it.
        if function != "not-found" && !route.contains('*') {
            openapi::judge(&self.method, if route == "/verif" { "/verif/" } else { &route }, status, &body);
        }
        let mut headers = parts.headers;
        headers.remove("x-request-id");
        Answer { status, headers, body }
    }
}
