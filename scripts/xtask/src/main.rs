//! `cargo xtask`: the one tool of the project.
//!
//! Each subcommand is a module; [`command_line`] says what there is, and this file passes on. Every
//! command calls the commands whose results it needs (`run` -> `image` -> `build` -> `setup`), and
//! each of them is fast if there is nothing to do.

mod apt;
mod bench;
mod board;
mod book;
mod build;
mod command_line;
mod conformance;
mod consoles;
mod coverage;
mod demo;
mod distribution;
mod elf;
mod ending;
mod explore;
mod faults;
mod figures;
mod fip;
mod fuzz;
mod growth;
mod hardware;
mod hw_config;
mod image;
mod junit;
mod layout;
mod links;
mod log_levels;
mod manifest;
mod mutants;
mod new_sp;
#[allow(dead_code, reason = "the test of the sources uses the other items")]
#[path = "../../../platform/aarch64/src/own_registers.rs"]
mod own_registers;
mod parallel;
mod patience;
mod places;
mod plugin;
mod process;
mod qemu;
mod rows;
mod sbom;
#[allow(dead_code, reason = "the guests use the other items")]
#[path = "../../../tests/guest/src/selection.rs"]
mod selection;
mod setup;
#[path = "../../../platform/aarch64/src/sizes.rs"]
mod sizes;
mod stack;
mod suite;
mod symbols;
#[path = "../../../platform/aarch64/src/system_registers.rs"]
mod system_registers;
mod tfa;
mod tools;
mod trace;
#[allow(dead_code, reason = "the document lists fields, not values")]
#[path = "../../../platform/aarch64/src/traps.rs"]
mod traps;
mod twice;
mod untidy;
mod view;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::board::BOARDS;
use crate::command_line::{Boot, Command, CommandLine, Image, Manifest};
use crate::demo::Variant;
use crate::image::ImageOptions;
use crate::qemu::{Machine, Purpose};

fn main() -> ExitCode {
    ending::end_when_nobody_reads();
    let line = CommandLine::parse();
    if line.verbose {
        process::be_verbose();
    }
    let begin = || {
        workspace::check()?;
        line.tf_a.as_deref().map_or(Ok(()), tfa::use_tree)
    };
    match begin().and_then(|()| dispatch(line.command)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<ExitCode> {
    match command {
        Command::Setup => {
            setup::setup()?;
            book::mdbook()?;
            for board in BOARDS {
                tfa::build(board, &[])?;
            }
        }
        Command::Build(spmc) => {
            let built = build::build(spmc.of.board, None, spmc.extras())?;
            println!("{}", built.bin.display());
        }
        Command::Reproduce => twice::check()?,
        Command::Sbom => {
            for path in sbom::sbom()? {
                println!("{}", path.display());
            }
        }
        Command::Image(image) => {
            let (_, flash) = image::image(&image.into())?;
            println!("{}", flash.display());
        }
        Command::TraceDump(dump) => dump.show()?,
        Command::Run(options) => return run(options.boot, &options.trace),
        Command::Map {
            output,
            all,
            demo,
            boot,
        } => {
            let trace = trace::Options::map(output, all);
            let Some(system) = demo else {
                return run(boot, &trace);
            };
            let variant = Variant {
                trace,
                ..Variant::default()
            };
            return demo::demo(&system, false, &variant);
        }
        Command::NewSp { path, lang } => new_sp::new_sp(&path, lang)?,
        Command::Test {
            fast,
            systems,
            only,
            junit,
        } => return suite::test(fast, systems, &only.unwrap_or_default(), junit.as_deref()),
        Command::Ci => return suite::test(false, false, "", None),
        Command::Demo {
            system,
            interactive,
            fire,
            costs,
            trace,
        } => {
            let variant = Variant {
                has_fire: fire,
                trace,
                has_costs: costs,
            };
            return demo::demo(&system, interactive, &variant);
        }
        Command::Bench => return bench::bench(),
        Command::Manifest(Manifest::Check { words }) => return manifest::check(&words),
        Command::Fuzz {
            target,
            runs,
            seed,
            fresh,
            fast,
        } => fuzz::fuzz(&fuzz::Options {
            target,
            runs,
            seed,
            fresh,
            fast,
        })?,
        Command::Mutants { words } => return mutants::mutants(&words),
        Command::Explore { systems } => explore::explore(&systems)?,
        Command::Faults { faults } => faults::faults(&faults)?,
        Command::Growth => growth::growth()?,
        Command::Coverage => coverage::coverage()?,
        Command::Stack { elf } => stack::print(elf.as_deref())?,
        Command::Book { check } => println!("{}", book::book(check)?.display()),
        Command::Conformance { check } => conformance::conformance(check)?,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut CommandLine::command(), "xtask", &mut script);
            print!("{}", String::from_utf8_lossy(&script));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run(options: Boot, trace: &trace::Options) -> Result<ExitCode> {
    let board = options.image.spmc.of.board;
    if !(1..=board.most_pes).contains(&options.smp) {
        let refusal = format!(
            "--smp {}: TF-A's port for {} has 1 to {} PEs",
            options.smp, board.name, board.most_pes
        );
        let mut command = CommandLine::command();
        command.error(ErrorKind::ValueValidation, refusal).exit();
    }
    let machine = Machine {
        board,
        smp: options.smp,
        gdb: options.gdb,
        parameters: [options.seed.unwrap_or(0), options.calls.unwrap_or(0)],
        purpose: match (options.list, options.tests) {
            (true, _) => Purpose::List,
            (false, pattern) => Purpose::Tests(pattern.unwrap_or_default()),
        },
        patience: options.silence,
        ..Machine::default()
    };
    qemu::run(&options.image.into(), machine, options.normal_world, trace)
}

impl From<Image> for ImageOptions {
    fn from(image: Image) -> Self {
        Self {
            board: image.spmc.of.board,
            layout: image.partitions,
            log_level: image.spmc.log,
            extras: image.spmc.extras(),
            bl33: None,
        }
    }
}
