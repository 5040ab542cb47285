//! The end of this program, in whatever way: no QEMU is left behind, and a reader that goes away is
//! no error of the program.
//!
//! No handler of signals is needed. The kernel ends the children when this program ends, even if
//! SIGKILL ends it; other signals keep their usual effects and statuses.

use std::ffi::OsStr;
use std::panic;
use std::process::{Command, exit};

/// The program of util-linux that tells the kernel to end a process together with its parent.
pub const SETPRIV: &str = "setpriv";

/// The exit status of a program that SIGPIPE ended, as shells tell it.
const NOBODY_READS: i32 = 128 + 13;

/// Returns a command for `program` that the kernel kills when the thread that started it ends.
pub fn dies_with_its_starter(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Makes this program end in silence when it prints and nobody reads any more. Rust ignores
/// SIGPIPE, so `println!` would panic.
pub fn end_when_nobody_reads() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let message = info.payload_as_str().unwrap_or_default();
        if message.starts_with("failed printing to std") && message.contains("Broken pipe") {
            exit(NOBODY_READS);
        }
        usual(info);
    }));
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::Stdio;
    use std::thread;

    use super::*;

    #[test]
    fn a_program_ends_with_the_thread_that_started_it() {
        let starter = || {
            let mut shell = dies_with_its_starter("sh");
            shell.args(["-c", "echo ready; exec sleep 60"]);
            let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            let mut output = BufReader::new(child.stdout.take().unwrap());
            output.read_line(&mut line).unwrap();
            child
        };
        let mut child = thread::spawn(starter).join().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "{status}");
    }
}
