//! Lines that the engine logs. They are collected for all tests together, which run in parallel.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, Once};
use std::thread::{ThreadId, current};

use host_tests::after_boot::pause;
use host_tests::ffa::*;
use host_tests::machine::Machine;
use host_tests::{PartitionSpec, System};
use log::{Level, LevelFilter, Log, Metadata, Record};

static LINES: Mutex<Vec<(ThreadId, Level, String)>> = Mutex::new(Vec::new());

thread_local! {
    /// The time that each line of this thread takes, and the machine whose clock advances.
    static COST: RefCell<Option<(Arc<Machine>, u64)>> = const { RefCell::new(None) };
}

struct Capture;

impl Log for Capture {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let _pause = pause();
        let line = (current().id(), record.level(), record.args().to_string());
        LINES.lock().unwrap().push(line);
        COST.with_borrow(|cost| {
            if let Some((machine, time)) = cost
                && record.level() <= Level::Info
            {
                machine.gic().pass(*time);
            }
        });
    }

    fn flush(&self) {}
}

/// Starts to collect lines.
pub fn capture() {
    static CAPTURE: Once = Once::new();
    CAPTURE.call_once(|| {
        log::set_logger(&Capture).unwrap();
        log::set_max_level(LevelFilter::Info);
    });
}

/// Returns the lines that begin with `prefix`, from any test, but for those at `debug` and `trace`.
pub fn lines(prefix: &str) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    let lines = lines.iter().filter(|(_, level, _)| *level <= Level::Info);
    lines
        .map(|(_, _, line)| line)
        .filter(|line| line.starts_with(prefix))
        .cloned()
        .collect()
}

/// Returns the lines that this thread logs in `action`, but for those at `debug` and `trace`, which
/// are there if another test has asked for them.
pub fn logged(action: impl FnOnce()) -> Vec<String> {
    let lines = logged_at_any_level(action).into_iter();
    let usual = lines.filter(|(level, _)| *level <= Level::Info);
    usual.map(|(_, line)| line).collect()
}

/// Returns the lines that this thread logs in `action`, with their levels.
pub fn logged_at_any_level(action: impl FnOnce()) -> Vec<(Level, String)> {
    capture();
    let before = LINES.lock().unwrap().len();
    action();
    let lines = LINES.lock().unwrap();
    let own = lines[before..]
        .iter()
        .filter(|(thread, ..)| *thread == current().id());
    own.map(|(_, level, line)| (*level, line.clone())).collect()
}

/// Returns a partition that executes as many trapping instructions as x3 of a request says, and
/// takes the exceptions.
fn traps() -> PartitionSpec {
    PartitionSpec::new("traps").script(|sp| {
        sp.serve(|sp, request| {
            for n in 0..request.0[3] {
                assert!(sp.trap(n));
            }
            request.payload()
        })
    })
}

fn trapped(n: u64) -> String {
    let pc = host_tests::manifest::partition_base(0) + host_tests::manifest::ENTRY;
    format!("traps vcpu 0: instruction not available, syndrome {n:#x}, pc {pc:#x}")
}

// The UART is shared, so lines are limited by the time that they take.
#[test]
fn lines_of_a_partition_are_a_burst_and_then_a_part_of_the_time() {
    const TIME: u64 = 100;
    let system = System::boot([traps()]);
    let asks = |traps| {
        logged(|| {
            COST.set(Some((Arc::clone(&system.machine), TIME)));
            system.nwd().ask(0x8001, [traps; 5]);
            COST.take();
        })
    };
    assert_eq!(asks(1), [trapped(0)]);
    // Lines are written, for 100 microseconds each, until the burst is used up.
    let expected: Vec<_> = (0..63).map(trapped).collect();
    assert_eq!(asks(64), expected);
    // The next line may come after eight times that time.
    system.machine.gic().pass(8 * TIME - 1);
    assert_eq!(asks(1), [""; 0]);
    system.machine.gic().pass(1);
    let left_out = |n| format!("traps: {n} lines were left out here");
    assert_eq!(asks(1), [left_out(2), trapped(0)]);
    assert_eq!(asks(1), [""; 0]);
    // Two lines were written for the last trap that was logged.
    system.machine.gic().pass(2 * 8 * 2 * TIME);
    assert_eq!(asks(2), [left_out(1), trapped(0), trapped(1)]);
}

#[test]
fn a_trap_is_logged_with_the_feature_that_is_missing() {
    let causes = PartitionSpec::new("causes").script(|sp| {
        sp.serve(|sp, request| {
            assert!(sp.trap(request.0[3]));
            request.payload()
        })
    });
    let system = System::boot([causes]);
    for (class, cause) in [
        (0x07, "FP not available"),
        (0x09, "pointer authentication not available"),
        (0x0d, "branch to an instruction that is no target"),
        (0x18, "system register not available"),
        (0x19, "SVE not available"),
        (0x1c, "pointer authentication failed"),
        (0x1d, "SME not available"),
        (0x3f, "instruction not available"),
    ] {
        let syndrome = class << 26 | 1 << 25;
        let lines = logged(|| {
            system.nwd().ask(0x8001, [syndrome; 5]);
        });
        let line = format!("causes vcpu 0: {cause}, syndrome {syndrome:#x}, pc ");
        assert!(
            matches!(&lines[..], [one] if one.starts_with(&line)),
            "{lines:?}"
        );
    }
}

/// Returns whether the log of `action` says that the time of `name` was over.
pub fn tells_of_timeout(name: &str, action: impl FnOnce()) -> bool {
    let line = format!("{name}: stopped, it did not finish within init-timeout-ms");
    logged(action).contains(&line)
}

#[test]
fn a_partition_that_takes_too_long_is_named() {
    let late = PartitionSpec::new("late").script(|sp| sp.hang());
    let boot = || {
        assert_eq!(
            System::boot([late]).nwd().request(0x8001, [0; 5]).error(),
            Some(ABORTED)
        )
    };
    assert!(tells_of_timeout("late", boot));
}
