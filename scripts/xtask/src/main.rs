//! `cargo xtask`: the one tool of the project.
//!
//! Each subcommand is a module; this file only parses the command line. Every command calls the
//! commands whose results it needs (`run` -> `image` -> `build` -> `setup`), and each of them is
//! fast if there is nothing to do.

mod apt;
mod bench;
mod board;
mod book;
mod build;
mod conformance;
mod demo;
mod elf;
mod explore;
mod faults;
mod figures;
mod fip;
mod fuzz;
mod growth;
mod hardware;
mod hw_config;
mod image;
mod layout;
mod links;
mod manifest;
mod mutants;
mod parallel;
mod patience;
mod process;
mod qemu;
mod rows;
#[allow(dead_code, reason = "the guests use the other items")]
#[path = "../../../tests/guest/src/selection.rs"]
mod selection;
mod setup;
#[path = "../../../platform/aarch64/src/sizes.rs"]
mod sizes;
mod stack;
mod suite;
#[path = "../../../platform/aarch64/src/system_registers.rs"]
mod system_registers;
mod tfa;
#[allow(dead_code, reason = "the document lists fields, not values")]
#[path = "../../../platform/aarch64/src/traps.rs"]
mod traps;
mod untidy;
mod workspace;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::board::{BOARDS, Board};
use crate::image::ImageOptions;
use crate::patience::Patience;
use crate::qemu::Machine;

const USAGE: &str = "\
usage: cargo xtask <command>

  setup                       install what is missing, build TF-A and mdBook
  build [--board BOARD]       build the SPMC and the guests: target/spmc.elf, target/spmc.bin
  image [--board BOARD] [--partitions LAYOUT] [--log LEVEL]
                              build the flash image: TF-A, the SPMC and the partitions of a layout
  run [--board BOARD] [--smp N] [--gdb] [--log LEVEL] [--partitions LAYOUT] [--silence SECONDS] [--seed N] [--calls N]
                              boot it on QEMU; succeeds when the test OS says that every test passed, and gives up
                              when the consoles say nothing for so long (120);
                              --seed and --calls are for layouts that choose at random: what, and how much
  test [--fast] [--systems]   every check and test; --fast leaves out those on QEMU, --systems adds every demo
  demo SYSTEM [--interactive] boot a real system over the SPMC and check that it works; --interactive leaves a shell.
                              SYSTEM is one of those that `demo` without it lists
  bench                       count instructions per call; writes target/bench.json, fails when a limit is exceeded
  manifest check [--board BOARD] [--json] [-I DIR] [--deny-warnings] LAYOUT|FILE...
                              judge layouts, or manifests as .dts or .dtb, as the boot would: all faults with their places;
                              status 1 if there are faults, 2 if the command is wrong (--help says more)
  book [--check]              draw the figures of the documents, or check that they are up to date; make a book of all
                              documents, and check its links
  conformance [--check]       write docs/requirements.md and docs/hardware.md, or check that they are up to date
  fuzz [TARGET] [--runs N] [--seed N] [--fresh] [--fast]
                              run fuzz targets, each for N executions; --fresh leaves out what earlier runs found,
                              --fast follows edges alone, for long runs
  mutants [PATH...] [--sample N [--seed S]] [--shard K/N] [--again] [--explained]
                              [--longest MS] [--jobs N] [--list]
                              change the engine in small ways and tell which changes no test on the host notices
  explore [SYSTEM]...         visit every state of systems that are small enough, or of those named; prints
                              how many there are
  faults [FAULT]...           take fixes out of a copy of the tree, all or those named, and demand that a test fails
  stack [ELF]                 print the deepest path of calls on each stack of the SPMC (default: target/spmc.elf)
  growth                      count how the cost of a memory transaction grows
  ci                          what runs on every change: test

BOARD is qemu-virt (the default) or qemu-sbsa, whose products are in target/qemu-sbsa and whose layouts are below platform/qemu-sbsa/manifests.
LAYOUT is a folder below manifests/ or a path to a folder or to an sp_layout.json (default: `default`).
LEVEL is error, warn, info, debug or trace.";

fn main() -> ExitCode {
    let mut arguments = Arguments::new(std::env::args().skip(1).collect());
    match dispatch(&mut arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &mut Arguments) -> Result<ExitCode> {
    let command = arguments.positional();
    match command.as_deref() {
        Some("setup") => {
            arguments.finish()?;
            setup::setup()?;
            book::mdbook()?;
            for board in BOARDS {
                tfa::build(board, &[])?;
            }
        }
        Some("build") => {
            let board = board(arguments)?;
            arguments.finish()?;
            build::build(board, None)?;
        }
        Some("image") => {
            let options = image_options(arguments)?;
            arguments.finish()?;
            let (_, flash) = image::image(&options)?;
            println!("{}", flash.display());
        }
        Some("run") => {
            let options = image_options(arguments)?;
            let smp = arguments.number("--smp")?.unwrap_or(4);
            let most = options.board.most_pes;
            ensure!(
                (1..=most).contains(&smp),
                "--smp {smp}: TF-A's port for {} has 1 to {most} PEs",
                options.board.name
            );
            let machine = Machine {
                board: options.board,
                smp,
                gdb: arguments.flag("--gdb"),
                parameters: [
                    arguments.number("--seed")?.unwrap_or(0),
                    arguments.number("--calls")?.unwrap_or(0),
                ],
                patience: patience(arguments)?,
                ..Machine::default()
            };
            arguments.finish()?;
            return qemu::run(&options, machine);
        }
        Some("test") => {
            let fast = arguments.flag("--fast");
            let systems = arguments.flag("--systems");
            arguments.finish()?;
            return suite::test(fast, systems);
        }
        Some("ci") => {
            arguments.finish()?;
            return suite::test(false, false);
        }
        Some("demo") => {
            let interactive = arguments.flag("--interactive");
            let system = arguments.positional();
            arguments.finish()?;
            return demo::demo(system.as_deref(), interactive);
        }
        Some("bench") => {
            arguments.finish()?;
            return bench::bench();
        }
        Some("manifest") => {
            return manifest::manifest(&arguments.0);
        }
        Some("fuzz") => {
            let options = fuzz::Options {
                runs: arguments.number("--runs")?.unwrap_or(100_000),
                seed: arguments.number("--seed")?.unwrap_or(1),
                fresh: arguments.flag("--fresh"),
                fast: arguments.flag("--fast"),
                target: arguments.positional(),
            };
            arguments.finish()?;
            fuzz::fuzz(&options)?;
        }
        Some("mutants") => return mutants::mutants(&arguments.0),
        Some("explore") => explore::explore(&arguments.0)?,
        Some("faults") => faults::faults(&arguments.0)?,
        Some("growth") => {
            arguments.finish()?;
            growth::growth()?;
        }
        Some("stack") => {
            let elf = arguments.positional();
            arguments.finish()?;
            stack::print(elf.as_deref())?;
        }
        Some("book") => {
            let check = arguments.flag("--check");
            arguments.finish()?;
            println!("{}", book::book(check)?.display());
        }
        Some("conformance") => {
            let check = arguments.flag("--check");
            arguments.finish()?;
            conformance::conformance(check)?;
        }
        Some("help" | "--help" | "-h") => println!("{USAGE}"),
        Some(other) => bail!("there is no command `{other}`\n\n{USAGE}"),
        None => bail!("which command?\n\n{USAGE}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the board that `--board` names, or the default board.
fn board(arguments: &mut Arguments) -> Result<&'static Board> {
    match arguments.value("--board")? {
        Some(name) => Board::find(&name),
        None => Ok(BOARDS[0]),
    }
}

/// Returns how long a boot may print nothing.
fn patience(arguments: &mut Arguments) -> Result<Patience> {
    let seconds = arguments.number("--silence")?;
    Ok(seconds.map_or(Patience::USUAL, |seconds| {
        Patience::of_silence(Duration::from_secs(seconds))
    }))
}

fn image_options(arguments: &mut Arguments) -> Result<ImageOptions> {
    Ok(ImageOptions {
        board: board(arguments)?,
        layout: arguments
            .value("--partitions")?
            .unwrap_or_else(|| "default".into()),
        log_level: arguments
            .value("--log")?
            .map(|name| image::log_level(&name))
            .transpose()?,
    })
}

/// The arguments of the command line that are not parsed yet.
struct Arguments(Vec<String>);

impl Arguments {
    fn new(words: Vec<String>) -> Self {
        Self(words)
    }

    fn positional(&mut self) -> Option<String> {
        let position = self.0.iter().position(|word| !word.starts_with("--"))?;
        Some(self.0.remove(position))
    }

    fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|word| word != name);
        self.0.len() != before
    }

    /// Takes the value of an option: `name VALUE` or `name=VALUE`.
    fn value(&mut self, name: &str) -> Result<Option<String>> {
        if let Some(position) = self.0.iter().position(|word| word == name) {
            self.0.remove(position);
            if position >= self.0.len() {
                bail!("{name} needs a value");
            }
            return Ok(Some(self.0.remove(position)));
        }
        let prefix = format!("{name}=");
        let position = self.0.iter().position(|word| word.starts_with(&prefix));
        Ok(position.map(|position| self.0.remove(position)[prefix.len()..].to_string()))
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.value(name)? else {
            return Ok(None);
        };
        match value.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => bail!("{name} {value}: not a number"),
        }
    }

    fn finish(&self) -> Result<()> {
        match self.0.first() {
            Some(word) => bail!("`{word}` is not understood here\n\n{USAGE}"),
            None => Ok(()),
        }
    }
}
