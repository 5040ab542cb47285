//! COMP, FEAT and GEN: compares the table of calls with the SPMC's treatment of each function id,
//! and with docs/support.md.

use std::collections::BTreeMap;
use std::fs;

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Regs, System};
use spmc::ffa::call_table::{self, Origin, Since};
use spmc::ffa::{FunctionId, Version, function};

const NONSENSE: u64 = 0x10;

/// Functions that cannot be tried one after the other, since they end the script or make it wait.
const LEAVES: [u64; 6] = [ERROR, ERROR_64, MSG_WAIT, MSG_WAIT_64, ABORT_32, ABORT_64];
/// Functions by which EL3 reports something to the SPMC. They are no calls of the Normal world.
const OF_EL3: [u64; 2] = [ERROR, INTERRUPT];
/// Functions whose answer is about another function or version.
const QUESTIONS: [u64; 2] = [VERSION, FEATURES];
/// Functions that are refused with DENIED at S-EL1.
const DENIED_AT_S_EL1: [u64; 4] = [
    MEM_PERM_GET_32,
    MEM_PERM_GET_64,
    MEM_PERM_SET_32,
    MEM_PERM_SET_64,
];

/// Functions that `FFA_FEATURES` does not report to the Normal world, whose calls are never paused.
const NOT_TOLD: [u64; 1] = [MEM_OP_PAUSE];

/// Returns every id that FF-A may use.
fn ids() -> impl Iterator<Item = u64> {
    (0x8400_0060..=0x8400_0097).flat_map(|id| [id, id | 1 << 30])
}

fn is_there(answer: Regs) -> bool {
    answer.error() != Some(NOT_SUPPORTED)
}

/// Tries one function id by `call`. The function exists exactly if the table says so, and a wrong
/// value in a register that the table reserves is refused. `FFA_FEATURES` reports the existing
/// functions, and no others.
fn try_function(id: u64, origin: Origin, version: Version, mut call: impl FnMut([u64; 8]) -> Regs) {
    let row = call_table::find(FunctionId(id as u32));
    let told = is_there(call([FEATURES, id, 2, 0, 0, 0, 0, 0]));
    let reserved = row.reserved(version);
    for register in (1..8).filter(|register| reserved & 1 << register != 0) {
        let mut nonsense = [0; 8];
        nonsense[0] = id;
        nonsense[register] = NONSENSE;
        if row.is_for(origin, version) {
            assert_eq!(
                call(nonsense).error(),
                Some(INVALID_PARAMETERS),
                "{id:#x} w{register} at {version}"
            );
        }
    }
    if LEAVES.contains(&id) {
        return;
    }
    let answer = call([id, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        is_there(answer),
        row.is_for(origin, version),
        "{id:#x} from {origin:?} at {version}: left is what the SPMC serves (an arm in \
         spmc/src/dispatch), right what its row in call_table.rs says"
    );
    let is_denied = DENIED_AT_S_EL1.contains(&id) && answer.error() == Some(DENIED);
    let is_kept = NOT_TOLD.contains(&id) && origin == Origin::NormalWorld;
    assert_eq!(
        told,
        row.is_told(origin, version) && !is_denied && !is_kept,
        "{id:#x} told to {origin:?} at {version}"
    );
}

const VERSIONS: [(u32, Version); 4] = [
    (0, Version::V1_0),
    (1, Version::V1_1),
    (2, Version::V1_2),
    (3, Version::V1_3),
];

// req: COMP-01, COMP-05, COMP-07, COMP-14, COMP-18, COMP-20, COMP-21, FEAT-01, FEAT-02, FEAT-08
// req: GEN-28
#[test]
fn the_normal_world_has_what_the_table_says() {
    for (minor, version) in VERSIONS {
        let system = System::builder().el3(3, 3).sp(PartitionSpec::new("sp1"));
        let system = system.boot();
        let nwd = system.nwd();
        nwd.version(V1_0 | u64::from(minor));
        for id in ids().filter(|id| !QUESTIONS.contains(id) && !OF_EL3.contains(id)) {
            try_function(id, Origin::NormalWorld, version, |call| nwd.call(call));
        }
    }
}

// req: COMP-01, COMP-05, COMP-07, COMP-14, COMP-18, COMP-21, FEAT-01, FEAT-02, FEAT-08, GEN-28
#[test]
fn partitions_have_what_the_table_says() {
    for (minor, version) in VERSIONS {
        let script = move |sp: &mut host_tests::Sp| {
            for id in ids().filter(|id| !QUESTIONS.contains(id)) {
                try_function(id, Origin::Partition, version, |call| sp.call(call));
            }
            sp.serve(|_, _| [0x600d, 0, 0, 0, 0]);
        };
        // Only a partition with more than one context can have secondary contexts.
        let system = System::boot([PartitionSpec::new("mp")
            .vcpus(4)
            .version(minor)
            .script(script)]);
        assert_eq!(system.nwd().ask(0x8001, [0; 5])[0], 0x600d);
    }
}

/// A function as docs/support.md describes it: its forms, and the versions since which the Normal
/// world and partitions have it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Documented {
    forms: Vec<&'static str>,
    normal_world: &'static str,
    partition: &'static str,
}

/// Returns the functions that any caller has, by name, from the table of calls.
fn functions() -> BTreeMap<String, Documented> {
    let mut functions = BTreeMap::<_, Documented>::new();
    let ids = (function::FIRST..=function::LAST).flat_map(|id| [id, id | function::IS_64]);
    for id in ids.map(FunctionId) {
        let Some(name) = id.name() else { continue };
        let row = call_table::find(id);
        let since = |origin| {
            let has = |version| row.is_for(origin, version);
            match VERSIONS.map(|(_, version)| has(version)) {
                [true, ..] => "1.0",
                [_, true, ..] => "1.1",
                [_, _, true, _] => "1.2",
                [_, _, _, true] => "1.3",
                _ => "",
            }
        };
        let (normal_world, partition) = (since(Origin::NormalWorld), since(Origin::Partition));
        if (normal_world, partition) == ("", "") {
            continue;
        }
        let name = name.trim_end_matches("_32").trim_end_matches("_64");
        let mut name = name.to_owned();
        let here = (normal_world, partition);
        let is_other = |other: &Documented| (other.normal_world, other.partition) != here;
        if functions.get(&name).is_some_and(is_other) {
            name.push_str(" (64-bit)");
        }
        let function = functions.entry(name).or_default();
        function.forms.push(if id.is_64() { "64" } else { "32" });
        function.normal_world = normal_world;
        function.partition = partition;
    }
    functions
}

// req: COMP-07, COMP-08
#[test]
fn the_document_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/support.md");
    let document: &'static str = fs::read_to_string(path).unwrap().leak();
    let mut documented = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| FFA_")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, names, forms, normal_world, partition, ..] = cells[..] else {
            panic!("{line}");
        };
        for name in names.split(", ") {
            let row = Documented {
                forms: forms.split(", ").collect(),
                normal_world,
                partition,
            };
            let twice = documented.insert(name.to_owned(), row);
            assert_eq!(twice, None, "{name}");
        }
    }
    let functions = functions();
    for (name, row) in &functions {
        assert_eq!(
            documented.get(name),
            Some(row),
            "{name}: left is its row in docs/support.md, right what call_table.rs says"
        );
    }
    for name in documented.keys() {
        assert!(
            functions.contains_key(name),
            "{name} is in the document alone"
        );
    }
}

// req: COMP-20
#[test]
fn what_a_version_has_its_successors_have() {
    for since in [
        Since::V1_0,
        Since::V1_1,
        Since::V1_2,
        Since::V1_3,
        Since::Never,
    ] {
        let has = VERSIONS.map(|(_, version)| since.includes(version));
        assert!(has.is_sorted(), "{since:?}");
    }
    assert!(Since::V1_3.includes(Version::OWN));
    assert!(!Since::Never.includes(Version::OWN));
    assert!(
        call_table::find(FunctionId(function::VERSION)).is_for(Origin::Partition, Version::V1_0)
    );
}

// req: COMP-07, COMP-08
#[test]
fn the_document_says_why_nobody_has_the_other_functions() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/support.md");
    let document = fs::read_to_string(path).unwrap();
    let mut explained = BTreeMap::new();
    for line in document.lines().filter(|line| line.starts_with("| 0x")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, number, name, why, _] = cells[..] else {
            panic!("{line}");
        };
        assert!(!why.is_empty(), "{line}");
        let number = u32::from_str_radix(number.trim_start_matches("0x"), 16).unwrap();
        explained.insert(number, name.to_owned());
    }
    let is_for_nobody = |id: u32| {
        let row = call_table::find(FunctionId(id));
        [Origin::NormalWorld, Origin::Partition]
            .iter()
            .all(|origin| {
                !VERSIONS
                    .iter()
                    .any(|(_, version)| row.is_for(*origin, *version))
            })
    };
    let mut nobodys = BTreeMap::new();
    for id in function::FIRST..=function::LAST {
        if is_for_nobody(id) && is_for_nobody(id | function::IS_64) {
            let name = FunctionId(id).name().unwrap_or("-");
            let name = name.trim_end_matches("_32").trim_end_matches("_64");
            nobodys.insert(id & 0xff, name.to_owned());
        }
    }
    assert_eq!(explained, nobodys);
}
