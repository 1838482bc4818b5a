//! Running other programs, and saying what happens. Words go to standard error: standard output
//! belongs to the results that scripts read.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStderr, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// Where programs are that a minimal `PATH` leaves out.
const SYSTEM_DIRECTORIES: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Variables that `cargo run` sets for this process alone. Handed on, they would make a nested
/// cargo take everything for changed, or load the wrong toolchain's libraries.
const FROM_CARGO_RUN: &[&str] = &["CARGO", "LD_LIBRARY_PATH", "RUST_RECURSION_COUNT"];

/// Says one line to the user. Nobody listening is no reason to stop.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

/// Prints one line of results. Nobody reading is no reason to stop.
pub(crate) fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// `program`, found on the extended `PATH`, without what cargo told this process, and without
/// standard input.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env("PATH", search_path()).stdin(Stdio::null());
    for (name, _) in env::vars_os() {
        let known = name.to_string_lossy();
        if FROM_CARGO_RUN.contains(&known.as_ref())
            || known.starts_with("CARGO_PKG_")
            || known.starts_with("CARGO_MANIFEST_")
        {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo`, of the toolchain that runs this program, with its output inside `root`.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut cargo = command("cargo");
    cargo
        .current_dir(root)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET_DIR");
    cargo
}

/// Runs to the end; what it prints goes to standard error.
///
/// # Errors
/// When it cannot be started or ends with anything but success.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let what = describe(command);
    command.stdout(std::io::stderr());
    let status = command
        .status()
        .with_context(|| format!("start `{what}`"))?;
    if !status.success() {
        bail!("`{what}` ended with {status}");
    }
    Ok(())
}

/// Runs cargo to the end, leaves out its line about having finished, so that nothing is said when
/// there was nothing to do, and returns its standard output.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_cargo(command: &mut Command) -> Result<String> {
    let what = describe(command);
    if std::io::stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("start `{what}`"))?;
    let said = child
        .stderr
        .take()
        .map(|stderr| thread::spawn(move || say_progress(stderr)));
    let mut printed = String::new();
    if let Some(mut stdout) = child.stdout.take() {
        stdout
            .read_to_string(&mut printed)
            .with_context(|| format!("read from `{what}`"))?;
    }
    let status = child.wait().with_context(|| format!("wait for `{what}`"))?;
    if let Some(said) = said {
        drop(said.join());
    }
    if !status.success() {
        bail!("`{what}` ended with {status}");
    }
    Ok(printed)
}

fn say_progress(stderr: ChildStderr) {
    for line in BufReader::new(stderr).lines().map_while(Result::ok) {
        if !line.contains("Finished") || !line.contains("` profile [") {
            say(&line);
        }
    }
}

/// Runs to the end and returns its standard output.
///
/// # Errors
/// When it cannot be started, ends with anything but success (its standard error is in the
/// message), or prints what is not text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let what = describe(command);
    let output = command
        .output()
        .with_context(|| format!("start `{what}`"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{what}` ended with {}: {}", output.status, said.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("read from `{what}`"))
}

/// The path of `program` on the extended `PATH`.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    find_on(&search_path(), program)
}

fn find_on(path: &OsString, program: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|directory| directory.join(program))
        .find(|file| file.is_file())
}

/// `PATH`, then cargo's own programs and the system's, as far as they are missing.
fn search_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<PathBuf> = env::split_paths(&path).collect();
    let installed = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")))
        .map(|home| home.join("bin"));
    for extra in installed
        .into_iter()
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
    {
        if !directories.contains(&extra) {
            directories.push(extra);
        }
    }
    env::join_paths(directories).unwrap_or(path)
}

fn describe(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(
        command
            .get_args()
            .map(|word| word.to_string_lossy().into_owned()),
    );
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_only_in_the_listed_directories() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("tool"), "").unwrap();
        let path = directory.path().as_os_str().to_owned();
        assert_eq!(find_on(&path, "tool"), Some(directory.path().join("tool")));
        assert_eq!(find_on(&path, "other"), None);
    }

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(command("sh").args(["-c", "echo broken >&2; exit 3"])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("exit 3") && text.contains("broken"), "{text}");
    }
}
