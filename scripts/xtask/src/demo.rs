//! `cargo xtask demo`: real systems on the SPMC, each of which is booted on QEMU and checked by the
//! output on its console.
//!
//! A demo is a row of [`DEMOS`]. The software comes from Debian packages of pinned versions
//! ([`fetch`]); none of it is in this repository.

mod edk2;
mod fetch;
mod fire;
mod initramfs;
mod keys;
mod linux;
mod list;
mod optee;
mod rust_sp;
mod stmm;
mod times;
mod u_boot;
mod xen;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::fire::Fire;
use self::linux::Linux;
pub use self::list::DEMOS;
use self::stmm::{Bank, Program, Round};
use self::times::Times;
use crate::consoles::Boot;
use crate::image::{Components, assemble, assemble_with};
use crate::layout::{self, Layout};
use crate::patience::Patience;
use crate::process::step;
use crate::qemu::Machine;
use crate::selection::Selection;
use crate::setup::setup_for_systems;
use crate::trace::{self, Costs, Summed};
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
    /// Set if the instructions of the SPMC are shown.
    pub has_costs: bool,
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

    /// Boots the demo with each number of PEs, checks the output and prints the times.
    pub fn run(&self, variant: &Variant) -> Result<()> {
        let fire = self.fire(variant)?;
        let components = Components::build()?;
        let mut boots = Vec::new();
        for &smp in fire.map_or(self.smp, |fire| fire.smp) {
            for round in self.rounds() {
                boots.push(self.boot(&components, smp, Case { round, fire }, variant)?);
            }
        }
        print!("{}", times::table(&boots));
        Ok(())
    }

    /// Returns the boots of the demo with each number of PEs: one, without a round, or several.
    fn rounds(&self) -> Vec<Option<&'static Round>> {
        match self.system {
            System::Uefi(_) => stmm::ROUNDS.iter().map(Some).collect(),
            System::Linux { .. } | System::UBoot(_) | System::TestOs(..) => vec![None],
        }
    }

    /// Boots the demo once and checks the output. Returns the times.
    fn boot(
        &self,
        components: &Components,
        smp: u32,
        case: Case,
        variant: &Variant,
    ) -> Result<Times> {
        let (mut machine, flash) = self.prepare(components, smp, case, false)?;
        let mut part = format!("smp{smp}");
        let mut which = format!("{smp} PEs");
        if let Some(round) = case.round {
            part = format!("{part}-{}", round.name);
            which = format!("{which}, flash {}", round.name);
        }
        if case.fire.is_some() {
            part = format!("fire-{part}");
            which += ", under fire";
        }
        let recording = variant.trace.record(&mut machine, &flash, Some(&part))?;
        let name = format!("demo-{}-{part}", self.name);
        // A machine takes the plugin once only.
        let sums = if variant.trace.is_wanted() {
            None
        } else {
            let summed = if variant.has_costs {
                Summed::Instructions
            } else {
                Summed::Times
            };
            Some(Costs::record(&mut machine, &flash, &name, summed)?)
        };
        machine.view = View::Nothing.or_everything();
        let what = format!("booting {}, {which}: {}", self.name, self.about);
        let boot = step(&what, || machine.boot(&flash, &name))?;
        if let Some(recording) = recording {
            recording.show()?;
        }
        let verdict = self.check(smp, case, &boot);
        if verdict.is_err() && machine.view == View::Nothing {
            boot.print(&machine.programs);
        }
        verdict.with_context(|| format!("consoles: {}", boot.path.display()))?;
        println!("{}, {which}: passed", self.name);
        let sums = sums.map(|sums| sums.read()).transpose()?;
        if let Some(sums) = sums.as_ref().filter(|_| variant.has_costs) {
            print!("{}", trace::cost_table(sums));
        }
        Ok(Times {
            which,
            sums,
            end: boot.time,
            memory: boot.memory,
        })
    }

    fn attach(&self, variant: &Variant) -> Result<()> {
        let fire = self.fire(variant)?;
        let smp = self.smp.iter().copied().max().unwrap_or(1);
        let round = match self.system {
            System::Uefi(_) => stmm::kept(),
            _ => None,
        };
        let case = Case { round, fire };
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
                let more = fire.map_or("", |fire| fire.words);
                stmm::load(&mut machine, &dir, round, &format!("{more}{shell}"))?;
                stmm::build(*bank)?
            }
        };
        let folder = round.map_or("", |round| round.folder);
        let folder = format!("{}/{folder}", fire.map_or(self.layout, |fire| fire.layout));
        let layout = Layout::find(folder.trim_end_matches('/'))?;
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
        let has_linux = match (&self.system, round) {
            (System::Linux { .. }, _) => true,
            (System::Uefi(_), Some(round)) => round.program != Program::Shell,
            _ => false,
        };
        let has_shell = round.is_some() && !has_linux;
        let expect = fire.map_or(self.expect, |fire| fire.expect);
        // These are texts of Linux.
        let expect = if has_shell { &[] } else { expect };
        for text in expect.iter().chain(further) {
            ensure!(shown(text), "no console shows `{text}`");
        }
        if has_linux {
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
