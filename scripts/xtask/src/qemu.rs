//! A boot on QEMU: a board with S-EL2, whose two UARTs are read line by line.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::board::{Board, PATTERN_LENGTH, QEMU_VIRT};
use crate::consoles::{Boot, Console, Line};
use crate::image::{ImageOptions, bl33_of, elf_of, folder, image};
use crate::layout::{Layout, Package};
use crate::patience::{GivenUp, Patience, Watch};
use crate::process::{output, run as run_command, step};
use crate::selection::Selection;
use crate::setup::QEMU;
use crate::symbols::{self, Program, Symbols};
use crate::trace;
use crate::view::{Screen, View};
use crate::workspace::target;

/// The options of a boot.
#[derive(Clone)]
pub struct Machine {
    /// The board that QEMU emulates.
    pub board: &'static Board,
    /// Number of PEs.
    pub smp: u32,
    /// MiB of RAM.
    pub memory: u64,
    /// Waits for a debugger on port 1234.
    pub gdb: bool,
    /// The time after which the boot is given up. Ignored with a debugger.
    pub patience: Patience,
    /// The tests that the test OS runs.
    pub selection: Selection,
    /// Two parameters of these tests: the seed of random choices, and the number of calls.
    pub parameters: [u64; 2],
    /// Which of them are wanted, and what for.
    pub purpose: Purpose,
    /// A file with the whole flash from which the machine boots, and which keeps what is written to
    /// it. Without one the flash is a ROM.
    pub boot_flash: Option<PathBuf>,
    /// More arguments for QEMU.
    pub arguments: Vec<String>,
    /// The lines that are shown while the boot runs.
    pub view: View,
    /// A text on a console with which the boot ends, because nothing comes after it.
    pub until: Option<&'static str>,
    /// Texts of warnings of the SPMC that the scenario demands.
    pub expected: Vec<String>,
    /// The programs in which addresses on the consoles are looked up.
    pub programs: Vec<Program>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            board: &QEMU_VIRT,
            smp: 4,
            memory: 2048,
            gdb: false,
            patience: Patience::USUAL,
            selection: Selection::All,
            parameters: [0; 2],
            purpose: Purpose::Tests(String::new()),
            boot_flash: None,
            arguments: Vec::new(),
            view: View::Nothing,
            until: None,
            expected: Vec::new(),
            programs: Vec::new(),
        }
    }
}

/// The use that the test OS makes of the tests of its selection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// It runs those whose names contain this text.
    Tests(String),
    /// It lists all of them.
    List,
}

impl Purpose {
    /// Returns the words in memory that say so: whether to list, then the text.
    fn words(&self) -> Vec<u64> {
        match self {
            Self::List => vec![1],
            Self::Tests(pattern) => {
                let mut bytes = pattern.as_bytes().to_vec();
                bytes.resize(PATTERN_LENGTH, 0);
                let text = bytes.as_chunks().0.iter().copied().map(u64::from_le_bytes);
                [0].into_iter().chain(text).collect()
            }
        }
    }
}

/// Parses a text in the names of tests.
pub fn pattern(text: &str) -> Result<String> {
    ensure!(
        text.len() <= PATTERN_LENGTH,
        "no more than {PATTERN_LENGTH} bytes"
    );
    Ok(text.to_string())
}

/// The program that runs in the Normal world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NormalWorld {
    /// The test OS, with the tests for the layout or with this selection of what it can do.
    TestOs(Option<Selection>),
    /// A raw image.
    File(PathBuf),
}

impl NormalWorld {
    /// Parses a word of the command line.
    pub fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "tests" => Self::TestOs(None),
            "ping" => Self::TestOs(Some(Selection::Ping)),
            "idle" => Self::TestOs(Some(Selection::Idle)),
            file if Path::new(file).is_file() => Self::File(file.into()),
            file => bail!("neither `tests`, `ping` or `idle`, nor a file: {file}"),
        })
    }
}

/// Runs `cargo xtask run`.
pub fn run(
    options: &ImageOptions,
    mut machine: Machine,
    normal_world: Option<NormalWorld>,
    trace: &trace::Options,
) -> Result<ExitCode> {
    let mut options = options.clone();
    if let Some(NormalWorld::File(file)) = &normal_world {
        options.bl33 = Some(file.clone());
    }
    let (layout, flash) = image(&options)?;
    machine.apply(&layout);
    let normal_world = normal_world.unwrap_or_else(|| {
        let is_strange = !layout.is_of(machine.board) && layout.scenario.tests.is_none();
        NormalWorld::TestOs(is_strange.then_some(Selection::Ping))
    });
    if let NormalWorld::TestOs(Some(selection)) = normal_world {
        machine.selection = selection;
    }
    if machine.gdb {
        let script = debugger_script(machine.board, &layout)?;
        eprintln!(
            "QEMU waits for a debugger:\n  gdb-multiarch -x '{}'",
            script.display()
        );
    }
    let is_test = normal_world == NormalWorld::TestOs(None);
    machine.view = match &machine.purpose {
        Purpose::List => View::Nothing,
        Purpose::Tests(_) if is_test => View::Tests.or_everything(),
        Purpose::Tests(_) => View::Consoles.or_everything(),
    };
    let recording = trace.record(&mut machine, &flash, None)?;
    let boot = step(&format!("booting on QEMU, {} PEs", machine.smp), || {
        machine.boot(&flash, "run")
    })?;
    if machine.view == View::Tests {
        println!("    everything on the consoles: {}", boot.path.display());
    }
    if let Some(recording) = recording {
        recording.show()?;
    }
    if machine.purpose == Purpose::List {
        boot.ended()?;
        for line in &boot.log {
            if let Some(test) = line.text.strip_prefix("LIST ") {
                println!("{test}");
            }
        }
    } else if matches!(normal_world, NormalWorld::File(_)) || machine.selection == Selection::Idle {
        boot.ended()?;
        println!("The board was turned off.");
    } else {
        let verdict = boot.check();
        // Tests that failed have been shown.
        if verdict.is_err() && machine.view == View::Tests && !boot.is_done() {
            boot.print(&machine.programs);
        }
        verdict?;
        println!("Everything passed.");
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes commands for gdb that load the symbols of the SPMC, and of each partition with a program
/// `X.elf` beside its image `X.bin`, and connect to QEMU. Returns the path of the file.
fn debugger_script(board: &Board, layout: &Layout) -> Result<PathBuf> {
    let images = layout.partitions.iter().filter_map(|partition| {
        let Package::Parts { image, .. } = &partition.package else {
            return None;
        };
        Some(image.with_extension("elf")).filter(|elf| elf.is_file())
    });
    let spmc = elf_of(&folder(board, layout));
    let mut commands = format!("set confirm off\nfile '{}'\n", spmc.display());
    for elf in images {
        commands += &format!("add-symbol-file '{}'\n", elf.display());
    }
    commands += "target remote :1234\n";
    let path = target().join("gdb.txt");
    fs::write(&path, commands)?;
    Ok(path)
}

impl Machine {
    /// Takes over the programs of a layout whose flash image is built, and the options that its
    /// scenario states.
    pub fn apply(&mut self, layout: &Layout) {
        let scenario = &layout.scenario;
        self.programs = symbols::programs(elf_of(&folder(self.board, layout)), layout);
        self.selection = scenario.tests.unwrap_or(self.selection);
        self.memory = scenario.memory.unwrap_or(self.memory);
        self.expected.clone_from(&scenario.expect);
        if let ([0, _], Some(seed)) = (self.parameters, scenario.seeds.first()) {
            self.parameters[0] = *seed;
        }
    }

    /// Makes QEMU put a file into memory before the machine starts.
    pub fn load(&mut self, file: &Path, address: u64) {
        self.arguments
            .extend(["-device".into(), loader(file, address)]);
    }

    /// Boots a flash image and waits for the end of the boot. The consoles are written to
    /// `target/logs/NAME.log` while the boot runs.
    pub fn boot(&self, flash: &Path, name: &str) -> Result<Boot> {
        let dir = target().join("logs");
        fs::create_dir_all(&dir)?;
        let path = dir.join(format!("{name}.log"));
        let mut file = fs::File::create(&path)?;

        let mut child = self
            .command(flash)
            .spawn()
            .with_context(|| format!("cannot start {QEMU}"))?;
        let start = Instant::now();
        let (lines, received) = mpsc::channel();
        let readers = [
            read(Console::Uart0, child.stdout.take(), lines.clone()),
            read(Console::Uart1, child.stderr.take(), lines),
        ];
        let mut boot = Boot {
            path,
            ..Boot::default()
        };
        let ended = self.follow(&mut boot, child.id(), &received, &mut file);
        // QEMU must not outlive this function.
        let status = finish(child, matches!(ended, Ok(None)))?;
        boot.time = start.elapsed();
        for reader in readers.into_iter().flatten() {
            let _ = reader.join();
        }
        let given_up = ended.with_context(|| format!("cannot write {}", boot.path.display()))?;
        boot.end = Some(given_up.map_or(Ok(status), Err));
        for event in received.try_iter() {
            if let Event::Line(line) = event {
                boot.keep(line, &mut file)?;
            }
        }
        Ok(boot)
    }

    /// Collects the output of QEMU, which is the process `id`, until QEMU ends. Returns the reason
    /// if the boot is given up before.
    fn follow(
        &self,
        boot: &mut Boot,
        id: u32,
        events: &Receiver<Event>,
        file: &mut fs::File,
    ) -> Result<Option<GivenUp>> {
        let mut watch = Watch::new(self.patience, Instant::now());
        let symbols = Symbols::of(&self.programs);
        let mut screen = Screen::new(self.view, &self.expected, symbols);
        loop {
            let event = if self.gdb {
                events.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                match watch.left(Instant::now()) {
                    Ok(time) => events.recv_timeout(time),
                    Err(why) => {
                        screen.clear();
                        return Ok(Some(why));
                    }
                }
            };
            match event {
                Ok(Event::Bytes(when)) => {
                    watch.hear(when);
                    boot.silence = watch.longest_silence();
                }
                Ok(Event::Line(line)) => {
                    screen.add(&line);
                    boot.memory = boot.memory.max(peak_memory(id));
                    let is_last = self.until.is_some_and(|text| line.text.contains(text));
                    boot.keep(line, file)?;
                    if is_last {
                        return Ok(Some(GivenUp::Told));
                    }
                }
                // The next turn asks the watch whether to give up.
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    screen.clear();
                    return Ok(None);
                }
            }
        }
    }

    /// Boots a flash image with UART0 on this terminal, until QEMU ends. UART1 goes to a file.
    pub fn attach(&self, flash: &Path, uart1: &Path) -> Result<()> {
        run_command(
            self.booted(flash)
                .args(["-serial", "mon:stdio", "-serial"])
                .arg(format!("file:{}", uart1.display())),
        )
    }

    /// Writes the device tree that QEMU generates for this machine.
    pub fn device_tree(&self, to: &Path) -> Result<()> {
        let dump = format!("dumpdtb={}", to.display());
        output(self.machine().args(["-M", &dump]))?;
        Ok(())
    }

    fn command(&self, flash: &Path) -> Command {
        let mut command = self.booted(flash);
        command
            .args(["-monitor", "none"])
            .args(["-serial", "file:/dev/stdout"])
            .args(["-serial", "file:/dev/stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if self.gdb {
            command.args(["-s", "-S"]);
        }
        command
    }

    fn machine(&self) -> Command {
        let mut command = self.board.machine();
        command
            .args(["-m", &self.memory.to_string()])
            .args(["-smp", &self.smp.to_string()])
            .args(["-display", "none", "-net", "none"]);
        command
    }

    fn booted(&self, flash: &Path) -> Command {
        let mut command = self.machine();
        match &self.boot_flash {
            None => command.arg("-bios").arg(flash),
            Some(file) => command.arg("-drive").arg(format!(
                "if=pflash,unit=0,format=raw,file={}",
                file.display()
            )),
        };
        command.args(&self.arguments);
        let mut words = vec![self.selection.number()];
        words.extend(self.parameters);
        words.extend(self.purpose.words());
        for (word, address) in words
            .iter()
            .zip((self.board.selection_address..).step_by(8))
        {
            let loader = format!("loader,addr={address:#x},data={word:#x},data-len=8");
            command.args(["-device", &loader]);
        }
        if let (Some(address), Some(dir)) = (self.board.preloaded_bl33, flash.parent()) {
            command.args(["-device", &loader(&bl33_of(dir), address)]);
        }
        command
    }
}

/// Returns the argument for a QEMU device that puts a file into memory.
fn loader(file: &Path, address: u64) -> String {
    format!(
        "loader,file={},addr={address:#x},force-raw=on",
        file.display()
    )
}

fn finish(mut child: Child, by_itself: bool) -> Result<ExitStatus> {
    if !by_itself {
        child.kill()?;
    }
    Ok(child.wait()?)
}

/// Returns the most memory that a process has held, in KiB, or 0 if the process has ended.
fn peak_memory(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// An event on a console.
enum Event {
    /// Bytes that arrived at that time, perhaps not a whole line.
    Bytes(Instant),
    /// A whole line.
    Line(Line),
}

/// A pipe that reports each piece that it delivers.
struct Announced<R> {
    pipe: R,
    events: Sender<Event>,
}

impl<R: Read> Read for Announced<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.pipe.read(buffer)?;
        if count > 0 {
            // Fails only if the boot is over and the receiver is gone.
            let _ = self.events.send(Event::Bytes(Instant::now()));
        }
        Ok(count)
    }
}

fn read(
    console: Console,
    pipe: Option<impl Read + Send + 'static>,
    events: Sender<Event>,
) -> Option<std::thread::JoinHandle<()>> {
    let pipe = pipe?;
    Some(std::thread::spawn(move || {
        let mut pipe = BufReader::new(Announced {
            pipe,
            events: events.clone(),
        });
        let mut bytes = Vec::new();
        while matches!(pipe.read_until(b'\n', &mut bytes), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches(['\r', '\n']).to_string();
            bytes.clear();
            let console = if text.starts_with(QEMU) {
                Console::Qemu
            } else {
                console
            };
            if events.send(Event::Line(Line { console, text })).is_err() {
                break;
            }
        }
    }))
}
