//! The routes stand in several files; they must be the same in all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_norway::Value;

use crate::support::{Router, openapi, root};

/// What template.yaml says.
pub struct Template {
    /// Resource → binary.
    pub functions: BTreeMap<String, String>,
    /// `(method, path, binary)`; the `$default` route is `("ANY", "$default", …)`.
    pub routes: BTreeSet<(String, String, String)>,
    /// What starts a function besides the gateway: `(type, binary)`.
    pub triggers: BTreeSet<(String, String)>,
}

fn yaml(file: &str) -> Value {
    let mut document: Value = serde_norway::from_str(&std::fs::read_to_string(root().join(file)).unwrap()).unwrap();
    document.apply_merge().unwrap();
    document
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Template {
    pub fn read() -> Self {
        let mut template = Self { functions: BTreeMap::new(), routes: BTreeSet::new(), triggers: BTreeSet::new() };
        for (name, resource) in yaml("template.yaml")["Resources"].as_mapping().unwrap() {
            if resource["Type"] != "AWS::Serverless::Function" {
                continue;
            }
            let code = text(&resource["Properties"]["CodeUri"]);
            let binary = code.strip_prefix("target/lambda/").unwrap().to_owned();
            template.functions.insert(text(name), binary.clone());
            for event in resource["Properties"]["Events"].as_mapping().unwrap().values() {
                if event["Type"] != "HttpApi" {
                    template.triggers.insert((text(&event["Type"]), binary.clone()));
                    continue;
                }
                let route = &event["Properties"];
                let route = match route.get("Path") {
                    Some(path) => (text(&route["Method"]), text(path), binary.clone()),
                    None => ("ANY".to_owned(), "$default".to_owned(), binary.clone()),
                };
                template.routes.insert(route);
            }
        }
        template
    }
}

/// `(method, path)` of each route but the default one.
fn template_routes() -> BTreeSet<(String, String)> {
    let routes = Template::read().routes.into_iter().filter(|route| !is_default(route));
    routes.map(|(method, path, _)| (method, path)).collect()
}

fn is_default(route: &(String, String, String)) -> bool {
    route.1 == "$default"
}

#[test]
fn the_local_router_has_the_routes_of_the_template() {
    let template = Template::read();
    let router = Router::read();
    let routes: BTreeSet<_> = template.routes.iter().filter(|route| !is_default(route)).cloned().collect();
    assert_eq!(router.routes().into_iter().collect::<BTreeSet<_>>(), routes);
    let default = template.routes.iter().find(|route| is_default(route)).unwrap();
    assert_eq!(router.0["/{*path}"]["ANY"], default.2);
    for (path, methods) in router.0.iter().filter(|(path, _)| *path != "/{*path}") {
        let named: Vec<_> = methods.keys().map(String::as_str).collect();
        assert_eq!(named, ["DELETE", "GET", "PATCH", "POST", "PUT"], "{path} says what becomes of every method");
    }
}

#[test]
fn openapi_describes_the_routes_of_the_template() {
    let openapi = yaml("openapi.yaml");
    let mut described = BTreeSet::new();
    for (path, item) in openapi["paths"].as_mapping().unwrap() {
        for method in item.as_mapping().unwrap().keys().map(text).filter(|key| key != "parameters") {
            described.insert((method.to_uppercase(), text(path)));
        }
    }
    assert_eq!(described, template_routes());
}

/// Every example of an answer is what its schema says, and so is every example of a JSON request.
#[test]
fn the_examples_of_openapi_are_what_their_schemas_say() {
    let mut examples = 0;
    for (path, item) in openapi::document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
            let answers = operation["responses"].as_object().unwrap().values().map(openapi::resolved);
            let contents = answers.chain(operation.get("requestBody")).map(|body| &body["content"]["application/json"]);
            for content in contents.filter(|content| content.is_object()) {
                let named = content["examples"].as_object().into_iter().flat_map(|examples| examples.values());
                for example in named.map(|example| &example["value"]).chain(content.get("example")) {
                    let validator = openapi::validator(&content["schema"]);
                    let errors: Vec<_> = validator.iter_errors(example).map(|error| error.to_string()).collect();
                    assert!(errors.is_empty(), "{method} {path}: {errors:?}\n{example}");
                    examples += 1;
                }
            }
        }
    }
    assert!(examples > 20, "{examples}");
}

#[test]
fn the_default_route_knows_the_routes_of_the_template() {
    let known: BTreeSet<_> = not_found::ROUTES
        .iter()
        .flat_map(|(path, methods)| methods.iter().map(|method| (method.to_string(), (*path).to_owned())))
        .collect();
    assert_eq!(known, template_routes());
}

#[test]
fn every_function_has_events_and_every_event_its_functions_route() {
    let template = Template::read();
    let folders: BTreeSet<_> = std::fs::read_dir(root().join("events"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, template.functions.values().cloned().collect());
    for folder in folders {
        for file in std::fs::read_dir(root().join("events").join(&folder)).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if let Some((kind, _)) = template.triggers.iter().find(|(_, binary)| *binary == folder) {
                let prefix = if kind == "SQS" { "sqs-" } else { "schedule-" };
                assert!(name.starts_with(prefix), "{name} begins with what brings it");
                continue;
            }
            assert!(name.get(..3).is_some_and(|status| status.parse::<u16>().is_ok()), "{name} begins with its status");
            let event: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let (method, path) = match event["routeKey"].as_str().unwrap() {
                "$default" => ("ANY", "$default"),
                route => route.split_once(' ').unwrap(),
            };
            let route = (method.to_owned(), path.to_owned(), folder.clone());
            assert!(template.routes.contains(&route), "{folder}/{name}: {route:?}");
        }
    }
}

#[test]
fn the_functions_of_the_template_are_the_folders_of_functions() {
    let folders: BTreeSet<_> = std::fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, Template::read().functions.into_values().collect());
}

/// The secrets that a function uses.
fn secrets_of(binary: &str) -> &'static [&'static str] {
    match binary {
        "not-found" => &[],
        "issue-token" => &["JWT_SECRET", "JWT_CLIENTS_JSON"],
        "issue-aws-credentials" => &["JWT_SECRET", "JWT_SECRET_PREVIOUS"],
        "analyze-document" => {
            &["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "JWT_SECRET_PREVIOUS", "OPENAI_API_KEY"]
        }
        "deliver-webhook" | "sweep-webhooks" | "enforce-retention" => &["PB_USER_PASSWORD", "PB_AUTH_TOKEN"],
        "submit-verification" => &[
            "PB_USER_PASSWORD",
            "PB_AUTH_TOKEN",
            "JWT_SECRET",
            "JWT_SECRET_PREVIOUS",
            "VALID_API_KEYS",
            "OPENAI_API_KEY",
        ],
        "health" | "get-settings" | "delete-profile" | "create-liveness-session" | "get-liveness-results" => {
            &["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "JWT_SECRET_PREVIOUS"]
        }
        "record-verification" => &[
            "PB_USER_PASSWORD",
            "PB_AUTH_TOKEN",
            "JWT_SECRET",
            "JWT_SECRET_PREVIOUS",
            "VALID_API_KEYS",
            "FINGERPRINT_SECRET_KEY",
        ],
        _ => &["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "JWT_SECRET_PREVIOUS", "VALID_API_KEYS"],
    }
}

/// What a function does that takes uploads.
const TAKE: [&str; 4] = ["s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"];

/// The permissions of AWS that a function uses, the secret's aside.
fn actions_of(binary: &str) -> Vec<&'static str> {
    let liveness = ["rekognition:GetFaceLivenessSessionResults"];
    match binary {
        "create-liveness-session" => vec!["rekognition:CreateFaceLivenessSession"],
        "get-liveness-results" => liveness.to_vec(),
        "record-verification" => [&liveness[..], &TAKE].concat(),
        "update-profile" | "analyze-document" => TAKE.to_vec(),
        "submit-verification" => [&TAKE[..], &["rekognition:CompareFaces", "sqs:SendMessage"]].concat(),
        "create-upload" => vec!["s3:PutObject"],
        "delete-profile" | "enforce-retention" => vec!["s3:ListBucket", "s3:DeleteObject"],
        "deliver-webhook" | "sweep-webhooks" => vec!["s3:GetObject", "sqs:SendMessage"],
        "record-status" | "resend-delivery" => vec!["sqs:SendMessage"],
        _ => Vec::new(),
    }
}

/// A function is given the secrets that it uses and no others, and may do at AWS what it does there and nothing else.
#[test]
fn no_function_is_given_a_secret_or_a_permission_that_it_does_not_use() {
    let secrets = [
        ("PB_USER_PASSWORD", "PocketBaseUserPassword"),
        ("PB_AUTH_TOKEN", "PocketBaseAuthToken"),
        ("JWT_SECRET", "JwtSecret"),
        ("JWT_SECRET_PREVIOUS", "JwtSecretPrevious"),
        ("JWT_CLIENTS_JSON", "JwtClientsJson"),
        ("VALID_API_KEYS", "ValidApiKeys"),
        ("OPENAI_API_KEY", "OpenAiApiKey"),
        ("FINGERPRINT_SECRET_KEY", "FingerprintSecretKey"),
    ];
    let template = yaml("template.yaml");
    let is_tagged = |value: &Value, tag: &str| matches!(value, Value::Tagged(tagged) if tagged.tag == tag);
    for (name, binary) in Template::read().functions {
        let function = &template["Resources"][name.as_str()]["Properties"];
        let variables = &function["Environment"]["Variables"];
        // `!If [HasOpenAiApiKey, configured, ""]` tells that there is one, and not which.
        let has = |secret: &str| variables.get(secret).is_some_and(|value| is_tagged(value, "!Ref"));
        let given: BTreeSet<_> = secrets.iter().map(|(secret, _)| *secret).filter(|secret| has(secret)).collect();
        assert_eq!(given, secrets_of(&binary).iter().copied().collect(), "{binary}");

        let policies = function.get("Policies").and_then(Value::as_sequence).cloned().unwrap_or_default();
        let (secret, others): (Vec<_>, Vec<_>) = policies.iter().partition(|policy| is_tagged(policy, "!If"));
        let reads_secret = !secrets_of(&binary).is_empty();
        assert_eq!((has("SECRETS_ARN"), secret.len()), (reads_secret, usize::from(reads_secret)), "{binary}");
        let documents = others.iter().map(|policy| match policy {
            Value::Tagged(managed) => &template["Resources"][text(&managed.value)]["Properties"]["PolicyDocument"],
            inline => inline,
        });
        let statements = documents.flat_map(|document| document["Statement"].as_sequence().unwrap());
        let actions: Vec<_> = statements.map(|statement| text(&statement["Action"])).collect();
        assert_eq!(actions, actions_of(&binary), "{binary}");
    }
    for (_, parameter) in secrets {
        assert_eq!(template["Parameters"][parameter]["NoEcho"], Value::Bool(true), "{parameter} never shows");
    }
}

/// What browsers are given allows two actions, and only one function can ask for it.
#[test]
fn the_role_of_browsers_is_for_face_liveness_and_trusts_one_function() {
    let role = &yaml("template.yaml")["Resources"]["LivenessClientRole"]["Properties"];
    let statement = &role["Policies"][0]["PolicyDocument"]["Statement"][0];
    let actions: Vec<_> = statement["Action"].as_sequence().unwrap().iter().map(text).collect();
    assert_eq!(actions, ["rekognition:StartFaceLivenessSession", "rekognition:GetFaceLivenessSessionResults"]);
    let trust = &role["AssumeRolePolicyDocument"]["Statement"];
    let Value::Tagged(principal) = &trust[0]["Principal"]["AWS"] else { panic!("{trust:?}") };
    assert_eq!(text(&principal.value), "IssueAwsCredentialsFunctionRole.Arn");
    assert_eq!(trust.as_sequence().unwrap().len(), 1);
}

/// The queue and the schedules start what the local stack starts as well.
#[test]
fn the_queue_and_the_schedules_start_three_functions() {
    let triggers = [("SQS", "deliver-webhook"), ("Schedule", "sweep-webhooks"), ("Schedule", "enforce-retention")];
    let triggers: BTreeSet<_> = triggers.map(|(kind, binary)| (kind.to_owned(), binary.to_owned())).into();
    assert_eq!(Template::read().triggers, triggers);
}

/// Nobody reads the bucket but who is given a link, and nothing stays in it.
#[test]
fn the_bucket_is_private_encrypted_and_forgetful() {
    let bucket = &yaml("template.yaml")["Resources"]["UploadsBucket"]["Properties"];
    let access = bucket["PublicAccessBlockConfiguration"].as_mapping().unwrap();
    assert!(access.len() == 4 && access.values().all(|value| *value == Value::Bool(true)));
    let encryption = &bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"][0];
    assert_eq!(encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"], "AES256");
    let rule = &bucket["LifecycleConfiguration"]["Rules"][0];
    let Value::Tagged(days) = &rule["ExpirationInDays"] else { panic!("{rule:?}") };
    assert_eq!((&rule["Status"], text(&days.value)), (&Value::from("Enabled"), "RetentionDays".to_owned()));
    assert_eq!(yaml("template.yaml")["Parameters"]["RetentionDays"]["Default"], 7);
    let cors = &bucket["CorsConfiguration"]["CorsRules"][0];
    assert_eq!(cors["AllowedMethods"], Value::from(vec![Value::from("POST")]));
    let origins = serde_norway::to_string(&cors["AllowedOrigins"]).unwrap();
    assert!(origins.contains("https://${Api}.execute-api") && !origins.contains("'*'"), "{origins}");
}
