//! Reader of template.yaml, the AWS SAM template: its functions, their routes and their triggers.
//!
//! The template is the one place that names them. The router of the local gateway, the 405 table of `not-found`, the triggers of the
//! local stack and the test application are derived from what this crate reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde_norway::Value;

/// Why the template cannot be used.
#[derive(Debug)]
pub struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "template.yaml: {}", self.0)
    }
}

impl std::error::Error for Error {}

/// The functions, routes and triggers of a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// Logical id of each function (`GetProfileFunction`) → its binary (`get-profile`).
    pub functions: BTreeMap<String, String>,
    /// The routes of the HTTP API, without the default one.
    pub routes: BTreeSet<Route>,
    /// The binary of the `$default` route, which gets every request that no route matches.
    pub default: Option<String>,
    /// What invokes a function besides the HTTP API.
    pub triggers: BTreeSet<Trigger>,
}

/// A route of the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// The path, with parameters in braces: `/api/profiles/{id}`, and `{proxy+}` for the rest of a path.
    pub path: String,
    /// The method, in upper case.
    pub method: String,
    /// The binary that answers it.
    pub binary: String,
}

/// An event source of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trigger {
    /// The source.
    pub source: Source,
    /// The binary that is invoked.
    pub binary: String,
}

/// What invokes a function besides the HTTP API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A schedule expression: `rate(1 minute)`.
    Schedule(String),
    /// The logical id of an SQS queue.
    Queue(String),
}

/// The path of the project's template.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml")
}

impl Template {
    /// Reads a template from a file.
    ///
    /// # Errors
    /// When the file cannot be read, or a function in it names no binary or has an event that is neither a route nor a trigger.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error(format!("{}: {error}", path.display())))?;
        Self::parse(&text)
    }

    /// Reads a template from its text.
    ///
    /// # Errors
    /// When the text is not a template, or a function in it names no binary or has an event that is neither a route nor a trigger.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut document: Value = serde_norway::from_str(text).map_err(|error| Error(error.to_string()))?;
        document.apply_merge().map_err(|error| Error(error.to_string()))?;
        let mut template = Self::default();
        let resources = document.get("Resources").and_then(Value::as_mapping);
        for (name, resource) in resources.ok_or_else(|| Error("it has no Resources".to_owned()))? {
            if resource.get("Type").and_then(Value::as_str) == Some("AWS::Serverless::Function") {
                let name = text_of(name).unwrap_or_default();
                template.add(name, resource).map_err(|reason| Error(format!("{name}: {reason}")))?;
            }
        }
        Ok(template)
    }

    /// The binaries of all functions.
    pub fn binaries(&self) -> BTreeSet<&str> {
        self.functions.values().map(String::as_str).collect()
    }

    /// The methods of each path, with the binary that answers each.
    ///
    /// Where API Gateway has `/verif/{proxy+}`, which matches `/verif/` and everything below, there are two paths, in the syntax of the
    /// routers of Rust: `/verif/` and `/verif/{*proxy}`.
    pub fn paths(&self) -> BTreeMap<String, BTreeMap<&str, &str>> {
        let mut paths: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for route in &self.routes {
            let patterns = match route.path.strip_suffix("{proxy+}") {
                Some(folder) => vec![folder.to_owned(), format!("{folder}{{*proxy}}")],
                None => vec![route.path.clone()],
            };
            for pattern in patterns {
                paths.entry(pattern).or_default().insert(&*route.method, &*route.binary);
            }
        }
        paths
    }

    /// Whether a binary answers requests of the HTTP API, and not only triggers.
    pub fn answers_http(&self, binary: &str) -> bool {
        self.default.as_deref() == Some(binary) || self.routes.iter().any(|route| route.binary == binary)
    }

    fn add(&mut self, name: &str, resource: &Value) -> Result<(), String> {
        let binary = binary(resource).ok_or("neither CodeUri nor Metadata.BuildProperties.Binary names a binary")?;
        self.functions.insert(name.to_owned(), binary.to_owned());
        let events = resource.get("Properties").and_then(|properties| properties.get("Events"));
        for (event, source) in events.and_then(Value::as_mapping).into_iter().flatten() {
            let event = text_of(event).unwrap_or_default();
            self.add_event(binary, source).map_err(|reason| format!("event {event}: {reason}"))?;
        }
        Ok(())
    }

    fn add_event(&mut self, binary: &str, source: &Value) -> Result<(), String> {
        let binary = binary.to_owned();
        let property = |name| source.get("Properties").and_then(|properties| properties.get(name)).and_then(text_of);
        let required = |name| property(name).map(str::to_owned).ok_or_else(|| format!("it has no {name}"));
        match source.get("Type").and_then(Value::as_str).unwrap_or_default() {
            "HttpApi" if property("Path").is_none() => self.default = Some(binary),
            "HttpApi" => {
                let (path, method) = (required("Path")?, required("Method")?.to_uppercase());
                self.routes.insert(Route { path, method, binary });
            }
            "Schedule" => {
                self.triggers.insert(Trigger { source: Source::Schedule(required("Schedule")?), binary });
            }
            "SQS" => {
                let queue = required("Queue")?;
                let queue = queue.trim_end_matches(".Arn").to_owned();
                self.triggers.insert(Trigger { source: Source::Queue(queue), binary });
            }
            other => return Err(format!("the type {other:?} is not known here")),
        }
        Ok(())
    }
}

/// The binary of a function: the last segment of `CodeUri` (`target/lambda/get-profile`), else the one that `sam build` would build.
fn binary(resource: &Value) -> Option<&str> {
    let code_uri = resource.get("Properties").and_then(|properties| properties.get("CodeUri")).and_then(text_of);
    let built = || resource.get("Metadata")?.get("BuildProperties")?.get("Binary").and_then(text_of);
    code_uri
        .and_then(|path| path.trim_end_matches('/').rsplit('/').next())
        .filter(|name| !name.is_empty())
        .or_else(built)
}

/// The text of a scalar, also behind a tag of CloudFormation (`!GetAtt Queue.Arn`).
fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Tagged(tagged) => text_of(&tagged.value),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    const TEMPLATE: &str = r#"
Resources:
  Queue:
    Type: AWS::SQS::Queue
  GetFunction:
    Type: AWS::Serverless::Function
    Properties: &defaults
      CodeUri: target/lambda/get
      Environment: { Variables: { URL: !Sub "https://${Api}" } }
      Events:
        Route: { Type: HttpApi, Properties: { ApiId: !Ref Api, Method: get, Path: "/things/{id}" } }
        Other: { Type: HttpApi, Properties: { Method: PATCH, Path: "/things/{id}" } }
        Below: { Type: HttpApi, Properties: { Method: GET, Path: "/page/{proxy+}" } }
  LastFunction:
    Type: AWS::Serverless::Function
    Metadata: { BuildMethod: rust-cargolambda, BuildProperties: { Binary: last } }
    Properties:
      Events:
        Default: { Type: HttpApi, Properties: { ApiId: !Ref Api } }
  WorkFunction:
    Type: AWS::Serverless::Function
    Properties:
      <<: *defaults
      CodeUri: target/lambda/work/
      Events:
        Queue: { Type: SQS, Properties: { Queue: !GetAtt Queue.Arn } }
        Tick: { Type: Schedule, Properties: { Schedule: rate(1 minute) } }
"#;

    fn route(method: &str, path: &str, binary: &str) -> Route {
        Route { path: path.to_owned(), method: method.to_owned(), binary: binary.to_owned() }
    }

    #[test]
    fn functions_routes_and_triggers_are_read() {
        let template = Template::parse(TEMPLATE).unwrap();
        let functions = [("GetFunction", "get"), ("LastFunction", "last"), ("WorkFunction", "work")];
        assert_eq!(template.functions, functions.map(|(name, binary)| (name.to_owned(), binary.to_owned())).into());
        assert_eq!(
            template.routes,
            [
                route("GET", "/page/{proxy+}", "get"),
                route("GET", "/things/{id}", "get"),
                route("PATCH", "/things/{id}", "get")
            ]
            .into()
        );
        assert_eq!(template.default.as_deref(), Some("last"));
        let sources = [Source::Queue("Queue".to_owned()), Source::Schedule("rate(1 minute)".to_owned())];
        assert_eq!(template.triggers, sources.map(|source| Trigger { source, binary: "work".to_owned() }).into());
    }

    #[test]
    fn a_binary_is_asked_for_its_routes() {
        let template = Template::parse(TEMPLATE).unwrap();
        assert_eq!(["get", "last", "work"].map(|binary| template.answers_http(binary)), [true, true, false]);
        assert_eq!(template.paths()["/things/{id}"], [("GET", "get"), ("PATCH", "get")].into());
        let paths: Vec<_> = template.paths().into_keys().collect();
        assert_eq!(paths, ["/page/", "/page/{*proxy}", "/things/{id}"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let function = |properties: &str| {
            format!("Resources: {{ A: {{ Type: AWS::Serverless::Function, Properties: {{ {properties} }} }} }}")
        };
        for (text, complaint) in [
            ("a: [", ""),
            ("Description: none", "it has no Resources"),
            (&function("Timeout: 1"), "A: neither CodeUri nor"),
            (&function("CodeUri: a, Events: { E: { Type: S3 } }"), "A: event E: the type \"S3\""),
            (&function("CodeUri: a, Events: { E: { Type: SQS } }"), "A: event E: it has no Queue"),
            (&function("CodeUri: a, Events: { E: { Type: HttpApi, Properties: { Path: / } } }"), "it has no Method"),
        ] {
            let error = Template::parse(text).unwrap_err().to_string();
            assert!(error.contains(complaint) && error.starts_with("template.yaml: "), "{error}");
        }
    }

    #[test]
    fn the_projects_template_can_be_read() {
        let template = Template::read(&path()).unwrap();
        assert!(template.functions.len() > 20 && template.routes.len() > 15 && template.default.is_some());
    }
}
