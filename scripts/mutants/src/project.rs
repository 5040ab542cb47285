//! The copy of a workspace into which mutants are written.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::operators;
use crate::place::{self, Found, Mutant};
use crate::schema::{self, Written};
use crate::switch;

/// A workspace, and the parts of it that are mutated and tested.
pub struct Project {
    /// The root of the workspace.
    pub root: PathBuf,
    /// The folder for the copy, its products and the results.
    pub products: PathBuf,
    /// The members that are copied, as paths from the root: the mutated one first, then those with
    /// further tests of it.
    pub members: Vec<String>,
    /// Other files and folders that the tests read.
    pub needed: Vec<String>,
    /// Prefixes of the paths of files that are mutated.
    pub chosen: Vec<String>,
    /// The environment of the tests.
    pub environment: Vec<(String, String)>,
    /// The names of tests that are not run.
    pub left_out: Vec<String>,
}

/// A file of the mutated crate.
struct Source {
    path: String,
    text: String,
    found: Found,
    /// The number of the file's first mutant.
    first: u32,
    written: Written,
}

/// The prefix, in the list of what does not compile, of functions that stay `const`.
const CONST: &str = "const ";

/// A test program, and the folder in which it runs.
pub type Program = (PathBuf, PathBuf);

/// The copy with the mutants in it.
pub struct Tree {
    /// All mutants that were written. Mutant `n` is at index `n - 1`.
    pub mutants: Vec<Mutant>,
    /// The numbers of mutants that do not compile.
    pub unviable: BTreeSet<u32>,
    /// The test programs.
    pub programs: Vec<Program>,
}

impl Project {
    fn copy(&self) -> PathBuf {
        self.products.join("tree")
    }

    /// Writes the copy, and builds it until all mutants that do not compile are left out.
    pub fn build(&self) -> Result<Tree> {
        let known = self.known_unviable();
        let mut sources = self.sources()?;
        self.copy_members(&sources)?;
        let mutants: Vec<Mutant> = sources.iter().flat_map(Source::mutants).collect();
        ensure!(
            mutants.len() < switch::LIMIT,
            "{} mutants: too many",
            mutants.len()
        );
        let keys: Vec<String> = mutants.iter().map(Mutant::key).collect();
        let numbers = 1..=mutants.len() as u32;
        let mut unviable: BTreeSet<u32> = numbers
            .filter(|number| known.contains(&keys[*number as usize - 1]))
            .collect();
        let names = known.iter().filter_map(|key| key.strip_prefix(CONST));
        let mut constants: BTreeSet<String> = names.map(String::from).collect();
        let mut is_checked = false;
        let programs = loop {
            self.write(&mut sources, &unviable, &constants)?;
            // A check of the mutated crate finds most of them, and is fast.
            let (errors, programs) = self.cargo(!is_checked)?;
            if errors.is_empty() {
                if is_checked {
                    break programs;
                }
                is_checked = true;
                continue;
            }
            let before = (unviable.len(), constants.len());
            for error in &errors {
                blame(error, &sources, &mutants, &mut unviable, &mut constants);
            }
            eprintln!(
                "    {} of {} mutants do not compile",
                unviable.len(),
                mutants.len()
            );
            if before == (unviable.len(), constants.len()) {
                bail!("an error that no mutant explains:\n{}", errors[0].rendered);
            }
        };
        for source in &sources {
            unviable.extend(source.constant_mutants(&constants));
        }
        let kept = unviable
            .iter()
            .map(|number| keys[*number as usize - 1].clone());
        let functions = constants.iter().map(|name| format!("{CONST}{name}"));
        let lines: Vec<String> = kept.chain(functions).collect();
        fs::write(self.unviable(), lines.join("\n"))?;
        Ok(Tree {
            mutants,
            unviable,
            programs,
        })
    }

    fn unviable(&self) -> PathBuf {
        self.products.join("unviable")
    }

    /// Returns the keys of mutants that did not compile in the last run, and, after [`CONST`], the
    /// names of functions that had to stay `const`.
    fn known_unviable(&self) -> BTreeSet<String> {
        let text = fs::read_to_string(self.unviable()).unwrap_or_default();
        text.lines().map(String::from).collect()
    }

    /// Copies everything except the sources that are mutated.
    fn copy_members(&self, sources: &[Source]) -> Result<()> {
        let manifest = fs::read_to_string(self.root.join("Cargo.toml"))?;
        let mut manifest: toml::Table = toml::from_str(&manifest)?;
        let workspace = manifest
            .get_mut("workspace")
            .and_then(toml::Value::as_table_mut);
        let workspace = workspace.context("Cargo.toml: no workspace")?;
        workspace.insert("members".into(), self.members.clone().into());
        workspace.remove("default-members");
        let manifest = toml::to_string(&manifest)?;
        update(&self.copy().join("Cargo.toml"), manifest.as_bytes())?;
        let switch = format!("{}/src/mutant.rs", self.members[0]);
        update(&self.copy().join(&switch), include_bytes!("switch.rs"))?;
        let own = sources.iter().map(|source| &source.path).chain([&switch]);
        let mut kept: BTreeSet<PathBuf> = own.map(|path| self.copy().join(path)).collect();
        let files = ["Cargo.lock", "rust-toolchain.toml"].map(String::from);
        for path in self.members.iter().chain(&self.needed).chain(&files) {
            let from = self.root.join(path);
            if from.exists() {
                copy(&from, &self.copy().join(path), &mut kept)?;
            }
        }
        for member in &self.members {
            remove_others(&self.copy().join(member), &kept)?;
        }
        Ok(())
    }

    /// Returns the files of the mutated crate, which its module declarations name.
    fn sources(&self) -> Result<Vec<Source>> {
        let library = format!("{}/src/lib.rs", self.members[0]);
        let mut sources = Vec::new();
        let mut waiting = vec![library.clone()];
        while let Some(path) = waiting.pop() {
            let text = fs::read_to_string(self.root.join(&path)).context(path.clone())?;
            let mut found = operators::find(&text).context(path.clone())?;
            for module in &found.modules {
                waiting.push(self.module(&path, module)?);
            }
            if !self
                .chosen
                .iter()
                .any(|chosen| path.starts_with(chosen.as_str()))
            {
                found = Found::default();
            }
            sources.push(Source {
                path,
                text,
                found,
                first: 0,
                written: Written::default(),
            });
        }
        sources.sort_by(|one, other| one.path.cmp(&other.path));
        let mut first = 1;
        for source in &mut sources {
            source.found.places.sort_by_key(|place| place.range.start);
            source.first = first;
            let counts = source
                .found
                .places
                .iter()
                .map(|place| place.alternatives.len() as u32);
            first += counts.sum::<u32>();
        }
        ensure!(
            first > 1,
            "there is nothing to change below {}",
            self.chosen.join(", ")
        );
        Ok(sources)
    }

    /// Returns the path of a module that the file at `path` declares.
    fn module(&self, path: &str, module: &str) -> Result<String> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let folder = match name.trim_end_matches(".rs") {
            "lib" | "mod" => folder.to_string(),
            stem => format!("{folder}/{stem}"),
        };
        let choices = [
            format!("{folder}/{module}.rs"),
            format!("{folder}/{module}/mod.rs"),
        ];
        let found = choices
            .into_iter()
            .find(|path| self.root.join(path).exists());
        found.with_context(|| format!("{path:?}: no file of its module {module}"))
    }

    fn write(
        &self,
        sources: &mut [Source],
        unviable: &BTreeSet<u32>,
        constants: &BTreeSet<String>,
    ) -> Result<()> {
        for source in sources {
            let Source {
                path,
                text,
                found,
                first,
                ..
            } = source;
            source.written = schema::write(
                text,
                found,
                *first,
                &|number| unviable.contains(&number),
                &|name| constants.contains(name),
            );
            let mut text = source.written.text.clone();
            if path.ends_with("/src/lib.rs") {
                text.push_str("\nextern crate std;\n#[allow(missing_docs)]\npub mod mutant;\n");
            }
            update(&self.copy().join(&*path), text.as_bytes())?;
        }
        Ok(())
    }

    /// Checks the mutated crate, or builds all test programs.
    fn cargo(&self, only_check: bool) -> Result<(Vec<Fault>, Vec<Program>)> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(self.copy());
        if only_check {
            command
                .args(["check", "--lib"])
                .current_dir(self.copy().join(&self.members[0]));
        } else {
            command.args(["test", "--no-run", "--lib", "--tests", "--workspace"]);
        }
        let output = command
            .args(["--message-format=json", "--quiet", "--target-dir"])
            .arg(self.products.join("build"))
            .env("RUSTFLAGS", "--cap-lints=allow")
            .env("CARGO_PROFILE_DEV_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_DEV_INCREMENTAL", "false")
            .stdin(Stdio::null())
            .output()
            .context("cannot start cargo")?;
        let mut faults = Vec::new();
        let mut programs = Vec::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let message: Value = serde_json::from_str(line)?;
            if message["message"]["level"] == "error" {
                faults.push(Fault::read(&message["message"]));
            }
            if let Some(program) = message["executable"].as_str() {
                let manifest = message["manifest_path"]
                    .as_str()
                    .context("a manifest's path")?;
                let folder = Path::new(manifest)
                    .parent()
                    .context("a manifest's folder")?;
                programs.push((program.into(), folder.into()));
            }
        }
        // Cargo reports them in any order.
        programs.sort();
        // The compiler's summary has no place.
        faults.retain(|fault| !fault.places.is_empty());
        ensure!(
            output.status.success() || !faults.is_empty(),
            "cargo failed: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok((faults, programs))
    }
}

/// Finds the mutants to which an error belongs, or the function that must stay `const`.
fn blame(
    fault: &Fault,
    sources: &[Source],
    mutants: &[Mutant],
    unviable: &mut BTreeSet<u32>,
    constants: &mut BTreeSet<String>,
) {
    if let Some(path) = fault.message.strip_prefix("cannot call non-const ") {
        let path = path.split('`').nth(1).unwrap_or_default();
        let name = path.rsplit("::").next().unwrap_or_default();
        let name = name.split('<').next().unwrap_or_default();
        let declares = |source: &Source| {
            source
                .found
                .constants
                .iter()
                .any(|constant| constant.name == name)
        };
        if sources.iter().any(declares) && constants.insert(name.into()) {
            return;
        }
    }
    let mut note = |mut suspects: Vec<u32>| {
        suspects.retain(|number| !unviable.contains(number));
        unviable.extend(&suspects);
        !suspects.is_empty()
    };
    let source_of = |file: &str| sources.iter().find(|source| file.ends_with(&source.path));
    for (file, range) in &fault.places {
        if source_of(file).is_some_and(|source| note(source.written.suspects(range))) {
            return;
        }
    }
    // The error is about a variable that a removed statement would have set, or about a borrow that
    // a removed statement would have ended.
    let Some((file, _)) = fault.places.first() else {
        return;
    };
    let own = fault.places.iter().filter(|(other, _)| other == file);
    let ends = own.map(|(_, range)| (range.start, range.end));
    let Some((start, end)) = ends.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
    else {
        return;
    };
    if let Some(source) = source_of(file) {
        let mut suspects = source.written.within(&(start..end));
        let mutant = |number: &u32| &mutants[*number as usize - 1];
        suspects.retain(|number| mutant(number).mutated.is_empty());
        let is_drop = |number: &u32| mutant(number).original.starts_with("drop(");
        if suspects.iter().any(is_drop) {
            suspects.retain(is_drop);
        }
        note(suspects);
    }
}

impl Source {
    fn mutants(&self) -> impl Iterator<Item = Mutant> + '_ {
        let places = self.found.places.iter();
        places.flat_map(|place| place::mutants(&self.path, &self.text, place))
    }

    /// Returns the mutants in functions that stayed `const`.
    fn constant_mutants(&self, constants: &BTreeSet<String>) -> BTreeSet<u32> {
        let stayed = |place: &place::Place| {
            self.found.constants.iter().any(|constant| {
                constants.contains(&constant.name)
                    && constant.body.start <= place.range.start
                    && place.range.end <= constant.body.end
            })
        };
        let mut number = self.first;
        let mut numbers = BTreeSet::new();
        for place in &self.found.places {
            let next = number + place.alternatives.len() as u32;
            if stayed(place) {
                numbers.extend(number..next);
            }
            number = next;
        }
        numbers
    }
}

/// An error from the compiler.
struct Fault {
    message: String,
    rendered: String,
    /// The places that the error names, as files and ranges of bytes. The main place is the first.
    places: Vec<(String, Range<usize>)>,
}

impl Fault {
    fn read(message: &Value) -> Self {
        let mut places = Vec::new();
        let empty = Vec::new();
        let mut spans: Vec<&Value> = message["spans"]
            .as_array()
            .unwrap_or(&empty)
            .iter()
            .collect();
        spans.sort_by_key(|span| span["is_primary"] != true);
        for child in message["children"].as_array().unwrap_or(&empty) {
            spans.extend(child["spans"].as_array().unwrap_or(&empty));
        }
        for mut span in spans {
            while span["expansion"]["span"].is_object() {
                span = &span["expansion"]["span"];
            }
            let byte = |name: &str| span[name].as_u64().map(|byte| byte as usize);
            if let (Some(file), Some(start), Some(end)) = (
                span["file_name"].as_str(),
                byte("byte_start"),
                byte("byte_end"),
            ) {
                places.push((file.into(), start..end));
            }
        }
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_string();
        Self {
            message: text("message"),
            rendered: text("rendered"),
            places,
        }
    }
}

/// Writes a file only if its contents change, so that cargo builds no more than necessary.
fn update(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

fn copy(from: &Path, to: &Path, kept: &mut BTreeSet<PathBuf>) -> Result<()> {
    if !from.is_dir() {
        if !kept.insert(to.into()) {
            return Ok(());
        }
        return update(
            to,
            &fs::read(from).with_context(|| from.display().to_string())?,
        );
    }
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        if name != "target" {
            copy(&from.join(&name), &to.join(&name), kept)?;
        }
    }
    Ok(())
}

/// Removes files below `folder` that the original does not have any more.
fn remove_others(folder: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}
