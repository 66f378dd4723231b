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
}

fn yaml(file: &str) -> Value {
    serde_norway::from_str(&std::fs::read_to_string(root().join(file)).unwrap()).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

impl Template {
    pub fn read() -> Self {
        let mut template = Self { functions: BTreeMap::new(), routes: BTreeSet::new() };
        for (name, resource) in yaml("template.yaml")["Resources"].as_mapping().unwrap() {
            if resource["Type"] != "AWS::Serverless::Function" {
                continue;
            }
            let binary = text(&resource["Metadata"]["BuildProperties"]["Binary"]);
            template.functions.insert(text(name), binary.clone());
            for event in resource["Properties"]["Events"].as_mapping().unwrap().values() {
                assert_eq!(event["Type"], "HttpApi");
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

/// A function is given the secrets that it uses and no others.
#[test]
fn no_function_is_given_a_secret_that_it_does_not_use() {
    let secrets = ["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "JWT_CLIENTS_JSON", "VALID_API_KEYS"];
    let uses = |binary: &str| -> &[&str] {
        match binary {
            "not-found" => &[],
            "issue-token" => &["JWT_SECRET", "JWT_CLIENTS_JSON"],
            "health" | "get-settings" => &["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET"],
            _ => &["PB_USER_PASSWORD", "PB_AUTH_TOKEN", "JWT_SECRET", "VALID_API_KEYS"],
        }
    };
    let template = yaml("template.yaml");
    for (name, binary) in Template::read().functions {
        let variables = &template["Resources"][name.as_str()]["Properties"]["Environment"]["Variables"];
        let given: BTreeSet<_> = secrets.iter().copied().filter(|secret| variables.get(*secret).is_some()).collect();
        assert_eq!(given, uses(&binary).iter().copied().collect(), "{binary}");
    }
    for parameter in ["PocketBaseUserPassword", "PocketBaseAuthToken", "JwtSecret", "JwtClientsJson", "ValidApiKeys"] {
        assert_eq!(template["Parameters"][parameter]["NoEcho"], Value::Bool(true), "{parameter} never shows");
    }
}
