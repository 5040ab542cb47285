//! Compares the registers of EL2 in `own_registers.rs` of the platform with its sources: each
//! register that the sources name has a row, and is written where the row says, in code that each
//! PE passes when it enters.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use own_registers::{GROUPS, Group, Kept, Written};

#[allow(dead_code, reason = "the document uses the other items")]
#[path = "../../../platform/aarch64/src/own_registers.rs"]
mod own_registers;

/// A function that a PE passes when it enters: its file below `el2`, its name or label, and what it
/// contains by which the PE gets to further ones.
const ENTRY: &[(&str, &str, &[&str])] = &[
    (
        "boot/entry.rs",
        "secondary_start:",
        &["bl      enter_running", "{secondary}"],
    ),
    (
        "boot/entry.rs",
        "enter_running:",
        &["bl      stage1_enable"],
    ),
    (
        "memory/stage1.rs",
        "stage1_enable:",
        &["bl      clear_tcr2", "bl      clear_sctlr2"],
    ),
    ("memory/bulk.rs", "clear_tcr2:", &[]),
    ("memory/bulk.rs", "clear_sctlr2:", &[]),
    (
        "boot/mod.rs",
        "secondary",
        &["Cpu::install(index)", "vectors::install()", " init_pe()"],
    ),
    ("cpu/mod.rs", "install", &[]),
    ("cpu/vectors.rs", "install", &[]),
    (
        "boot/mod.rs",
        "init_pe",
        &["features::init_pe()", "stage2::init_pe()", "gic::init_pe()"],
    ),
    ("cpu/features.rs", "init_pe", &[]),
    ("memory/stage2.rs", "init_pe", &[]),
    ("gic/mod.rs", "init_pe", &[]),
];

/// Registers that the sources write in other words than by their names.
const OTHER_WORDS: &[(&str, &str)] = &[
    ("TCR2_EL2", "msr     s3_4_c2_c0_3,"),
    ("SCTLR2_EL2", "msr     s3_4_c1_c0_3,"),
    (
        "ICC_SRE_EL2",
        "GicCpuInterface::enable_system_register_el2(true)",
    ),
    ("ICC_IGRPEN1_EL1", "GicCpuInterface::enable_group1(true)"),
];

/// The files below `el2`, by name, without comments.
type Sources = BTreeMap<String, String>;

fn read(folder: &Path, prefix: &str, to: &mut Sources) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_string_lossy());
        if path.is_dir() {
            read(&path, &format!("{name}/"), to);
        } else {
            let text = fs::read_to_string(path).unwrap();
            let code = text.lines().map(|line| line.split("//").next().unwrap());
            to.insert(name, code.collect::<Vec<_>>().join("\n"));
        }
    }
}

fn sources() -> Sources {
    let mut all = Sources::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../platform/aarch64/src/el2");
    read(&root, "", &mut all);
    all
}

/// Returns where in a file a function or the code behind a label is.
fn find(text: &str, name: &str) -> Option<std::ops::Range<usize>> {
    if name.ends_with(':') {
        let start = text.find(&format!("\n{name}\n"))?;
        let end = ["    ret", "    brk"]
            .into_iter()
            .filter_map(|last| text[start..].find(last))
            .min()?;
        return Some(start..start + end);
    }
    let start = text.find(&format!("fn {name}("))?;
    let body = start + text[start..].find('{')?;
    let mut depth = 0;
    let end = text[body..].char_indices().find_map(|(at, letter)| {
        depth += i32::from(letter == '{') - i32::from(letter == '}');
        (depth == 0).then_some(at)
    })?;
    Some(start..body + end)
}

/// Returns whether `text` has that word, and not only at the end of a longer one.
fn has(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|letter| !letter.is_ascii_alphanumeric() && letter != '_')
    })
}

/// Returns the words by which the sources write a register.
fn writes(register: &str) -> Vec<String> {
    let lower = register.to_lowercase();
    let mut words = vec![format!("{register}.set("), format!("msr     {lower},")];
    let others = OTHER_WORDS.iter().filter(|(name, _)| *name == register);
    words.extend(others.map(|(_, word)| word.to_string()));
    words
}

/// Returns whether the function writes the register.
fn is_written(sources: &Sources, (file, function): (&str, &str), register: &str) -> bool {
    let text = &sources[file];
    let Some(place) = find(text, function) else {
        return false;
    };
    let code = &text[place];
    writes(register).iter().any(|word| has(code, word))
}

/// Returns the functions that a PE passes when it enters, as far as the one before leads to them.
fn entry(sources: &Sources) -> Result<Vec<(&'static str, &'static str)>, String> {
    let mut passed = Vec::new();
    for (file, function, further) in ENTRY {
        let place = find(&sources[*file], function);
        let place = place.ok_or(format!("{file}: there is no {function}"))?;
        let code = &sources[*file][place];
        if let Some(missing) = further.iter().find(|call| !code.contains(**call)) {
            return Err(format!("{file}: {function} has no {missing}"));
        }
        passed.push((*file, *function));
    }
    Ok(passed)
}

/// Returns the names of EL2 registers that the sources use.
fn used(sources: &Sources) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for text in sources.values() {
        let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words: BTreeSet<&str> = text.split(|letter| !is_part(letter)).collect();
        for word in words {
            let name = word.to_uppercase();
            let is_used = |word: &str| {
                let uses = [".set(", ".get("].map(|call| format!("{word}{call}"));
                let named = [format!("msr     {word},"), format!(", {word}\n")];
                uses.iter().chain(&named).any(|one| has(text, one))
            };
            if name.ends_with("_EL2") && is_used(word) {
                used.insert(name);
            }
        }
    }
    used
}

fn wrong_group(sources: &Sources, entry: &[(&str, &str)], group: &Group) -> Option<String> {
    group.names.iter().find_map(|register| match group.written {
        Written::AtEntry if group.kept == Kept::Never => Some(format!(
            "{register} is lost at a suspend, and written only when a PE enters"
        )),
        Written::AtEntry => {
            let mut passed = entry.iter();
            let written = passed.any(|place| is_written(sources, *place, register));
            (!written).then(|| format!("{register} is not written when a PE enters"))
        }
        Written::BeforeUse(places) => {
            let mut places = places.iter();
            let missing = places.find(|place| !is_written(sources, **place, register))?;
            Some(format!("{register} is not written in {missing:?}"))
        }
        Written::Never => {
            let word = format!("{register}.set(");
            let writer = sources.iter().find(|(_, text)| has(text, &word));
            writer.map(|(file, _)| format!("{register} is written in {file}"))
        }
    })
}

/// Returns `Err` if a register is not written where its row says.
fn written(sources: &Sources) -> Result<(), String> {
    let entry = entry(sources)?;
    let mut groups = GROUPS.iter();
    let wrong = groups.find_map(|group| wrong_group(sources, &entry, group));
    wrong.map_or(Ok(()), Err)
}

/// Returns `Err` if a register that the sources use has no row.
fn known(sources: &Sources) -> Result<(), String> {
    let known = |name: &str| GROUPS.iter().any(|group| group.names.contains(&name));
    let unknown = used(sources).into_iter().find(|name| !known(name));
    unknown.map_or(Ok(()), |name| Err(format!("{name} has no row")))
}

#[test]
fn each_register_of_el2_is_written_when_it_is_needed() {
    let sources = sources();
    assert_eq!(known(&sources), Ok(()));
    assert_eq!(written(&sources), Ok(()));
}

#[test]
fn each_write_that_is_left_out_is_found() {
    let sources = sources();
    let entry = entry(&sources).unwrap();
    let mut found = 0;
    for group in GROUPS {
        let places = match group.written {
            Written::AtEntry => entry.clone(),
            Written::BeforeUse(places) => places.to_vec(),
            Written::Never => continue,
        };
        for register in group.names {
            let mut without = sources.clone();
            for (file, function) in &places {
                let text = without.get_mut(*file).unwrap();
                let place = find(text, function).unwrap();
                let words = writes(register);
                let has_write = |line: &&str| words.iter().any(|word| has(line, word));
                let lines = text[place.clone()].split('\n');
                let kept = lines.map(|line| if has_write(&line) { "" } else { line });
                let kept = kept.collect::<Vec<_>>().join("\n");
                text.replace_range(place, &kept);
            }
            let complaint = written(&without).unwrap_err();
            assert!(
                complaint.starts_with(&format!("{register} is not")),
                "{complaint}"
            );
            found += 1;
        }
    }
    assert!(found >= 40, "{found}");
}

#[test]
fn a_way_that_a_pe_does_not_pass_any_more_is_found() {
    for (file, function, further) in ENTRY {
        for call in *further {
            let mut without = sources();
            let text = without.get_mut(*file).unwrap();
            let place = find(text, function).unwrap();
            let kept = text[place.clone()].replace(call, "");
            text.replace_range(place, &kept);
            assert!(written(&without).is_err(), "{call}");
        }
    }
}

#[test]
fn a_new_register_needs_a_row() {
    let mut more = sources();
    let text = more.get_mut("boot/mod.rs").unwrap();
    text.push_str("\nfn f() { VNCR_EL2.set(0); }\n");
    assert_eq!(known(&more), Err("VNCR_EL2 has no row".to_string()));
}
