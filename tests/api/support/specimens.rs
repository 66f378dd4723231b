//! Pictures that say, in a code that survives being encoded again, what the stand-ins are to see.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use serde_json::Value;

use super::root;

type Drawn = Mutex<HashMap<String, Vec<u8>>>;

/// The photo of a document, a JPEG.
pub fn photo(said: &Value) -> Vec<u8> {
    draw("photo", said, "jpg")
}

/// A selfie video, a WebM.
pub fn selfie(said: &Value) -> Vec<u8> {
    draw("selfie", said, "webm")
}

fn draw(what: &str, said: &Value, extension: &str) -> Vec<u8> {
    static DRAWN: LazyLock<Drawn> = LazyLock::new(Mutex::default);
    let mut drawn = DRAWN.lock().unwrap();
    let draw = || {
        let file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile().unwrap();
        let mut python = std::process::Command::new(root().join(".venv/bin/python"));
        python.arg(root().join("tools/local/specimens.py")).args([what, &said.to_string()]).arg(file.path());
        assert!(python.status().unwrap().success());
        std::fs::read(file.path()).unwrap()
    };
    drawn.entry(format!("{what} {said}")).or_insert_with(draw).clone()
}
