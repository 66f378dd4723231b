//! `local generate`: the lists of functions in tests/Cargo.toml, which Cargo cannot derive from template.yaml by itself.

use std::path::PathBuf;

use template::Template;

use crate::Error;
use crate::process::root;

/// The first line of the generated part.
const BEGIN: &str = "# Generated from template.yaml by `make generate`: begin\n";

/// The line after the generated part.
const END: &str = "# Generated: end\n";

/// The manifest of the tests.
pub fn manifest() -> PathBuf {
    root().join("tests/Cargo.toml")
}

/// Rewrites the generated part of tests/Cargo.toml, unless it is up to date.
///
/// # Errors
/// When a file cannot be read or written, or the markers are missing.
pub fn run() -> Result<(), Error> {
    let template = Template::read(&template::path()).map_err(|error| Error::new(error.to_string()))?;
    let failed = |error: std::io::Error| Error::new(format!("tests/Cargo.toml: {error}"));
    let current = std::fs::read_to_string(manifest()).map_err(failed)?;
    let updated = update(&current, &template)?;
    if updated != current {
        std::fs::write(manifest(), updated).map_err(failed)?;
        println!("tests/Cargo.toml is updated");
    }
    Ok(())
}

/// The manifest with the functions of the template between its markers.
///
/// # Errors
/// When the markers are missing.
pub fn update(manifest: &str, template: &Template) -> Result<String, Error> {
    let missing = || Error::new(format!("tests/Cargo.toml has no lines {BEGIN:?} and {END:?}"));
    let (before, rest) = manifest.split_once(BEGIN).ok_or_else(missing)?;
    let (_, after) = rest.split_once(END).ok_or_else(missing)?;
    let binaries = template.binaries();
    let entry = |binary: &&str| format!("{binary} = {{ path = \"../functions/{binary}\" }}\n");
    let entries: String = binaries.iter().map(entry).collect();
    // cargo-machete does not see the code that build.rs generates.
    let ignored: String = binaries.iter().map(|binary| format!("    {binary:?},\n")).collect();
    Ok(format!("{before}{BEGIN}{entries}\n[package.metadata.cargo-machete]\nignored = [\n{ignored}]\n{END}{after}"))
}
