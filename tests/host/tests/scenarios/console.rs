//! `FFA_CONSOLE_LOG` (FF-A v1.2): characters in, lines out.

use host_tests::ffa::*;
use host_tests::{PartitionSpec, Sp, System};
use log::{Level, LevelFilter};
use spmc::addr::World;

use super::log_lines::{self, capture, logged_at_any_level};

/// Returns the lines of partitions whose names start with `prefix`, since tests run in parallel.
fn lines(prefix: &str) -> Vec<String> {
    let lines = log_lines::lines(prefix).into_iter();
    lines.filter(|line| line.contains(" vcpu ")).collect()
}

fn boot(partitions: impl IntoIterator<Item = PartitionSpec>) -> System {
    capture();
    System::boot(partitions)
}

/// Writes up to 128 characters with one call.
fn log_64(sp: &mut Sp, text: &[u8]) -> Regs {
    let mut bytes = [0; 128];
    bytes[..text.len()].copy_from_slice(text);
    for (register, chunk) in sp.regs[2..].iter_mut().zip(bytes.chunks_exact(8)) {
        *register = u64::from_le_bytes(chunk.try_into().unwrap());
    }
    let regs: [u64; 6] = sp.regs[2..8].try_into().unwrap();
    let [a, b, c, d, e, f] = regs;
    sp.call([CONSOLE_LOG_64, text.len() as u64, a, b, c, d, e, f])
}

// req: STAT-03, CON-01, CON-03
#[test]
fn pieces_become_lines_with_the_name_of_their_partition() {
    boot([PartitionSpec::new("talker").script(|sp| {
        let word = |text: &[u8; 4]| u64::from(u32::from_le_bytes(*text));
        let piece = [
            CONSOLE_LOG_32,
            6,
            word(b"hell") | 0xff << 32,
            word(b"o, \n"),
        ];
        assert_eq!(sp.call(piece).success(), [0; 6]);
        assert_eq!(lines("talker"), Vec::<String>::new());
        log_64(
            sp,
            b"world\na longer line, in one call with the end of the one before\n",
        )
        .success();
        log_64(sp, b"no end").success();
        sp.msg_wait();
    })]);
    let expected = [
        "talker vcpu 0: hello,world",
        "talker vcpu 0: a longer line, in one call with the end of the one before",
    ];
    assert_eq!(lines("talker"), expected);
}

// req: CON-03
#[test]
fn each_context_has_a_line_of_its_own() {
    let script = |sp: &mut Sp| {
        let text = format!("from {}", sp.vcpu);
        sp.serve(move |sp, request| {
            let end = if request.payload()[0] == 0 { "" } else { "\n" };
            log_64(sp, format!("{text}{end}").as_bytes()).success();
            [0; 5]
        })
    };
    let system = boot([
        PartitionSpec::new("many").vcpus(4).script(script),
        PartitionSpec::new("many2").script(script),
    ]);
    system.turn_on(1);
    for (pe, partition) in [(0, 0x8001), (1, 0x8001), (0, 0x8002)] {
        system.pe(pe).ask(partition, [0; 5]);
    }
    for (pe, partition) in [(1, 0x8001), (0, 0x8002), (0, 0x8001)] {
        system.pe(pe).ask(partition, [1, 0, 0, 0, 0]);
    }
    let expected = [
        "many vcpu 1: from 1from 1",
        "many2 vcpu 0: from 0from 0",
        "many vcpu 0: from 0from 0",
    ];
    assert_eq!(lines("many"), expected);
}

// req: GEN-28, CON-02
#[test]
fn as_many_characters_as_the_registers_of_that_version_hold() {
    let script = |maximum: u64| {
        move |sp: &mut Sp| {
            for (function, maximum) in [(CONSOLE_LOG_32, 24), (CONSOLE_LOG_64, maximum)] {
                for count in [0, maximum + 1, 1 << 8, 1 << 31 | 1] {
                    sp.refused([function, count], INVALID_PARAMETERS);
                }
                sp.call([function, maximum]).success();
            }
            sp.msg_wait();
        }
    };
    boot([
        PartitionSpec::new("old").version(1).script(script(48)),
        PartitionSpec::new("new").version(2).script(script(128)),
    ]);
}

/// Each line takes time on the UART, so a flood of one partition would keep the UART from others.
#[test]
fn a_flood_of_lines_leaves_the_console_to_others() {
    let say = |sp: &mut Sp| {
        sp.serve(|sp, request| {
            for n in 0..request.payload()[0] {
                log_64(sp, format!("line {n}\n").as_bytes()).success();
            }
            [0; 5]
        })
    };
    let system = boot([
        PartitionSpec::new("flooder").script(say),
        PartitionSpec::new("modest").script(say),
    ]);
    let nwd = system.nwd();
    nwd.ask(0x8001, [1000, 0, 0, 0, 0]);
    assert_eq!(lines("flooder").len(), 64);
    nwd.ask(0x8002, [3, 0, 0, 0, 0]);
    assert_eq!(lines("modest").len(), 3);

    // Time earns the partition new lines. The first of them states how many are missing.
    system.machine.gic().pass(8 * 2);
    nwd.ask(0x8001, [10, 0, 0, 0, 0]);
    assert_eq!(lines("flooder").len(), 66);
    let told = "flooder: 936 lines were left out here";
    assert_eq!(log_lines::lines(told), [told]);
}

/// A partition that faults again and again, and takes each abort, is a flood, too.
#[test]
fn a_flood_of_faults_leaves_the_console_to_others() {
    let system = boot([PartitionSpec::new("faulty").script(|sp| {
        sp.serve(|sp, _| {
            for _ in 0..1000 {
                let nothing = sp.read(World::Secure, 0xdead_0000, &mut [0; 4]);
                assert!(nothing.is_err());
            }
            [0; 5]
        })
    })]);
    system.nwd().ask(0x8001, [0; 5]);
    assert_eq!(lines("faulty").len(), 64);
}

// req: CON-04
#[test]
fn the_normal_world_has_its_own_console() {
    let system = boot([]);
    for function in [CONSOLE_LOG_32, CONSOLE_LOG_64] {
        system.nwd().refused([function, 1], NOT_SUPPORTED);
    }
}

/// Boots with a `log-level`, lets the Normal world call, and returns the lines.
fn lines_at(level: u32) -> Vec<(Level, String)> {
    let watched = PartitionSpec::new("watched").script(|sp| {
        sp.refused([DIRECT_RESP_64, 0x8001_0000], DENIED);
        sp.serve(|_, request| request.payload())
    });
    logged_at_any_level(|| {
        let system = System::builder().setting("log-level", level);
        system.sp(watched).boot().nwd().ask(0x8001, [7, 0, 0, 0, 0]);
    })
}

// Only levels at which other tests keep their lines, and one after the other.
#[test]
fn the_spmc_manifest_says_how_much_is_logged() {
    capture();
    let base = host_tests::manifest::partition_base(0);
    let running = (Level::Debug, "watched is Running".to_string());
    let at_debug = lines_at(4);
    assert_eq!(log::max_level(), LevelFilter::Debug);
    assert!(at_debug.contains(&running), "{at_debug:?}");
    let has = |(level, line): &(Level, String)| {
        *level == Level::Debug && line.starts_with(&format!("watched: has {base:#x}.."))
    };
    assert!(at_debug.iter().any(has), "{at_debug:?}");
    assert!(at_debug.iter().all(|(level, _)| *level <= Level::Debug));

    let at_trace = lines_at(5);
    assert_eq!(log::max_level(), LevelFilter::Trace);
    assert!(at_trace.contains(&running), "{at_trace:?}");
    let calls = at_trace.iter().filter(|(level, _)| *level == Level::Trace);
    let calls: Vec<_> = calls.map(|(_, line)| line.as_str()).collect();
    let expected = [
        "watched vcpu 0 calls FFA_MSG_SEND_DIRECT_RESP_64: c4000070 80010000 0 0 0 0 0 0",
        "watched vcpu 0 gets DENIED: 84000060 0 fffffffa 0 0 0 0 0",
        "watched vcpu 0 calls FFA_MSG_WAIT: 8400006b 0 0 0 0 0 0 0",
        "NWd calls FFA_MSG_SEND_DIRECT_REQ_64: c400006f 8001 0 7 0 0 0 0",
        "watched vcpu 0 gets FFA_MSG_SEND_DIRECT_REQ_64: c400006f 8001 0 7 0 0 0 0",
        "watched vcpu 0 calls FFA_MSG_SEND_DIRECT_RESP_64: c4000070 80010000 0 7 0 0 0 0",
        "NWd gets FFA_MSG_SEND_DIRECT_RESP_64: c4000070 80010000 0 7 0 0 0 0",
    ];
    assert_eq!(calls, expected);
}
