//! The layers of the code: imports run downwards, and HTTP errors stay at the edge.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::support::root;

/// Modules of `shared/src` from the ground up. A module imports only modules before it, and its own parts.
const LAYERS: [&str; 12] = [
    "types",
    "env",
    "file",
    "cache",
    "upstream",
    "aws",
    "pocketbase",
    "auth",
    "budgets",
    "profiles",
    "http",
    "runtime",
];

/// The same below `shared/src/pocketbase`.
const POCKETBASE_LAYERS: [&str; 2] = ["client", "records"];

/// Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Lines of code of a file, without comments and unit tests.
fn code(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

/// The modules below `prefix` (`crate::`, say) that a file names.
fn modules_after<'a>(prefix: &str, code: &[String], known: &[&'a str]) -> Vec<&'a str> {
    let text = code.join("\n");
    let mut named = Vec::new();
    for rest in text.split(prefix).skip(1) {
        // `crate::{auth, aws}` names several modules.
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split_once("};").map_or(list, |(names, _)| names),
            None => rest,
        };
        let first =
            |name: &str| name.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
        let names: Vec<_> = match rest.starts_with('{') {
            true => names.split(',').map(|name| first(name.trim())).collect(),
            false => vec![first(names)],
        };
        named.extend(known.iter().filter(|module| names.iter().any(|name| name == *module)));
    }
    named
}

/// Place of the module that a file belongs to.
fn layer_of(path: &Path, folder: &Path, layers: &[&str]) -> Option<usize> {
    let inner = path.strip_prefix(folder).unwrap();
    let module = inner.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
    layers.iter().position(|layer| *layer == module)
}

#[test]
fn imports_in_shared_run_downwards() {
    for (folder, layers, prefix) in [
        ("shared/src", &LAYERS[..], "crate::"),
        ("shared/src/pocketbase", &POCKETBASE_LAYERS[..], "crate::pocketbase::"),
    ] {
        let folder = root().join(folder);
        let mut checked = 0;
        for path in sources(&folder) {
            let Some(own) = layer_of(&path, &folder, layers) else {
                let name = path.file_name().unwrap();
                assert!(
                    name == "lib.rs" || name == "mod.rs",
                    "{} belongs to no layer: add it to this test",
                    path.display()
                );
                continue;
            };
            let upward: Vec<_> = modules_after(prefix, &code(&path), layers)
                .into_iter()
                .filter(|named| layers.iter().position(|layer| layer == named).unwrap() > own)
                .collect();
            assert!(upward.is_empty(), "{} imports {upward:?}, which are above it", path.display());
            checked += 1;
        }
        assert!(checked > 5, "{}", folder.display());
    }
}

#[test]
fn the_test_of_imports_sees_every_form_of_them() {
    let lines = ["use crate::http::ApiError;", "use crate::{auth, aws};", "let x = crate::profiles::load();"];
    let lines = lines.map(str::to_owned);
    assert_eq!(modules_after("crate::", &lines, &LAYERS), ["http", "aws", "auth", "profiles"]);
}

#[test]
fn http_errors_stay_at_the_edge() {
    let is_edge = |path: &Path| {
        let path = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        path.starts_with("functions/")
            || path.starts_with("shared/src/http/")
            || path.starts_with("shared/src/runtime/")
            // The edge of a crate that several functions use: what callers are told of its errors.
            || (path.starts_with("shared/") && path.ends_with("/src/http.rs"))
    };
    for folder in ["shared", "functions", "tools"] {
        for path in sources(&root().join(folder)).into_iter().filter(|path| !is_edge(path)) {
            let code = code(&path);
            assert!(!code.iter().any(|line| line.contains("ApiError")), "{} names ApiError", path.display());
        }
    }
}

/// A function uses `shared` and the crates beside it, and nothing of another function.
#[test]
fn no_function_depends_on_another() {
    let functions: Vec<_> =
        std::fs::read_dir(root().join("functions")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut dependencies = BTreeMap::new();
    for function in &functions {
        let manifest = std::fs::read_to_string(function.join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let names: Vec<_> = manifest["dependencies"].as_table().unwrap().keys().cloned().collect();
        dependencies.insert(function.file_name().unwrap().to_str().unwrap().to_owned(), names);
    }
    for (function, names) in &dependencies {
        let others: Vec<_> = names.iter().filter(|name| dependencies.contains_key(*name)).collect();
        assert!(others.is_empty(), "{function} depends on {others:?}");
    }
}
