//! Running other programs, with complete reports of failures, and long steps shown with their time.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Set if the user wants to see everything.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Makes this program show all that it does.
pub fn be_verbose() {
    VERBOSE.store(true, Ordering::Relaxed);
}

/// Returns whether this program shows all that it does.
pub fn is_verbose() -> bool {
    VERBOSE.load(Ordering::Relaxed)
}

/// Prints a detail, if the user wants to see everything.
pub fn detail(text: impl Display) {
    if is_verbose() {
        eprintln!("    {text}");
    }
}

/// Many steps of one kind, and how far they are.
pub struct Progress {
    total: usize,
    /// The steps that are done, and when that was last shown.
    state: Mutex<(usize, Instant)>,
}

impl Progress {
    /// The time between two lines that tell how far the steps are, if no terminal shows it.
    const PACE: Duration = Duration::from_secs(60);

    /// Begins steps.
    pub fn of(total: usize) -> Self {
        Self {
            total,
            state: Mutex::new((0, Instant::now())),
        }
    }

    /// Notes that a step is done: shows that at once on a terminal, otherwise from time to time.
    pub fn advance(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, shown) = &mut *state;
        *done += 1;
        if std::io::stderr().is_terminal() {
            eprint!("\r    {done} of {}\x1b[K", self.total);
        } else if shown.elapsed() >= Self::PACE {
            eprintln!("    {done} of {}", self.total);
            *shown = Instant::now();
        }
    }

    /// Removes the line from the terminal.
    pub fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

/// Runs a long step and prints how long it took.
pub fn step<T>(what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("==> {what}");
    let start = Instant::now();
    let value = work()?;
    eprintln!("    done in {:.1} s", start.elapsed().as_secs_f32());
    Ok(value)
}

/// Runs a command with its output on the console.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", name(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns its output. On failure the output is the error.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", name(command)))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}\n{}{}",
            line(command),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Passes `input` to a command and waits for its end. On failure its standard error is the error.
pub fn feed(command: &mut Command, input: &[u8]) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {}", name(command)))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}

/// Runs a command with its output in a log file. On failure the end of the log is the error.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let file =
        std::fs::File::create(log).with_context(|| format!("cannot create {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("cannot start {}", name(command)))?;
    if !status.success() {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(25)..].join("\n");
        bail!(
            "{} failed: {status}\n{tail}\n(whole log: {})",
            name(command),
            log.display()
        );
    }
    Ok(())
}

/// Returns the path of a program, if it is installed.
pub fn which(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
