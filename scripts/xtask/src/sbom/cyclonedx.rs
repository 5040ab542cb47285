//! The writer of CycloneDX 1.5 documents. Crates are in the order of their names, and there is
//! neither a serial number nor a time, which the format leaves optional.

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::crates::{Crate, Crates, Key};
use super::policy::canonical;

/// The version of the format, and where its schema is published.
const VERSION: &str = "1.5";
const SCHEMA: &str = "http://cyclonedx.org/schema/bom-1.5.schema.json";

/// The licence and the source of the compiler's libraries.
const LIBRARY_LICENCE: &str = "MIT OR Apache-2.0";
const LIBRARY_SOURCE: &str = "https://github.com/rust-lang/rust";

/// The subject of a document.
pub struct Product {
    pub name: &'static str,
    /// The type of component that CycloneDX has for it.
    pub kind: &'static str,
    /// The SHA-256 of the product.
    pub sha256: Option<String>,
    /// The version of the compiler, if its libraries are part of the product.
    pub compiler: Option<String>,
    pub crates: Crates,
}

impl Product {
    /// Returns the document.
    pub fn document(&self) -> Result<Value> {
        let version = env!("CARGO_PKG_VERSION");
        let own = format!("{}@{version}", self.name);
        let mut component = json!({
            "type": self.kind,
            "bom-ref": own,
            "name": self.name,
            "version": version,
            "licenses": licences(&canonical(env!("CARGO_PKG_LICENSE"))?),
        });
        if let Some(sum) = &self.sha256 {
            component["hashes"] = hashes(sum);
        }
        let mut components: Vec<Value> = Vec::new();
        let mut edges: Vec<Value> = Vec::new();
        let needed: Vec<&Key> = self.crates.0.values().flat_map(|one| &one.needs).collect();
        let tops = self.crates.0.keys().filter(|key| !needed.contains(key));
        let mut tops: Vec<String> = tops.map(reference).collect();
        for (key, one) in &self.crates.0 {
            components.push(library(key, one));
            let needs: Vec<String> = one.needs.iter().map(reference).collect();
            edges.push(json!({ "ref": reference(key), "dependsOn": needs }));
        }
        if let Some(compiler) = &self.compiler {
            let purl = format!("pkg:github/rust-lang/rust@{compiler}");
            components.push(json!({
                "type": "library",
                "bom-ref": purl,
                "name": "core, alloc and compiler_builtins of Rust",
                "version": compiler,
                "purl": purl,
                "licenses": licences(LIBRARY_LICENCE),
                "externalReferences": vcs(LIBRARY_SOURCE),
            }));
            edges.push(json!({ "ref": purl }));
            tops.push(purl);
        }
        edges.insert(0, json!({ "ref": own, "dependsOn": tops }));
        Ok(json!({
            "$schema": SCHEMA,
            "bomFormat": "CycloneDX",
            "specVersion": VERSION,
            "version": 1,
            "metadata": { "component": component },
            "components": components,
            "dependencies": edges,
        }))
    }
}

fn library(key: &Key, one: &Crate) -> Value {
    let (name, version) = key;
    let mut component = Map::new();
    let mut set = |name: &str, value: Value| component.insert(name.to_string(), value);
    set("type", "library".into());
    set("bom-ref", reference(key).into());
    set("name", name.as_str().into());
    set("version", version.as_str().into());
    // What runs in the compiler alone is not part of the product.
    let scope = if one.builds_only {
        "excluded"
    } else {
        "required"
    };
    set("scope", scope.into());
    set("licenses", licences(&one.licence));
    if one.source.is_some() {
        set("purl", reference(key).into());
    }
    if let Some(sum) = &one.sha256 {
        set("hashes", hashes(sum));
    }
    if let Some(repository) = &one.repository {
        set("externalReferences", vcs(repository));
    }
    Value::Object(component)
}

/// Returns the package URL of a crate, by which other components refer to it.
fn reference((name, version): &Key) -> String {
    // The only character of a version of cargo that has a meaning in a URL.
    format!("pkg:cargo/{name}@{}", version.replace('+', "%2B"))
}

fn licences(expression: &str) -> Value {
    json!([{ "expression": expression }])
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

fn vcs(url: &str) -> Value {
    json!([{ "type": "vcs", "url": url }])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn product() -> Product {
        let key = |name: &str| (name.to_string(), "1.0.0+x".to_string());
        let own = Crate {
            licence: "MIT".into(),
            needs: BTreeSet::from([key("b"), key("c")]),
            ..Crate::default()
        };
        let other = |builds_only| Crate {
            licence: "MIT OR Apache-2.0".into(),
            source: Some("registry+x".into()),
            repository: Some("https://example.org".into()),
            sha256: Some("12".into()),
            builds_only,
            ..Crate::default()
        };
        Product {
            name: "p",
            kind: "firmware",
            sha256: Some("34".into()),
            compiler: Some("1.2.3".into()),
            crates: Crates(
                [
                    (key("a"), own),
                    (key("b"), other(false)),
                    (key("c"), other(true)),
                ]
                .into(),
            ),
        }
    }

    #[test]
    fn a_document_has_what_the_schema_requires() {
        let document = product().document().unwrap();
        assert_eq!(document["bomFormat"], "CycloneDX");
        assert_eq!(document["specVersion"], VERSION);
        assert_eq!(document["version"], 1);
        let components = document["components"].as_array().unwrap();
        let all = components
            .iter()
            .chain([&document["metadata"]["component"]]);
        let mut references = BTreeSet::new();
        for component in all {
            assert!(component["name"].is_string() && component["type"].is_string());
            assert!(references.insert(component["bom-ref"].as_str().unwrap()));
        }
        let edges = document["dependencies"].as_array().unwrap();
        assert_eq!(edges.len(), references.len());
        for edge in edges {
            let needs = edge.get("dependsOn").and_then(Value::as_array);
            let ends = needs.into_iter().flatten().chain([&edge["ref"]]);
            for end in ends {
                assert!(references.contains(end.as_str().unwrap()), "{end}");
            }
        }
    }

    #[test]
    fn what_only_builds_is_excluded_and_the_compiler_is_there() {
        let document = product().document().unwrap();
        let components = document["components"].as_array().unwrap();
        let scopes: Vec<_> = components.iter().map(|one| one["scope"].as_str()).collect();
        let required = Some("required");
        assert_eq!(scopes, [required, required, Some("excluded"), None]);
        assert_eq!(components[0].get("purl"), None);
        assert_eq!(components[1]["purl"], "pkg:cargo/b@1.0.0%2Bx");
        assert_eq!(components[3]["version"], "1.2.3");
        let own = &document["dependencies"][0];
        let tops = ["pkg:cargo/a@1.0.0%2Bx", "pkg:github/rust-lang/rust@1.2.3"];
        assert_eq!(own["dependsOn"], json!(tops));
    }
}
