//! The kernel programs outside of any network: one packet in, one verdict and packet out, by the
//! kernel's `BPF_PROG_TEST_RUN`.
//!
//! A redirect's target and the tunnel's metadata stay inside the kernel: a test run shows that a
//! packet is sent on and what it looks like, the lab shows where it goes.

mod tables;
mod wrapping;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};

pub use tables::{Contents, FlowTable, Tables};

/// Names another object than `target/ebpf/netd.bpf.o`.
const OBJECT_VARIABLE: &str = "NETD_EBPF_OBJECT";

/// Entries of `picks`: enough for tests, little to clear.
pub const PICKS: u32 = 4096;

/// Longest frame that comes out.
const LONGEST: usize = 4096;

/// The programs that can be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// What a task sends.
    FromTask,
    /// What the node's stack sends to a task.
    ToTask,
    /// What other nodes send, its origin given by [`Packet::origin`].
    FromOverlay,
    /// What arrives from outside.
    FromUplink,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::FromTask,
        Self::ToTask,
        Self::FromOverlay,
        Self::FromUplink,
    ];

    /// Its name in the object.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromTask => "from_task",
            Self::ToTask => "to_task",
            Self::FromOverlay => "from_overlay_test",
            Self::FromUplink => "from_uplink",
        }
    }
}

/// One frame and what the kernel knows about it besides its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The frame from its Ethernet header on, 14 to 3,000 bytes.
    pub frame: Vec<u8>,
    /// The interface that it is on; must exist in the caller's namespace. 0 is the loopback.
    pub ifindex: u32,
    /// The packet mark.
    pub mark: u32,
    /// Payload bytes of each segment of a packet that is yet to be cut; else 0.
    pub gso_size: u32,
    /// For [`Program::FromOverlay`]: the network, and the number of the sending node.
    pub origin: [u32; 2],
    /// For [`Program::FromOverlay`]: whether the kernel counts it as wrapped still, as what the native
    /// carrier has unwrapped after a virtual wire. Says nothing of a packet that is yet to be cut.
    pub is_marked: bool,
}

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// The action that it returned, see [`action`].
    pub action: i32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// What programs return (`linux/pkt_cls.h`).
pub mod action {
    /// Leave it to others on the hook, and the node's stack.
    pub const PASS: i32 = -1;
    /// Drop it.
    pub const DROP: i32 = 2;
    /// Send it on by a redirect.
    pub const REDIRECT: i32 = 7;
}

/// Freshly loaded programs with maps of their own.
#[derive(Debug)]
pub struct Kernel {
    programs: Ebpf,
    /// Whether it lets programs wrap packets themselves (the native carrier). Linux 6.1 does not, and
    /// netd leaves them to the device there.
    pub wraps: bool,
    /// The maps.
    pub tables: Tables,
}

impl Kernel {
    /// Loads the object that `cargo xtask build` has made.
    ///
    /// # Errors
    /// When there is none, or the kernel refuses it.
    pub fn load() -> Result<Self> {
        let path = object();
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("PICKS", PICKS)
            .load_file(&path)
            .with_context(|| format!("load {}; made by `cargo xtask build`", path.display()))?;
        for program in Program::ALL {
            let name = program.name();
            let found = ebpf.program_mut(name).context(name)?;
            let classifier: &mut SchedClassifier = found.try_into()?;
            classifier.load().with_context(|| format!("load {name}"))?;
        }
        let wraps = wrapping::is_possible(&mut ebpf)?;
        let tables = Tables::take(&mut ebpf)?;
        Ok(Self {
            programs: ebpf,
            wraps,
            tables,
        })
    }

    /// Runs a program on one packet.
    ///
    /// # Errors
    /// When the kernel refuses the packet: too short, or on an interface that does not exist.
    pub fn run(&self, program: Program, packet: &Packet) -> Result<Ran> {
        let name = program.name();
        let found = self.programs.program(name).context(name)?;
        let classifier: &SchedClassifier = found.try_into()?;
        let mut frame = vec![0; LONGEST];
        let context = context(packet);
        let options = TestRunOptions {
            data_in: Some(&packet.frame),
            data_out: Some(&mut frame),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = classifier
            .test_run(options)
            .with_context(|| format!("run {name} on {packet:?}"))?;
        frame.truncate(usize::try_from(result.data_size_out)?);
        Ok(Ran {
            action: result.return_value.cast_signed(),
            frame,
        })
    }

    /// How long a program takes for one packet, with what the kernel needs to measure it.
    ///
    /// # Errors
    /// As [`Kernel::run`].
    pub fn time(&self, program: Program, packet: &Packet) -> Result<Duration> {
        let name = program.name();
        let found = self.programs.program(name).context(name)?;
        let classifier: &SchedClassifier = found.try_into()?;
        let options = TestRunOptions {
            data_in: Some(&packet.frame),
            ctx_in: Some(&context(packet)),
            ..TestRunOptions::new()
        };
        let result = classifier
            .test_run(options)
            .with_context(|| format!("time {name} on {packet:?}"))?;
        Ok(result.duration)
    }
}

/// Where the object is that `cargo xtask build` has made.
#[must_use]
pub fn object() -> PathBuf {
    std::env::var_os(OBJECT_VARIABLE).map_or_else(
        || {
            let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
                .unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
            PathBuf::from(manifest).join("../target/ebpf/netd.bpf.o")
        },
        PathBuf::from,
    )
}

/// Those fields of `struct __sk_buff` that a test run takes, at their places.
fn context(packet: &Packet) -> [u8; 180] {
    let mut context = [0; 180];
    let fields = [
        (8, packet.mark),
        (40, packet.ifindex),
        (48, packet.origin[0]),
        (52, packet.origin[1]),
        (56, packet.is_marked.into()),
        (176, packet.gso_size),
    ];
    for (at, value) in fields {
        context[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    context
}
