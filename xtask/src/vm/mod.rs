//! The tests on the oldest kernel, in a virtual machine that is emulated (no KVM): do its verifier and
//! its interfaces take what netd does, and do packets go where they should.

mod archive;
mod image;
mod kernel;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::binaries::{DIRECTORY_VARIABLE, Profile};
use crate::object;
use crate::process::{command, print, say};
use crate::setup;
use crate::testing::suite::{self, Suite};
use crate::testing::{Limits, Output, Tally, finish, program};
use crate::workspace::Workspace;

use image::Image;
use kernel::Kernel;

/// How long the machine may run: an idle host of two cores needs a third of it, most of it for the
/// verifier, each time that a netd starts.
const LIMIT: Duration = Duration::from_secs(90 * 60);
const MEMORY: &str = "4096";
const PROCESSORS: &str = "2";

/// What the kernel is told. Instructions that repeat themselves are emulated byte by byte: without them
/// it loads programs twice as fast. The emulator's time stamp counter is one for all processors.
const COMMAND_LINE: &str = "console=ttyS0 quiet loglevel=4 panic=0 mitigations=off init_on_alloc=0 \
     clearcpuid=erms,fsrm,rep_good tsc=reliable clocksource=tsc";

/// Tells tests that waiting takes that many times as long here.
const SLOWNESS_VARIABLE: &str = "NETD_TEST_SLOWNESS";
const SLOWNESS: &str = "30";
/// Random packets for each program.
const PACKETS_VARIABLE: &str = "NETD_TEST_PACKETS";
const PACKETS: &str = "400";
/// Has the figures of the programs written instead of compared.
const RECORD_VARIABLE: &str = "NETD_RECORD_INSTRUCTIONS";
const RECORD: &str = "ebpf/instructions.toml";

/// What runs there: package, test program, and which of its tests.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    ("netd-integration", "instructions", &[]),
    ("netd-dataplane", "dataplane", &["classic", "traffic_flows"]),
    // The kernel has no native carrier: what would be reached by it is reached by the device here.
    (
        "netd-integration",
        "reachability",
        &["underlay", "without_socket_hooks", "--skip", "native"],
    ),
    // What says how programs are attached is left out: here it is by the classic tc anyway.
    ("netd-integration", "restart", &["--skip", "classic"]),
    ("netd-integration", "upgrade", &["--skip", "classic"]),
    ("netd-integration", "programs", &["anything"]),
];

/// Runs those of the tests whose program's name contains `filter`, and prints `N passed, M failed`.
///
/// # Errors
/// When something is missing and cannot be installed, or does not build.
pub(crate) fn execute(workspace: &Workspace, filter: Option<&str>) -> Result<ExitCode> {
    let toolchain = setup::everything()?;
    setup::virtual_machine()?;
    object::ensure(workspace, &toolchain)?;
    let kernel = Kernel::ensure(workspace)?;
    let suites = suite::build(
        workspace,
        &["--workspace", "--exclude", "xtask", "--bins", "--tests"],
    )?;
    let machine = Machine::new(workspace, &kernel)?;
    let result = machine.run(&suites, filter.unwrap_or_default());
    machine.remove();
    result
}

/// A machine that is there for one run.
struct Machine<'a> {
    workspace: &'a Workspace,
    kernel: &'a Kernel,
    /// What is only needed meanwhile.
    directory: PathBuf,
}

impl<'a> Machine<'a> {
    fn new(workspace: &'a Workspace, kernel: &'a Kernel) -> Result<Self> {
        let directory = workspace.target().join("vm/run");
        fs::create_dir_all(&directory).context("make a directory for the virtual machine")?;
        Ok(Self {
            workspace,
            kernel,
            directory,
        })
    }

    fn remove(&self) {
        drop(fs::remove_dir_all(&self.directory));
    }

    fn run(&self, suites: &[Suite], filter: &str) -> Result<ExitCode> {
        let image = self.directory.join("image");
        if !self.fill(suites, filter)?.write(&image)? {
            say("no test matches");
            return Ok(finish(Tally::default()));
        }
        say(&format!("vm: starting Linux {}", self.kernel.release));
        let limits = Limits {
            time: LIMIT,
            output: Output::Live,
        };
        let outcome = program::run(&mut self.command(&image), "the virtual machine", &limits)?;
        for failure in &outcome.failures {
            print(&format!("FAILED {failure}"));
        }
        let mut tally = outcome.tally;
        // Ended from outside, by the limit of its time, the emulator calls itself successful.
        let record = fs::read_to_string(self.record()).unwrap_or_default();
        if record.is_empty() {
            tally.failed += 1;
            print("FAILED the virtual machine: it did not come to the end of its script");
        }
        if tally.failed > 0 {
            let console = fs::read_to_string(self.console()).unwrap_or_default();
            say(&format!("vm: its kernel said:\n{console}"));
        } else if tally.passed > 0 && env::var_os(RECORD_VARIABLE).is_some() {
            let to = self.workspace.root().join(RECORD);
            fs::write(to, record).context("take the record")?;
        }
        print(&format!("took {:.0} s", outcome.took.as_secs_f64()));
        Ok(finish(tally))
    }

    /// Everything that is to be inside.
    fn fill(&self, suites: &[Suite], filter: &str) -> Result<Filled> {
        let root = self.workspace.root();
        let bin = Profile::Dev.directory(self.workspace);
        let mut image = Image::new(self.kernel)?;
        let mut script = String::new();
        let record = root.join(RECORD);
        for (name, value) in [
            (DIRECTORY_VARIABLE, bin.display().to_string()),
            (SLOWNESS_VARIABLE, SLOWNESS.to_owned()),
            (PACKETS_VARIABLE, PACKETS.to_owned()),
            ("RUST_LIB_BACKTRACE", "0".to_owned()),
            ("RECORD", record.display().to_string()),
        ] {
            script.push_str(&format!("export {name}={value}\n"));
        }
        if env::var_os(RECORD_VARIABLE).is_some() {
            script.push_str(&format!("export {RECORD_VARIABLE}=1\n"));
        }
        image.file(&record);
        let object = object::path(self.workspace);
        image.file(&object.with_file_name("fault.bpf.o"));
        image.file(&object);
        for name in ["netd", "netctl", "netd-lab"] {
            image.program(&bin.join(name), &self.directory.join(name))?;
        }
        let mut count = 0;
        for (package, target, arguments) in PROGRAMS {
            let suite = suites.iter().find(|it| it.is(package, target));
            let suite = suite.with_context(|| format!("{package} has no tests {target}"))?;
            if !suite.label().contains(filter) {
                continue;
            }
            let Some(path) = suite.executable() else {
                bail!("{package} {target} is no program");
            };
            image.program(path, &self.directory.join(target))?;
            image.directory(suite.directory());
            script.push_str(&call(suite, path, arguments));
            count += 1;
        }
        image.text("/vm/run", script);
        Ok(Filled { image, count })
    }

    fn command(&self, image: &Path) -> Command {
        let file = |path: &Path| format!("file:{}", path.display());
        let mut qemu = command("qemu-system-x86_64");
        qemu.args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
        ])
        .args(["-smp", PROCESSORS, "-m", MEMORY])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none"])
        .arg("-kernel")
        .arg(self.kernel.image())
        .arg("-initrd")
        .arg(image)
        .args(["-append", COMMAND_LINE])
        .args(["-serial", &file(&self.console()), "-serial", "stdio"])
        .args(["-serial", &file(&self.record())]);
        qemu
    }

    fn console(&self) -> PathBuf {
        self.directory.join("console")
    }

    fn record(&self) -> PathBuf {
        self.directory.join("record")
    }
}

/// An image, and how many test programs are called in it.
struct Filled {
    image: Image,
    count: usize,
}

impl Filled {
    /// Writes the image; `false` when it would do nothing.
    fn write(&self, to: &Path) -> Result<bool> {
        if self.count > 0 {
            self.image.write(to)?;
        }
        Ok(self.count > 0)
    }
}

/// A line of the script. What is emulated gains nothing by two tests at a time, and loses time to both.
fn call(suite: &Suite, path: &Path, arguments: &[&str]) -> String {
    let directory = suite.directory().display();
    format!(
        "program '{}' '{directory}' '{}' --test-threads=1 {}\n",
        suite.label(),
        path.display(),
        arguments.join(" "),
    )
}
