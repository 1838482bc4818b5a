//! How much work each program is to the verifier, and how long it is: recorded for each kernel, so
//! that growth is a decision.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use aya::programs::{CgroupSock, CgroupSockAddr, Program, SchedClassifier};
use aya::{Ebpf, EbpfLoader};
use integration::{can_make_labs, testrun};
use serde::Deserialize;

/// Set to anything, the test writes the record instead of comparing with it.
const RECORD: &str = "NETD_RECORD_INSTRUCTIONS";
/// How the record is made anew.
const COMMAND: &str = "NETD_RECORD_INSTRUCTIONS=1 cargo xtask test [--vm] instructions";
/// Growth that fails, in per cent.
const MOST: u32 = 10;
/// How many of the verifier's lines are shown of a program that it refuses.
const LAST_LINES: usize = 12;

/// Kernel release without its patch level, such as `6.18`, to program to figures.
type Record = BTreeMap<String, BTreeMap<String, Figures>>;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Figures {
    /// Instructions that the verifier walked through.
    verified: u32,
    /// Instructions of the program as the kernel keeps it.
    size: u32,
}

#[test]
fn instructions_of_programs_have_not_grown() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let kernel = kernel();
    let measured = measure()?;
    let mut record = read()?;
    if std::env::var_os(RECORD).is_some() {
        record.insert(kernel, measured);
        return write(&record);
    }
    let Some(recorded) = record.get(&kernel) else {
        let note = format!("SKIPPED: nothing is recorded for kernel {kernel}; `{COMMAND}` does");
        std::io::Write::write_all(&mut std::io::stderr(), note.as_bytes())?;
        return Ok(());
    };
    let mut grown: Vec<String> = Vec::new();
    for (name, now) in &measured {
        let Some(then) = recorded.get(name) else {
            grown.push(format!("{name} is new"));
            continue;
        };
        for (what, now, then) in [
            ("instructions verified", now.verified, then.verified),
            ("instructions", now.size, then.size),
        ] {
            if u64::from(now) * 100 > u64::from(then) * u64::from(100 + MOST) {
                grown.push(format!("{name}: {then} {what} have become {now}"));
            }
        }
    }
    if grown.is_empty() {
        return Ok(());
    }
    bail!(
        "on kernel {kernel}: {}; if that is meant, record it with `{COMMAND}`",
        grown.join("; ")
    );
}

/// Loads every program of the object.
fn measure() -> Result<BTreeMap<String, Figures>> {
    let bytes = fs::read(testrun::object()).context("read the object")?;
    let mut ebpf: Ebpf = EbpfLoader::new().load(&bytes).context("load the object")?;
    let mut all = BTreeMap::new();
    let mut refused = Vec::new();
    for (name, program) in ebpf.programs_mut() {
        let name = name.to_owned();
        if let Err(error) = load(program) {
            refused.push(format!("{name}: {}", end(&format!("{error:#}"))));
            continue;
        }
        let info = program.info()?;
        let verified = info.verified_instruction_count();
        let size = info.size_translated();
        let figures = Figures {
            verified: verified.context("the kernel does not tell: it is older than 5.16")?,
            size: size.context("the kernel does not tell a program's size")? / 8,
        };
        all.insert(name, figures);
    }
    if !refused.is_empty() {
        bail!("kernel {} refuses {}", kernel(), refused.join("\n"));
    }
    Ok(all)
}

/// What the verifier says last says why; before that, it tells its whole walk.
fn end(error: &str) -> String {
    let lines: Vec<&str> = error.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

fn load(program: &mut Program) -> Result<()> {
    if let Ok(program) = <&mut SchedClassifier>::try_from(&mut *program) {
        return Ok(program.load()?);
    }
    if let Ok(program) = <&mut CgroupSockAddr>::try_from(&mut *program) {
        return Ok(program.load()?);
    }
    let program: &mut CgroupSock = program.try_into()?;
    Ok(program.load()?)
}

fn kernel() -> String {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../ebpf/instructions.toml")
}

fn read() -> Result<Record> {
    match fs::read_to_string(file()) {
        Ok(text) => toml::from_str(&text).context("read ebpf/instructions.toml"),
        Err(_) => Ok(Record::new()),
    }
}

fn write(record: &Record) -> Result<()> {
    let mut text = format!(
        "# Instructions that the verifier walks through, and of the program itself, by kernel.\n\
         # Growth by more than {MOST} % fails; made by `{COMMAND}`.\n"
    );
    for (kernel, programs) in record {
        write!(text, "\n[\"{kernel}\"]\n")?;
        for (name, Figures { verified, size }) in programs {
            writeln!(text, "{name} = {{ verified = {verified}, size = {size} }}")?;
        }
    }
    fs::write(file(), text).context("write ebpf/instructions.toml")
}
