//! Checks that the files of the engine, and those of the platform, import each other in no circle
//! larger than a pair.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree, Visibility};

/// The folders of the crates that are checked.
const CRATES: &[&str] = &["spmc/src", "platform/aarch64/src"];

/// The path of a module from the root of its crate. The path of the root is empty.
type Module = Vec<String>;

/// Collects the files of a crate, by module.
fn sources(folder: &Path, module: &Module, to: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let mut child = module.clone();
        if !["lib", "mod"].contains(&name.as_str()) {
            child.push(name);
        }
        if path.is_dir() {
            sources(&path, &child, to);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            to.insert(child, fs::read_to_string(path).unwrap());
        }
    }
}

/// Finds the modules to which the paths in one module lead.
struct Resolver<'m> {
    module: &'m Module,
    /// All modules of the crate.
    known: &'m BTreeSet<Module>,
    /// The paths that a module re-exports by `pub use`, by module and name.
    passed_on: &'m BTreeMap<(Module, String), Module>,
}

impl Resolver<'_> {
    /// Returns the module that defines what a path means, if that is another module of this crate.
    fn resolve(&self, path: &[String]) -> Option<Module> {
        let mut place = self.module.clone();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => (place, rest) = (Module::new(), &path[1..]),
            "self" => rest = &path[1..],
            _ => {}
        }
        while rest.first().is_some_and(|part| part == "super") {
            place.pop();
            rest = &rest[1..];
        }
        let is_relative = rest.len() == path.len();
        let start = place.clone();
        for part in rest {
            let next = [place.as_slice(), std::slice::from_ref(part)].concat();
            if self.known.contains(&next) {
                place = next;
            } else if let Some(origin) = self.passed_on.get(&(place.clone(), part.clone())) {
                place = origin.clone();
            } else {
                break;
            }
        }
        // The first word names another crate or an item of the prelude.
        (place != *self.module && !(is_relative && place == start)).then_some(place)
    }
}

/// Calls `each` with every path of a `use` declaration and with the name that it declares.
fn for_each_path(tree: &UseTree, path: &mut Vec<String>, each: &mut impl FnMut(&[String], &str)) {
    let mut leaf = |part: String, name: &str, path: &mut Vec<String>| {
        if part != "self" {
            path.push(part);
        }
        each(path, name);
    };
    let depth = path.len();
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            for_each_path(&part.tree, path, each);
        }
        UseTree::Name(name) => leaf(name.ident.to_string(), &name.ident.to_string(), path),
        UseTree::Rename(name) => leaf(name.ident.to_string(), &name.rename.to_string(), path),
        UseTree::Glob(_) => leaf("self".into(), "*", path),
        UseTree::Group(group) => {
            for tree in &group.items {
                for_each_path(tree, path, each);
            }
        }
    }
    path.truncate(depth);
}

/// Collects the modules that a file imports outside of its tests. A re-export by `pub use` does not
/// count as an import.
struct Imports<'m> {
    resolver: Resolver<'m>,
    found: BTreeSet<Module>,
}

/// Returns whether something is compiled for tests only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|condition| condition.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Imports<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if is_for_tests(attributes) {
            return;
        }
        if let Item::Use(item) = item
            && matches!(item.vis, Visibility::Inherited)
        {
            for_each_path(&item.tree, &mut Vec::new(), &mut |path, _| {
                self.found.extend(self.resolver.resolve(path));
            });
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if !matches!(item, ImplItem::Fn(function) if is_for_tests(&function.attrs)) {
            visit::visit_impl_item(self, item);
        }
    }

    /// Ignores `pub(super)`, which imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<_> = path
            .segments
            .iter()
            .map(|part| part.ident.to_string())
            .collect();
        self.found.extend(self.resolver.resolve(&names));
        visit::visit_path(self, path);
    }
}

/// The modules that each module imports.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

fn graph(sources: &BTreeMap<Module, String>) -> Graph {
    let known = sources.keys().cloned().collect();
    let parsed: BTreeMap<_, _> = sources
        .iter()
        .map(|(module, text)| (module, syn::parse_file(text).unwrap()))
        .collect();
    let mut passed_on = BTreeMap::new();
    for (module, file) in &parsed {
        for item in &file.items {
            if let Item::Use(item) = item
                && !matches!(item.vis, Visibility::Inherited)
            {
                let none = BTreeMap::new();
                let resolver = Resolver {
                    module,
                    known: &known,
                    passed_on: &none,
                };
                for_each_path(&item.tree, &mut Vec::new(), &mut |path, name| {
                    if let Some(origin) = resolver.resolve(path) {
                        passed_on.insert(((*module).clone(), name.to_string()), origin);
                    }
                });
            }
        }
    }
    let imports = |(module, file): (&&Module, &syn::File)| {
        let mut imports = Imports {
            resolver: Resolver {
                module,
                known: &known,
                passed_on: &passed_on,
            },
            found: BTreeSet::new(),
        };
        imports.visit_file(file);
        ((*module).clone(), imports.found)
    };
    parsed.iter().map(imports).collect()
}

/// Returns all modules that can be reached from `from` by imports.
fn reach(graph: &Graph, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut left = vec![from];
    while let Some(module) = left.pop() {
        for next in &graph[module] {
            if reached.insert(next.clone()) {
                left.push(next);
            }
        }
    }
    reached
}

/// Returns the circles of more than two modules, each once, as paths.
fn circles(graph: &Graph) -> BTreeSet<Vec<String>> {
    let reached: BTreeMap<_, _> = graph
        .keys()
        .map(|from| (from, reach(graph, from)))
        .collect();
    let circle = |module: &Module| {
        let leads_back = |other: &&&Module| reached[**other].contains(module);
        let members = reached[module].iter().collect::<Vec<_>>();
        let members = members.iter().filter(leads_back);
        members.map(|member| member.join("::")).collect()
    };
    let all = graph.keys().map(circle);
    all.filter(|circle: &Vec<String>| circle.len() > 2)
        .collect()
}

#[test]
fn no_circle_of_imports_is_larger_than_a_pair() {
    for folder in CRATES {
        let mut files = BTreeMap::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(folder);
        sources(&root, &Module::new(), &mut files);
        let graph = graph(&files);
        assert!(graph.values().any(|imports| imports.len() > 5));
        let circles = circles(&graph);
        assert!(circles.is_empty(), "{folder}: {circles:#?}");
    }
}

/// Returns the graph of a crate that consists of these modules, given with their text.
fn made_up(files: &[(&str, &str)]) -> Graph {
    let files = files.iter().map(|(module, text)| {
        let path = module.split("::").filter(|part| !part.is_empty());
        (path.map(String::from).collect(), text.to_string())
    });
    graph(&files.collect())
}

#[test]
fn circles_are_found_by_every_kind_of_path() {
    let three = |third| {
        circles(&made_up(&[
            ("", "mod a; mod b;"),
            ("a", "use crate::b::{self, B};"),
            ("b", "mod c; fn f() { super::b::c::g() }"),
            ("b::c", third),
        ]))
    };
    for third in [
        "use crate::a::A as _;",
        "use super::super::a::*;",
        "fn g() { crate::a::f() }",
        "impl T for crate::a::A {}",
    ] {
        assert_eq!(
            three(third),
            [vec!["a".into(), "b".into(), "b::c".into()]].into(),
            "{third}"
        );
    }
    for third in [
        "use core::a::A;",
        "use super::B;",
        "#[cfg(test)] mod tests { use crate::a::A; }",
    ] {
        assert!(three(third).is_empty(), "{third}");
    }
}
