//! The command line of `cargo xtask`, from which clap also makes the help and the completions.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::board::{BOARDS, Board};
use crate::build::Extras;
use crate::demo::DEMOS;
use crate::image::{LOG_LEVELS, is_beyond_shipped};
use crate::new_sp::Language;
use crate::patience::Patience;
use crate::qemu::NormalWorld;
use crate::trace;

/// The one tool of the project: set up, build, boot on QEMU, test and measure.
///
/// Every command does first what it needs of the others. The exit status is 0 if all is well, 1 if
/// a command or a test failed, 2 if the command line is wrong, and 141 if nobody reads the output.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version)]
pub struct CommandLine {
    /// Show everything: the consoles, what the compilers do, each test
    #[arg(long, global = true)]
    pub verbose: bool,
    #[command(subcommand)]
    pub command: Command,
    /// Build TF-A from this source tree in place of Debian's
    ///
    /// Versions other than 2.12 may want other flags than xtask's.
    #[arg(long, value_name = "DIR", global = true, display_order = 1000)]
    pub tf_a: Option<PathBuf>,
}

#[derive(Subcommand)]
pub enum Command {
    /// Install what is missing, build TF-A and mdBook
    Setup,
    /// Build the SPMC and the guests: target/spmc.elf, target/spmc.bin
    Build(Spmc),
    /// Build the SPMC and TF-A again in other folders, and fail if an image differs
    Reproduce,
    /// Judge the crates of the image and of the tools, and write a CycloneDX document for each
    Sbom,
    /// Build the flash image: TF-A, the SPMC and the partitions of a layout
    Image(Image),
    /// Boot it on QEMU; succeeds when the Normal world says that every test passed
    ///
    /// With `--normal-world idle` or a file it succeeds when the board is turned off.
    Run(Run),
    /// Make a folder with a partition that prints and answers, and with a layout that boots it
    ///
    /// docs/first-partition.md says how to go on.
    NewSp {
        /// The folder; its name becomes that of the partition
        #[arg(value_name = "NAME")]
        path: PathBuf,
        /// The language
        #[arg(long, value_enum, default_value = "rust")]
        lang: Language,
    },
    /// Run every check and test
    Test {
        /// Leave out the checks on QEMU
        #[arg(long)]
        fast: bool,
        /// Add every demo
        #[arg(long)]
        systems: bool,
        /// Only the checks and boots whose names contain this, as the output and the file of
        /// `--junit` name them: `default/smp4`, `bench`, `host tests`, `documentation`
        #[arg(long, value_name = "PATTERN")]
        only: Option<String>,
        /// Write the result of each test to this file, in the format of JUnit
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
    },
    /// Boot a real system over the SPMC and check that it works
    Demo {
        #[arg(value_parser = demos())]
        system: String,
        /// Leave a shell on the terminal in place of the checks
        #[arg(long, conflicts_with = "file")]
        interactive: bool,
        /// Put a hostile partition beside the others, which attacks, dies and starts anew
        #[arg(long)]
        fire: bool,
        /// Show the instructions of the SPMC by kind of call (slower)
        #[arg(long, conflicts_with_all = ["traced", "interactive"])]
        costs: bool,
        #[command(flatten)]
        trace: trace::Options,
    },
    /// Show the calls that an SPMC with `--trace-ring` kept
    TraceDump(trace::Dump),
    /// Draw who has which memory, from the translation tables of a system that runs
    ///
    /// Boots a layout, as `run` does, or a demo. The picture shows the moment at which most memory
    /// is lent, shared or donated.
    Map {
        /// The picture
        #[arg(long, value_name = "FILE", default_value = "map.svg")]
        output: PathBuf,
        /// Draw a picture for each transaction that changes who has which memory: FILE-001.svg and
        /// so on
        #[arg(long)]
        all: bool,
        /// Boot this demo in place of a layout
        #[arg(long, value_name = "SYSTEM", value_parser = demos())]
        demo: Option<String>,
        #[command(flatten)]
        boot: Boot,
    },
    /// Count instructions per call; writes target/bench.json, fails when a limit is exceeded
    Bench,
    /// Judge manifests
    #[command(subcommand)]
    Manifest(Manifest),
    /// Draw the figures of the documents, make a book of all documents, and check its links
    Book {
        /// Check that the figures are up to date, and draw none
        #[arg(long)]
        check: bool,
    },
    /// Write docs/requirements.md and docs/hardware.md
    Conformance {
        /// Check that the documents are up to date, and write none
        #[arg(long)]
        check: bool,
    },
    /// Run fuzz targets on the host
    Fuzz {
        /// One target (default: all)
        target: Option<String>,
        /// Executions of each target
        #[arg(long, default_value_t = 100_000)]
        runs: u64,
        /// Seed of the mutations
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Leave out what earlier runs found
        #[arg(long)]
        fresh: bool,
        /// Follow edges alone, for long runs
        #[arg(long)]
        fast: bool,
    },
    /// Run the tests of the engine on the host, and print which of its lines they do not reach
    ///
    /// Installs cargo-llvm-cov below target/tools, and the component llvm-tools of the toolchain.
    Coverage,
    /// Change the engine in small ways and tell which changes no test on the host notices
    #[command(disable_help_flag = true)]
    Mutants {
        /// Arguments of the program; --help lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
    /// Visit every state of systems that are small enough, and print how many there are
    Explore {
        /// Names of systems (default: all)
        systems: Vec<String>,
    },
    /// Take fixes out of a copy of the tree, and demand that a test fails
    Faults {
        /// Names of files in tests/host/faults (default: all)
        faults: Vec<String>,
    },
    /// Print the deepest path of calls on each stack of the SPMC
    Stack {
        /// The program (default: target/spmc.elf)
        elf: Option<PathBuf>,
    },
    /// Count how the cost of a memory transaction grows
    Growth,
    /// Run what runs on every change: `test`
    Ci,
    /// Print a script that lets a shell complete the words of this command line
    ///
    /// The script is for a command `xtask`. In bash: alias xtask='cargo xtask'; eval "$(cargo xtask
    /// completions bash)"
    Completions { shell: Shell },
}

/// The judges of manifests.
#[derive(Subcommand)]
pub enum Manifest {
    /// Judge layouts, or manifests as .dts or .dtb, as the boot would: all faults with their places
    #[command(disable_help_flag = true)]
    Check {
        /// Arguments of the program; --help lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// The choice of a board.
#[derive(Args)]
pub struct OfBoard {
    /// The board; products of other boards than the default are in target/BOARD
    #[arg(long, value_name = "BOARD", default_value = BOARDS[0].name, value_parser = boards())]
    pub board: &'static Board,
}

/// The choices that make an SPMC.
#[derive(Args)]
pub struct Spmc {
    #[command(flatten)]
    pub of: OfBoard,
    /// The SPMC's log level
    ///
    /// The SPMC that ships has no lines at `debug` and `trace`. For these levels another one is
    /// built: target/spmc-log.bin.
    #[arg(long, value_name = "LEVEL", value_parser = log_levels())]
    pub log: Option<u32>,
    /// Build an SPMC that keeps the last calls of each PE in memory, for `trace-dump`:
    /// target/spmc-ring.bin, or target/spmc-log-ring.bin
    #[arg(long)]
    pub trace_ring: bool,
}

impl Spmc {
    /// Returns the additions that the image has to the one that ships.
    pub fn extras(&self) -> Extras {
        Extras {
            log: is_beyond_shipped(self.log),
            ring: self.trace_ring,
        }
    }
}

/// The choices that make an image.
#[derive(Args)]
pub struct Image {
    #[command(flatten)]
    pub spmc: Spmc,
    /// A folder below manifests/ (for other boards: platform/BOARD/manifests/), or the path of a
    /// folder or of an sp_layout.json
    #[arg(long, value_name = "LAYOUT", default_value = "default")]
    pub partitions: String,
}

/// A boot whose calls may be shown.
#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    pub boot: Boot,
    #[command(flatten)]
    pub trace: trace::Options,
}

/// A boot.
#[derive(Args)]
pub struct Boot {
    #[command(flatten)]
    pub image: Image,
    /// Number of PEs
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub smp: u32,
    /// The Normal world: `tests` (the test OS), `ping` (greets each partition), `idle` (turns the
    /// board off at once), or the file of a raw BL33. The default is `tests` for layouts of the
    /// repository and `ping` for others
    #[arg(long, value_name = "WORLD", value_parser = NormalWorld::parse)]
    pub normal_world: Option<NormalWorld>,
    /// Wait for a debugger on port 1234
    #[arg(long)]
    pub gdb: bool,
    /// Give up when the consoles say nothing for so long
    #[arg(long, value_name = "SECONDS", default_value = "120", value_parser = patience)]
    pub silence: Patience,
    /// Only the tests whose names contain this
    #[arg(long, value_name = "PATTERN", value_parser = crate::qemu::pattern)]
    pub tests: Option<String>,
    /// List the tests of the layout, and run none
    #[arg(long)]
    pub list: bool,
    /// Seed for layouts that choose at random
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Number of calls for layouts that choose at random
    #[arg(long, value_name = "N")]
    pub calls: Option<u64>,
}

fn boards() -> impl TypedValueParser<Value = &'static Board> {
    PossibleValuesParser::new(BOARDS.map(|board| board.name)).try_map(|name| Board::find(&name))
}

fn log_levels() -> impl TypedValueParser<Value = u32> {
    PossibleValuesParser::new(LOG_LEVELS).try_map(|name| crate::image::log_level(&name))
}

fn demos() -> PossibleValuesParser {
    let value = |demo: &crate::demo::Demo| PossibleValue::new(demo.name).help(demo.about);
    PossibleValuesParser::new(DEMOS.iter().map(value))
}

/// Parses the number of seconds for which the consoles may say nothing.
fn patience(seconds: &str) -> Result<Patience, std::num::ParseIntError> {
    Ok(Patience::of_silence(Duration::from_secs(seconds.parse()?)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(["xtask"].into_iter().chain(words.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_whole() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn defaults_are_those_of_the_first_board_and_layout() {
        let Ok(Command::Run(run)) = parse("run").map(|line| line.command) else {
            panic!("`run` is a command");
        };
        let run = run.boot;
        assert_eq!(run.image.spmc.of.board.name, BOARDS[0].name);
        assert_eq!(run.image.partitions, "default");
        assert_eq!(run.silence, Patience::USUAL);
        assert_eq!((run.smp, run.seed, run.image.spmc.log), (4, None, None));
    }

    #[test]
    fn a_wrong_command_line_is_told_with_status_2() {
        for wrong in [
            "",
            "runn",
            "run --board qemu",
            "run --smp many",
            "run --log loud",
            "run extra",
            "demo",
            "demo windows",
            "test --junit",
            "run --trace-endpoint sp1",
            "map --demo windows",
        ] {
            assert_eq!(
                parse(wrong).err().map(|error| error.exit_code()),
                Some(2),
                "{wrong}"
            );
        }
        for asked in ["--help", "run --help", "--version", "help manifest"] {
            assert_eq!(
                parse(asked).err().map(|error| error.exit_code()),
                Some(0),
                "{asked}"
            );
        }
    }

    #[test]
    fn calls_are_counted_with_and_without_a_trace_of_them() {
        for line in [
            "run --trace-summary --trace-endpoint sp1",
            "run --trace --trace-summary",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn other_programs_get_their_words_unchanged() {
        let words = ["--json", "-I", "dir", "--help", "default"];
        let line = parse("manifest check --json -I dir --help default").unwrap();
        let Command::Manifest(Manifest::Check { words: passed }) = line.command else {
            panic!("`manifest check` is a command");
        };
        assert_eq!(passed, words);
    }
}
