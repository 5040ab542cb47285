//! `cargo xtask demo`: real systems on the SPMC, each of which is booted on QEMU and checked by the
//! output on its console.
//!
//! A demo is a row of [`DEMOS`]. The software comes from Debian packages of pinned versions
//! ([`fetch`]); none of it is in this repository.

mod fetch;
mod fire;
mod initramfs;
mod linux;
mod optee;
mod rust_sp;
mod stmm;
mod u_boot;
mod xen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::fire::Fire;
use self::linux::Linux;
use self::stmm::{Bank, Round, State};
use crate::image::{Components, assemble, assemble_with};
use crate::layout::{self, Layout};
use crate::patience::Patience;
use crate::process::step;
use crate::qemu::{Boot, Machine};
use crate::selection::Selection;
use crate::setup::setup_for_systems;
use crate::trace;
use crate::view::View;
use crate::workspace::{root, target};

/// The patience for demos: test suites of other systems may print nothing for minutes.
const PATIENCE: Patience = Patience::of_silence(Duration::from_secs(600));

/// A system, and the conditions of its success.
pub struct Demo {
    pub name: &'static str,
    pub about: &'static str,
    system: System,
    /// A folder below `manifests/`, or from the root of the tree.
    layout: &'static str,
    /// Numbers of PEs for which the demo is booted, one after the other.
    smp: &'static [u32],
    /// Texts that must appear on a console.
    expect: &'static [&'static str],
    /// Errors and warnings in Linux's log whose cause is not the SPMC, in addition to [`KNOWN`].
    known: &'static [&'static str],
    /// The differences of a boot beside a hostile partition, if there is one.
    fire: Option<Fire>,
}

/// The variants of a demo.
#[derive(Default)]
pub struct Variant {
    /// Set if a hostile partition is beside the others.
    pub has_fire: bool,
    /// The choice of calls that are shown.
    pub trace: trace::Options,
}

/// The differences of one boot.
#[derive(Clone, Copy, Default)]
struct Case<'a> {
    round: Option<&'a Round>,
    fire: Option<&'a Fire>,
}

/// Selects the software of the Normal world.
enum System {
    /// Linux with this command line. `optee` is set if the layout has that partition.
    Linux {
        command_line: &'static str,
        optee: bool,
        from: From,
    },
    /// U-Boot with these commands.
    UBoot(&'static str),
    /// The test OS with this selection, whose console a function judges.
    TestOs(Selection, fn(&[&str]) -> Result<()>),
    /// UEFI with its variables in this flash, and Linux. It is booted in [`stmm::ROUNDS`].
    Uefi(Bank),
}

/// The software that starts Linux.
enum From {
    /// The firmware.
    Firmware,
    /// U-Boot, after these commands.
    UBoot(&'static str),
    /// Xen, which runs Linux as its first domain.
    Xen,
}

/// Texts that must never appear.
const FORBID: &[&str] = &[
    "demo: failed",
    "demo: error in the log",
    "demo: warning in the log",
    "Kernel panic",
    "WARNING: CPU",
    "Call trace:",
    "Unhandled Exception",
    "invariant broken",
];

/// Warnings that Linux prints on this machine even without partitions.
const KNOWN: &[&str] = &["Memory resource size exceeds max for 32 bits"];

/// All demos. The longest comes last.
pub const DEMOS: &[Demo] = &[
    Demo {
        name: "linux",
        about: "Linux finds the test partitions, and turns its PEs off and on",
        system: System::Linux {
            command_line: "HOTPLUG=10",
            optee: false,
            from: From::Firmware,
        },
        layout: "default",
        smp: &[1, 2, 4],
        expect: &[
            "ARM FF-A: Driver version 1.2",
            "ARM FF-A: Firmware version 1.2 found",
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
            "ARM-FFA-SRI",
            "demo: 10 rounds of hotplug",
            "demo: end",
        ],
        known: &[],
        fire: Some(Fire {
            layout: "systems/fire",
            words: "HOTPLUG=60",
            smp: &[4],
            expect: &[
                "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
                "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
                "demo: 60 rounds of hotplug",
                "demo: end",
            ],
            known: &["__do_sched_recv_cb: Invalid partition ID"],
        }),
    },
    Demo {
        name: "linux-16",
        about: "Linux on 16 PEs finds partitions with a context for each, and turns its PEs off and on",
        system: System::Linux {
            command_line: "HOTPLUG=3",
            optee: false,
            from: From::Firmware,
        },
        layout: "pes-16",
        smp: &[16],
        expect: &[
            "ARM FF-A: Firmware version 1.2 found",
            "SMP: Total of 16 processors activated",
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
            "ARM-FFA-SRI",
            "demo: 3 rounds of hotplug",
            "demo: 16 PEs",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "rust-sp",
        about: "A partition in Rust from crates signs with a key of its own, and openssl agrees",
        system: System::TestOs(Selection::Signer, rust_sp::judge),
        layout: rust_sp::LAYOUT,
        smp: &[1, 4],
        expect: &["is ready, with a new key", "# rate signature of 64 bytes"],
        known: &[],
        fire: None,
    },
    Demo {
        name: "u-boot",
        about: "U-Boot lists the test partitions, and asks one of them",
        // U-Boot reads each field of a UUID as a little-endian number. The bytes are those of the
        // first partition.
        system: System::UBoot(
            "armffa devlist; armffa getpart 1e67b5b4-904a-e14f-1fb8-cbdae1da13fb; armffa ping 0x8001",
        ),
        layout: "default",
        smp: &[1],
        expect: &["device arm_ffa", "Partition: id = 8001", "SP response"],
        known: &[],
        fire: Some(Fire {
            layout: "systems/fire",
            words: "for n in 1 2 3 4 5 6 7 8; do armffa devlist; \
                armffa getpart 1e67b5b4-904a-e14f-1fb8-cbdae1da13fb || echo demo: failed: getpart; \
                armffa ping 0x8001 || echo demo: failed: ping; sleep 1; done; echo demo: end",
            smp: &[1],
            expect: &[
                "device arm_ffa",
                "Partition: id = 8001",
                "SP response",
                "demo: end",
            ],
            known: &[],
        }),
    },
    Demo {
        name: "u-boot-linux",
        about: "U-Boot at FF-A 1.0 asks a partition and starts Linux, which speaks 1.2",
        system: System::Linux {
            command_line: "",
            optee: false,
            from: From::UBoot("armffa ping 0x8001"),
        },
        layout: "default",
        smp: &[2],
        expect: &[
            "SP response",
            "ARM FF-A: Firmware version 1.2 found",
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "stmm",
        about: "UEFI keeps its variables in StandaloneMm, and Linux reads and writes them",
        system: System::Uefi(Bank::Shared),
        layout: "systems/stmm",
        smp: &[1, 2, 4],
        expect: UEFI_BOOTS,
        known: &[],
        fire: None,
    },
    Demo {
        name: "stmm-secure-flash",
        about: "as stmm, with the variables in the flash of the Secure world",
        system: System::Uefi(Bank::Secure),
        layout: "systems/stmm/secure-flash",
        smp: &[1],
        expect: UEFI_BOOTS,
        known: &[],
        fire: None,
    },
    Demo {
        name: "optee-and-partitions",
        about: "OP-TEE beside the test partitions, and some of its tests while interrupts and messages keep every PE busy",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression _1004 _1013\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee-and-partitions",
        smp: &[4],
        expect: &[
            "demo: partition arm_ffa:8001:b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "demo: partition arm_ffa:8002:d1582309-f023-47b9-827c-4464f5578fc8",
            "demo: partition arm_ffa:8003:486178e0-e7f8-11e3-bc5e-0002a5d5c51b",
            "demo: partition arm_ffa:8004:c10cc10c-0a11-4b22-8c33-d44e55f66077",
            "# clock: nothing lost in ",
            "demo: /dev/tee0",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "optee-16",
        about: "OP-TEE as a partition on 16 PEs, and some of its tests, one of them with threads",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression 1004 1013\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee-16",
        smp: &[16],
        expect: &[
            "optee: initialized driver",
            "demo: /dev/tee0",
            "demo: 16 PEs",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &[],
        fire: None,
    },
    Demo {
        name: "pkvm",
        about: "Linux and OP-TEE with a Hypervisor at EL2 that relays each call, and some of the tests",
        system: System::Linux {
            command_line: "kvm-arm.mode=protected XTEST=\"-l 0 -t regression 1004\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee",
        smp: &[2],
        expect: &[
            "Protected hVHE mode initialized successfully",
            "ARM FF-A: Firmware version",
            "demo: /dev/tee0",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &["optee: Failed to initialize async notifications: -95"],
        fire: Some(Fire::optee(
            "kvm-arm.mode=protected HOTPLUG_BESIDE=1 XTEST=\"-l 0 -t regression 1004\"",
        )),
    },
    Demo {
        name: "xen",
        about: "Linux and OP-TEE with Xen, whose mediator relays each call, and Linux as the first domain",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression 1004\"",
            optee: true,
            from: From::Xen,
        },
        layout: "systems/optee",
        smp: &[2],
        expect: &[
            "ARM FF-A Mediator version",
            "Using TEE mediator for FF-A",
            "ARM FF-A: Firmware version",
            "demo: /dev/tee0",
            "demo: xtest ended with 0",
            "demo: end",
        ],
        known: &[
            "optee: Failed to initialize async notifications: -65530",
            "Grant table initialized",
            "Failed to add - passthrough or MSI/MSI-X might fail!",
        ],
        fire: None,
    },
    Demo {
        name: "optee",
        about: "OP-TEE as a partition, its whole test suite in Linux",
        system: System::Linux {
            command_line: "XTEST=\"-l 0 -t regression+pkcs11\"",
            optee: true,
            from: From::Firmware,
        },
        layout: "systems/optee",
        smp: &[2],
        expect: XTEST_PASSES,
        known: &[],
        fire: Some(Fire::optee(
            "HOTPLUG_BESIDE=1 XTEST=\"-l 0 -t regression _1004 _1013\"",
        )),
    },
];

const UEFI_BOOTS: &[&str] = &[
    "efi: EFI v2.",
    "Registered efivars operations",
    "ARM FF-A: Firmware version 1.2 found",
    "demo: partition arm_ffa:8001:378daedc-f06b-4446-8314-40ab933c87a3",
    "demo: end",
];

const XTEST_PASSES: &[&str] = &[
    "optee: initialized driver",
    "demo: /dev/tee0",
    "143 test cases of which 0 failed",
    "0 test cases were skipped",
    "demo: xtest ended with 0",
    "demo: end",
];

/// Runs a demo and checks it, or starts it with the console on the terminal.
pub fn demo(name: &str, interactive: bool, variant: &Variant) -> Result<ExitCode> {
    let demo = DEMOS.iter().find(|demo| demo.name == name);
    let demo = demo.with_context(|| format!("there is no demo `{name}`"))?;
    if interactive {
        demo.attach(variant)?;
    } else {
        demo.run(variant)?;
        println!("{}: everything is as it should be.", demo.name);
    }
    Ok(ExitCode::SUCCESS)
}

impl Demo {
    /// Returns whether the demo can be run beside a hostile partition.
    pub fn has_fire(&self) -> bool {
        self.fire.is_some()
    }

    /// Returns the conditions of a hostile partition, if there is to be one.
    fn fire(&self, variant: &Variant) -> Result<Option<&Fire>> {
        if !variant.has_fire {
            return Ok(None);
        }
        let none = || format!("{} has no hostile partition", self.name);
        self.fire.as_ref().with_context(none).map(Some)
    }

    /// Boots the demo with each number of PEs and checks the output.
    pub fn run(&self, variant: &Variant) -> Result<()> {
        let fire = self.fire(variant)?;
        let components = Components::build()?;
        for &smp in fire.map_or(self.smp, |fire| fire.smp) {
            for round in self.rounds() {
                self.boot(&components, smp, Case { round, fire }, &variant.trace)?;
            }
        }
        Ok(())
    }

    /// Returns the boots of the demo with each number of PEs: one, without a round, or several.
    fn rounds(&self) -> Vec<Option<&'static Round>> {
        match self.system {
            System::Uefi(_) => stmm::ROUNDS.iter().map(Some).collect(),
            System::Linux { .. } | System::UBoot(_) | System::TestOs(..) => vec![None],
        }
    }

    fn boot(
        &self,
        components: &Components,
        smp: u32,
        case: Case,
        trace: &trace::Options,
    ) -> Result<()> {
        let (mut machine, flash) = self.prepare(components, smp, case, false)?;
        let mut which = format!("smp{smp}");
        let mut with = String::new();
        if let Some(round) = case.round {
            which = format!("{which}-{}", round.name);
            with = format!(", flash {}", round.name);
        }
        if case.fire.is_some() {
            which = format!("fire-{which}");
            with += ", under fire";
        }
        let recording = trace.record(&mut machine, &flash, Some(&which))?;
        machine.view = View::Nothing.or_everything();
        let what = format!("booting {}, {smp} PEs{with}: {}", self.name, self.about);
        let name = format!("demo-{}-{which}", self.name);
        let boot = step(&what, || machine.boot(&flash, &name))?;
        if let Some(recording) = recording {
            recording.show()?;
        }
        let verdict = self.check(smp, case, &boot);
        if verdict.is_err() && machine.view == View::Nothing {
            boot.print(&machine);
        }
        verdict.with_context(|| format!("consoles: {}", boot.path.display()))?;
        println!(
            "{}, {smp} PEs{with}: passed in {:.1} s, QEMU held {} MiB",
            self.name,
            boot.time.as_secs_f32(),
            boot.memory / 1024
        );
        Ok(())
    }

    fn attach(&self, variant: &Variant) -> Result<()> {
        let fire = self.fire(variant)?;
        let smp = self.smp.iter().copied().max().unwrap_or(1);
        let kept = stmm::ROUNDS.iter().find(|round| round.state == State::Kept);
        let case = Case { round: kept, fire };
        let (machine, flash) = self.prepare(&Components::build()?, smp, case, true)?;
        let uart1 = target().join(format!("logs/demo-{}-uart1.log", self.name));
        std::fs::create_dir_all(target().join("logs"))?;
        eprintln!(
            "Leave with `poweroff -f`, or Ctrl-A X. The SPMC and its partitions write to {}",
            uart1.display()
        );
        machine.attach(&flash, &uart1)
    }

    fn prepare(
        &self,
        components: &Components,
        smp: u32,
        Case { round, fire }: Case,
        interactive: bool,
    ) -> Result<(Machine, PathBuf)> {
        setup_for_systems()?;
        let mut machine = Machine {
            smp,
            patience: PATIENCE,
            ..Machine::default()
        };
        let dir = fetch::folder().join("boot").join(self.name);
        let shell = if interactive { " SHELL_WANTED=1" } else { "" };
        let bl33 = match &self.system {
            System::Linux {
                command_line,
                optee,
                from,
            } => {
                let mut linux = Linux::new()?;
                if *optee {
                    optee::install(&optee::build()?, &mut linux.initramfs)?;
                }
                let loaded = linux.load(&mut machine, &dir)?;
                let command_line = fire.map_or(*command_line, |fire| fire.words);
                let command_line = format!("{command_line}{shell}");
                match from {
                    From::Firmware => {
                        loaded.describe(&command_line)?;
                        linux::loader(linux::KERNEL)
                    }
                    From::UBoot(commands) => {
                        loaded.describe(&command_line)?;
                        let commands = format!("{commands}; booti {}", loaded.booti());
                        u_boot::load(&mut machine, &dir, &commands)?;
                        u_boot::build()?
                    }
                    From::Xen => {
                        xen::describe(&loaded, &command_line)?;
                        xen::load(&mut machine)?;
                        linux::loader(xen::XEN)
                    }
                }
            }
            System::UBoot(commands) => {
                let commands = fire.map_or(*commands, |fire| fire.words);
                let end = if interactive { "" } else { "; poweroff" };
                u_boot::load(&mut machine, &dir, &format!("{commands}{end}"))?;
                u_boot::build()?
            }
            System::TestOs(selection, _) => {
                machine.selection = *selection;
                let folder = root().join(self.layout);
                layout::build(&folder)?;
                let layout = Layout::find(&folder.display().to_string())?;
                return Ok((machine, assemble(components, &layout, None)?));
            }
            System::Uefi(bank) => {
                let round = round.context("a round is missing")?;
                stmm::load(Linux::new()?, &mut machine, &dir, round, shell)?;
                stmm::build(*bank)?
            }
        };
        let layout = Layout::find(fire.map_or(self.layout, |fire| fire.layout))?;
        let flash = assemble_with(components, &layout, None, bl33)?;
        if let (System::Uefi(bank), Some(round)) = (&self.system, round) {
            stmm::insert(&mut machine, &dir, *bank, round.state, &flash)?;
        }
        Ok((machine, flash))
    }

    /// Returns whether a boot with this number of PEs showed all expected texts, those of the case
    /// among them, and no forbidden one, and ended.
    fn check(&self, smp: u32, Case { round, fire }: Case, boot: &Boot) -> Result<()> {
        let shown = |text: &str| boot.log.iter().any(|line| line.text.contains(text));
        let more = fire.map_or(&[][..], |fire| fire.known);
        let known: Vec<&str> = [KNOWN, self.known, more].concat();
        let is_known = |line: &str| known.iter().any(|text| line.contains(text));
        for line in boot.log.iter().filter(|line| !is_known(&line.text)) {
            let text = FORBID.iter().find(|text| line.text.contains(*text));
            ensure!(text.is_none(), "a console shows `{}`", line.text);
        }
        if let Some(fire) = fire {
            fire.check(boot)?;
        }
        let further = round.map_or(&[][..], |round| round.expect);
        let expect = fire.map_or(self.expect, |fire| fire.expect);
        for text in expect.iter().chain(further) {
            ensure!(shown(text), "no console shows `{text}`");
        }
        if let System::Linux { .. } | System::Uefi(_) = self.system {
            let pes = format!("demo: {smp} PEs");
            ensure!(shown(&pes), "no console shows `{pes}`");
        }
        if let System::TestOs(_, judge) = self.system {
            boot.check()?;
            let lines: Vec<&str> = boot.log.iter().map(|line| line.text.as_str()).collect();
            judge(&lines)?;
        }
        boot.ended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: Demo = Demo {
        name: "test",
        about: "",
        system: System::Linux {
            command_line: "",
            optee: false,
            from: From::Firmware,
        },
        layout: "default",
        smp: &[2],
        expect: &["Driver version"],
        known: &["demo: error in the log: theirs"],
        fire: None,
    };

    #[test]
    fn a_demo_shows_all_that_it_must_and_ends() {
        const GOOD: &[&str] = &["Driver version 1.2", "demo: 2 PEs", "demo: end"];
        let case = Case::default();
        let error = |boot: Boot| DEMO.check(2, case, &boot).unwrap_err().to_string();
        assert!(DEMO.check(2, case, &Boot::of(GOOD, Some(0))).is_ok());
        let known = [GOOD, DEMO.known].concat();
        assert!(DEMO.check(2, case, &Boot::of(&known, Some(0))).is_ok());

        assert!(error(Boot::of(GOOD, None)).contains("given up"));
        assert!(error(Boot::of(GOOD, Some(1))).contains("QEMU failed"));
        assert!(error(Boot::of(&GOOD[1..], Some(0))).contains("`Driver version`"));
        assert!(
            error(Boot::of(&["Driver version", "demo: 4 PEs"], Some(0))).contains("`demo: 2 PEs`")
        );
        for text in FORBID {
            let lines = [GOOD, &[text]].concat();
            assert!(error(Boot::of(&lines, Some(0))).contains(text));
        }
    }

    #[test]
    fn each_demo_has_a_name_of_its_own_and_boots() {
        for (index, demo) in DEMOS.iter().enumerate() {
            assert!(!demo.smp.is_empty() && !demo.expect.is_empty());
            assert!(DEMOS[..index].iter().all(|other| other.name != demo.name));
        }
    }
}
