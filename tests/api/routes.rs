//! The routes stand in several files; they must be the same in all of them.

use std::collections::BTreeSet;

use serde_norway::Value;
use template::{Route, Source};

use crate::support::{described_routes, openapi, root, template};

fn yaml(file: &str) -> Value {
    let mut document: Value = serde_norway::from_str(&std::fs::read_to_string(root().join(file)).unwrap()).unwrap();
    document.apply_merge().unwrap();
    document
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// `(method, path)` of each route, with the paths of the local router for `{proxy+}`.
fn local_routes() -> BTreeSet<(String, String)> {
    let template = template();
    let paths = template.paths().into_iter();
    paths.flat_map(|(path, methods)| methods.into_keys().map(move |method| (method.to_owned(), path.clone()))).collect()
}

#[test]
fn the_local_router_has_the_routes_of_the_template() {
    let template = template();
    let router: toml::Table = local::gateway::configuration(&template).parse().unwrap();
    let mut routes = BTreeSet::new();
    for (path, methods) in router["watch"]["router"].as_table().unwrap() {
        for route in methods.as_array().unwrap() {
            let text = |field: &str| route[field].as_str().unwrap().to_owned();
            assert_eq!(template.paths()[path][&*text("method")], text("function"));
            routes.insert((text("method"), path.clone()));
        }
    }
    assert_eq!(routes, local_routes());
}

#[test]
fn the_local_stack_runs_every_function_and_the_one_of_the_default_route() {
    let template = template();
    let functions = local::gateway::functions(&template, 2);
    let named = functions.iter().filter(|function| function.name == function.binary).map(|function| &*function.binary);
    assert_eq!(named.collect::<BTreeSet<_>>(), template.binaries());
    let default: Vec<_> = functions.iter().filter(|function| function.name == "_").collect();
    assert_eq!(default.iter().map(|function| &*function.binary).collect::<Vec<_>>(), ["not-found"]);
    assert!(functions.iter().all(|function| function.processes == 2));
}

#[test]
fn the_functions_in_the_manifest_of_the_tests_are_up_to_date() {
    let manifest = std::fs::read_to_string(local::generate::manifest()).unwrap();
    assert_eq!(local::generate::update(&manifest, &template()).unwrap(), manifest, "run `make generate`");
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
    assert_eq!(described, described_routes());
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
    let existing: BTreeSet<_> = local_routes().into_iter().filter(|(_, path)| !path.contains('*')).collect();
    assert_eq!(known, existing);
}

#[test]
fn every_function_has_events_and_every_event_its_functions_route() {
    let template = template();
    let folders: BTreeSet<_> = std::fs::read_dir(root().join("events"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, template.functions.values().cloned().collect());
    for folder in folders {
        for file in std::fs::read_dir(root().join("events").join(&folder)).unwrap() {
            let file = file.unwrap().path();
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if let Some(trigger) = template.triggers.iter().find(|trigger| trigger.binary == folder) {
                let prefix = if matches!(trigger.source, Source::Queue(_)) { "sqs-" } else { "schedule-" };
                assert!(name.starts_with(prefix), "{name} begins with what brings it");
                continue;
            }
            assert!(name.get(..3).is_some_and(|status| status.parse::<u16>().is_ok()), "{name} begins with its status");
            let event: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            let route_key = event["routeKey"].as_str().unwrap();
            let is_known = match route_key.split_once(' ') {
                None => route_key == "$default" && template.default.as_ref() == Some(&folder),
                Some((method, path)) => template.routes.contains(&Route {
                    path: path.to_owned(),
                    method: method.to_owned(),
                    binary: folder.clone(),
                }),
            };
            assert!(is_known, "{folder}/{name}: {route_key}");
        }
    }
}

#[test]
fn the_functions_of_the_template_are_the_folders_of_functions() {
    let folders: BTreeSet<_> = std::fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(folders, template().functions.into_values().collect());
}

/// The secrets that a function uses.
fn secrets_of(binary: &str) -> &'static [&'static str] {
    match binary {
        "not-found" => &[],
        "issue-token" => &["JWT_SECRET", "JWT_CLIENTS_JSON"],
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
        "health"
        | "get-settings"
        | "delete-profile"
        | "create-liveness-session"
        | "get-liveness-results"
        | "issue-aws-credentials" => &["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "JWT_SECRET_PREVIOUS"],
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

const PEOPLE: &str = "people/*";
const UPLOADS: &str = "people/*/uploads/*";
const COPIES: &str = "people/*/taken/*";
const CHECKS: &str = "people/*/checks/*";

/// What a function does that uses an uploaded file: it copies the file, reads the copy, and deletes both.
const USE_UPLOADS: [(&str, &str); 6] = [
    ("s3:ListBucket", "bucket"),
    ("s3:GetObject", UPLOADS),
    ("s3:DeleteObject", UPLOADS),
    ("s3:GetObject", COPIES),
    ("s3:PutObject", COPIES),
    ("s3:DeleteObject", COPIES),
];

const DELETE_MEDIA: [(&str, &str); 2] = [("s3:ListBucket", "bucket"), ("s3:DeleteObject", PEOPLE)];

/// The calls of AWS that a function makes, with their resources; those for its secrets aside.
fn calls_of(binary: &str) -> Vec<(&'static str, &'static str)> {
    let queue = [("sqs:SendMessage", "WebhookQueue")];
    let results = [("rekognition:GetFaceLivenessSessionResults", "*")];
    let link = [("s3:GetObject", CHECKS)];
    match binary {
        "create-liveness-session" => vec![("rekognition:CreateFaceLivenessSession", "*")],
        "get-liveness-results" => results.to_vec(),
        "record-verification" => [&results[..], &USE_UPLOADS].concat(),
        "update-profile" | "analyze-document" => USE_UPLOADS.to_vec(),
        // The copies of its uploads are the media of the check.
        "submit-verification" => [
            &USE_UPLOADS[..3],
            &link,
            &[("s3:PutObject", CHECKS), ("s3:DeleteObject", CHECKS), ("rekognition:CompareFaces", "*")],
            &[("rekognition:DetectText", "*")],
            &queue,
        ]
        .concat(),
        "create-upload" => vec![("s3:PutObject", UPLOADS)],
        "delete-profile" => vec![DELETE_MEDIA[0], DELETE_MEDIA[1], ("s3:PutObject", "redactions/*")],
        "enforce-retention" => DELETE_MEDIA.to_vec(),
        "deliver-webhook" | "sweep-webhooks" => [link, queue].concat(),
        "record-status" | "resend-delivery" => queue.to_vec(),
        _ => Vec::new(),
    }
}

/// The calls that a policy's statement allows.
fn allowed_by(statement: &Value) -> Vec<(String, String)> {
    let resource = match &statement["Resource"] {
        Value::String(text) => text.clone(),
        // `!Sub [text, variables]` for a computed ARN, `!GetAtt Queue.Arn`.
        Value::Tagged(tagged) if tagged.tag == "!Sub" => match text(&tagged.value[0]).split_once("${Id}/") {
            Some((_, key)) => key.to_owned(),
            None => "bucket".to_owned(),
        },
        Value::Tagged(tagged) => text(&tagged.value).trim_end_matches(".Arn").to_owned(),
        other => panic!("{other:?}"),
    };
    let actions = match &statement["Action"] {
        Value::Sequence(actions) => actions.iter().map(text).collect(),
        action => vec![text(action)],
    };
    actions.into_iter().map(|action| (action, resource.clone())).collect()
}

fn is_tagged(value: &Value, tag: &str) -> bool {
    matches!(value, Value::Tagged(tagged) if tagged.tag == tag)
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
    for (name, binary) in crate::support::template().functions {
        let function = &template["Resources"][name.as_str()]["Properties"];
        let variables = &function["Environment"]["Variables"];
        // `!If [HasOpenAiApiKey, configured, ""]` tells that there is one, and not which.
        let has = |secret: &str| variables.get(secret).is_some_and(|value| is_tagged(value, "!Ref"));
        let given: BTreeSet<_> = secrets.iter().map(|(secret, _)| *secret).filter(|secret| has(secret)).collect();
        assert_eq!(given, secrets_of(&binary).iter().copied().collect(), "{binary}");

        let policies = function.get("Policies").and_then(Value::as_sequence).cloned().unwrap_or_default();
        let (conditional, others): (Vec<_>, Vec<_>) = policies.iter().partition(|policy| is_tagged(policy, "!If"));
        let documents = others.iter().map(|policy| match policy {
            Value::Tagged(managed) => &template["Resources"][text(&managed.value)]["Properties"]["PolicyDocument"],
            inline => inline,
        });
        let statements = documents.flat_map(|document| document["Statement"].as_sequence().unwrap());
        let allowed: BTreeSet<_> = statements.flat_map(allowed_by).collect();
        let calls = calls_of(&binary).into_iter().map(|(action, resource)| (action.to_owned(), resource.to_owned()));
        assert_eq!(allowed, calls.collect(), "{binary}");

        // The secret with PocketBase's account, the one with the rest, and the key of the bucket and the queue.
        let uses_pocketbase = given.contains("PB_USER_PASSWORD");
        let uses_others = given.iter().any(|secret| !secret.starts_with("PB_"));
        let uses_key = allowed
            .iter()
            .any(|(action, _)| matches!(action.as_str(), "s3:GetObject" | "s3:PutObject" | "sqs:SendMessage"));
        let expected: Vec<_> = [
            ("HasPocketBaseSecret", "ReadPocketBaseSecretPolicy", uses_pocketbase),
            ("HasSecrets", "ReadSecretsPolicy", uses_others),
            ("HasKmsKey", "UseKmsKeyPolicy", uses_key),
        ]
        .into_iter()
        .filter_map(|(condition, policy, is_used)| is_used.then_some((condition.to_owned(), policy.to_owned())))
        .collect();
        let conditional: Vec<_> = conditional
            .into_iter()
            .map(|policy| {
                let Value::Tagged(tagged) = policy else { panic!("{policy:?}") };
                let Value::Tagged(managed) = &tagged.value[1] else { panic!("{policy:?}") };
                (text(&tagged.value[0]), text(&managed.value))
            })
            .collect();
        assert_eq!(conditional, expected, "{binary}");
        let arns = variables.get("SECRET_ARNS").map(|arns| serde_norway::to_string(arns).unwrap()).unwrap_or_default();
        let reads = (arns.contains("PocketBaseSecretArn"), arns.contains("!Ref SecretsArn"));
        assert_eq!(reads, (uses_pocketbase, uses_others), "{binary}: {arns}");
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

#[test]
fn the_queue_and_the_schedules_start_three_functions() {
    let triggers: Vec<_> = template().triggers.into_iter().map(|trigger| (trigger.binary, trigger.source)).collect();
    let schedule = |binary: &str, expression: &str| (binary.to_owned(), Source::Schedule(expression.to_owned()));
    let queue = ("deliver-webhook".to_owned(), Source::Queue("WebhookQueue".to_owned()));
    let expected =
        [schedule("sweep-webhooks", "rate(1 minute)"), schedule("enforce-retention", "rate(12 hours)"), queue];
    assert_eq!(triggers, expected);
}
