//! Generates the table of the API's paths and their methods from template.yaml.

use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use template::Template;

/// The order of methods in `Allow`.
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "PATCH", "DELETE"];

fn main() -> Result<(), Box<dyn Error>> {
    let path = template::path();
    println!("cargo::rerun-if-changed={}", path.display());
    let template = Template::read(&path)?;
    let mut table =
        "/// The paths of the API and the methods of each.\npub const ROUTES: &[(&str, &[Method])] = &[\n".to_owned();
    // Below `{*proxy}` only some paths exist.
    for (path, methods) in template.paths().into_iter().filter(|(path, _)| !path.contains('*')) {
        if let Some(unknown) = methods.keys().find(|method| !METHODS.contains(method)) {
            return Err(format!("{path}: the method {unknown} is not known here").into());
        }
        let methods: Vec<_> = METHODS.iter().filter(|method| methods.contains_key(*method)).collect();
        let methods: Vec<_> = methods.iter().map(|method| format!("Method::{method}")).collect();
        writeln!(table, "    ({path:?}, &[{}]),", methods.join(", "))?;
    }
    table.push_str("];\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("routes.rs"), table)?;
    Ok(())
}
