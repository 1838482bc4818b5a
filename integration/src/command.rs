//! Other programs (`ip`, `nft`, `ethtool`, `curl`): run, checked, with errors that say what was
//! run and what it answered.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

/// Runs a program to its end and returns what it wrote to standard output.
///
/// # Errors
/// When it cannot be started or ends with anything but 0; the text holds its standard error.
pub fn run<S: AsRef<OsStr>>(program: &str, args: &[S]) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = command
        .output()
        .with_context(|| format!("start {program}"))?;
    check(&command, output)
}

/// Runs a program with `input` on its standard input.
///
/// # Errors
/// As [`run`].
pub fn run_with_input<S: AsRef<OsStr>>(program: &str, args: &[S], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut stdin = child
        .stdin
        .take()
        .context("a piped child has a standard input")?;
    // A program that ends before it has read everything says why on its standard error.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child
        .wait_with_output()
        .with_context(|| format!("wait for {program}"))?;
    let text = check(&command, output).with_context(|| format!("with the input:\n{input}"))?;
    written.with_context(|| format!("write to {program}"))?;
    Ok(text)
}

/// Runs one `ip` command per line of `batch`, inside a namespace where one is given.
///
/// # Errors
/// As [`run`]; the first line that fails ends the batch.
pub fn ip_batch(namespace: Option<&str>, batch: &str) -> Result<String> {
    match namespace {
        Some(name) => run_with_input("ip", &["-n", name, "-batch", "-"], batch),
        None => run_with_input("ip", &["-batch", "-"], batch),
    }
}

/// Runs a program inside a network namespace.
///
/// # Errors
/// As [`run`].
pub fn run_inside<S: AsRef<OsStr>>(namespace: &str, program: &str, args: &[S]) -> Result<String> {
    let net = format!("--net={}", crate::netns::path(namespace).display());
    let mut all: Vec<&OsStr> = vec![OsStr::new(&net), OsStr::new("--"), OsStr::new(program)];
    all.extend(args.iter().map(AsRef::as_ref));
    run("nsenter", &all)
}

fn check(command: &Command, output: Output) -> Result<String> {
    if !output.status.success() {
        bail!(
            "{} ended with {}: {}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("{}: not text", shown(command)))
}

fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|arg| arg.to_string_lossy().into_owned()),
    );
    words.join(" ")
}
