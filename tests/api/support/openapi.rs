//! openapi.yaml as a judge of answers.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::root;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = std::fs::read_to_string(root().join("openapi.yaml")).unwrap();
    serde_norway::from_str(&text).expect("openapi.yaml is YAML that JSON can hold")
});

static NO_BODY: LazyLock<Value> = LazyLock::new(|| json!({ "type": "null" }));

pub fn document() -> &'static Value {
    &DOCUMENT
}

/// Follows a `$ref` within the document.
pub fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(reference) => document().pointer(&reference[1..]).unwrap_or_else(|| panic!("nothing at {reference}")),
        None => value,
    }
}

/// A validator of a schema of the document.
pub fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::new(&json!({ "allOf": [schema], "components": document()["components"] })).unwrap()
}

/// Checks that the document describes this answer of a route.
pub fn judge(method: &str, path: &str, status: u16, body: &Value) {
    type Validators = Mutex<HashMap<(String, String, u16, bool), Arc<Validator>>>;
    static VALIDATORS: LazyLock<Validators> = LazyLock::new(Mutex::default);
    let key = (method.to_lowercase(), path.to_owned(), status, body.is_string());
    let known = VALIDATORS.lock().unwrap().get(&key).cloned();
    let validator = known.unwrap_or_else(|| {
        let responses = &document()["paths"][path][&key.0]["responses"];
        let response = responses
            .get(status.to_string())
            .unwrap_or_else(|| panic!("openapi.yaml knows no {status} of {method} {path}: {body}"));
        // What has no content has no body.
        let content = &resolved(response)["content"];
        let kind = if body.is_string() { "text/html" } else { "application/json" };
        let schema = &content[kind]["schema"];
        let made = Arc::new(validator(if schema.is_null() { &NO_BODY } else { schema }));
        VALIDATORS.lock().unwrap().insert(key, made.clone());
        made
    });
    let errors: Vec<_> = validator.iter_errors(body).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{method} {path} {status} is not as openapi.yaml says: {errors:?}\n{body}");
}
