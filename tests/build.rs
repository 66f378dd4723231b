//! Writes the list of functions for the test application, from template.yaml.

use std::error::Error;
use std::path::Path;

use template::Template;

fn main() -> Result<(), Box<dyn Error>> {
    let path = template::path();
    println!("cargo::rerun-if-changed={}", path.display());
    let template = Template::read(&path)?;
    let (http, events): (Vec<_>, Vec<_>) =
        template.binaries().into_iter().partition(|binary| template.answers_http(binary));
    let module = |binary: &str| binary.replace('-', "_");
    let http: String = http.iter().map(|binary| format!("        {binary:?} => {},\n", module(binary))).collect();
    let events: String = events.iter().map(|binary| format!("        {},\n", module(binary))).collect();
    let call = format!("functions! {{\n    http {{\n{http}    }}\n    events {{\n{events}    }}\n}}\n");
    std::fs::write(Path::new(&std::env::var("OUT_DIR")?).join("functions.rs"), call)?;
    Ok(())
}
