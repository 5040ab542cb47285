//! Runs the program itself as people do: with a wrong command line, from elsewhere, into a pipe.

use std::io::pipe;
use std::process::{Command, Output};

fn xtask(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(words);
    command
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

#[test]
fn a_wrong_command_line_has_status_2_and_help_has_0() {
    assert_eq!(output(&mut xtask(&["runn"])).status.code(), Some(2));
    let help = output(&mut xtask(&["run", "--help"]));
    assert_eq!(help.status.code(), Some(0));
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(text.contains("--partitions"), "{text}");
}

#[test]
fn a_reader_that_goes_away_ends_it_in_silence() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let ended = output(xtask(&["completions", "bash"]).stdout(writer));
    assert_eq!(ended.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn outside_of_any_tree_it_says_so() {
    let mut stray = xtask(&["conformance", "--check"]);
    stray.env_remove("CARGO_MANIFEST_DIR").current_dir("/");
    let ended = output(&mut stray);
    assert_eq!(ended.status.code(), Some(1));
    let text = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(text.contains("no folder above"), "{text}");
}
