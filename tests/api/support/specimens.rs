//! Pictures that say, in a code that survives being encoded again, what the stand-ins are to see.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
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

/// Draws with Python, which takes a second, once: `.run/pictures` keeps what has been drawn.
fn draw(what: &str, said: &Value, extension: &str) -> Vec<u8> {
    static DRAWN: LazyLock<Drawn> = LazyLock::new(Mutex::default);
    let mut drawn = DRAWN.lock().unwrap();
    let draw = || {
        let script = root().join("tools/local/specimens.py");
        let mut hasher = DefaultHasher::new();
        (std::fs::read(&script).unwrap(), what, said.to_string()).hash(&mut hasher);
        let folder = root().join(".run/pictures");
        let kept = folder.join(format!("{what}-{:016x}.{extension}", hasher.finish()));
        if let Ok(bytes) = std::fs::read(&kept) {
            return bytes;
        }
        std::fs::create_dir_all(&folder).unwrap();
        let file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile_in(&folder).unwrap();
        let mut python = std::process::Command::new(root().join(".venv/bin/python"));
        python.arg(script).args([what, &said.to_string()]).arg(file.path());
        assert!(python.status().unwrap().success());
        let bytes = std::fs::read(file.path()).unwrap();
        file.persist(kept).unwrap();
        bytes
    };
    drawn.entry(format!("{what} {said}")).or_insert_with(draw).clone()
}
