//! The process that has the faults in its hands.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::maps::{self, MapData};
use aya::programs::{SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvfrom, sendto, socket,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Counts, counts_file};
use crate::lab::Lab;
use crate::{command, netns};

/// Names another object than `target/ebpf/fault.bpf.o`.
const OBJECT_VARIABLE: &str = "NETD_FAULT_OBJECT";
/// How often counts are written down.
const ROUND: Duration = Duration::from_millis(100);
/// Larger than any frame.
const LARGEST: usize = 65_536;

/// `Rule` of `ebpf/fault`: loss, duplicate, hold, device, and three counts of two words each.
type KernelRule = [u32; 10];
type KernelRules = maps::HashMap<MapData, [u32; 2], KernelRule>;

/// The keeper's life: until it is killed, with which everything that it made goes.
///
/// # Errors
/// When the lab or the kernel does not let it do its work.
pub fn keep(name: &str) -> Result<()> {
    let lab = Lab::open(name)?;
    let mut holds = Holds::new(&lab);
    let mut wanted = Vec::new();
    for to in lab.members() {
        for from in lab.members().iter().filter(|from| **from != to) {
            let Some(fault) = lab.faults()?.rules.find(from, &to) else {
                continue;
            };
            let (chance, time) = fault.hold();
            let device = if chance > 0.0 {
                holds.device(&to, time)?
            } else {
                0
            };
            let [loss, duplicate, hold] = [fault.loss, fault.duplicate, chance].map(of_2_to_32);
            let rule = [loss, duplicate, hold, device, 0, 0, 0, 0, 0, 0];
            wanted.push(([index(from)?, index(&to)?], to.clone(), rule));
        }
    }
    let mut object = load()?;
    let mut rules: KernelRules = object.take_map("RULES").context("RULES")?.try_into()?;
    let ports = object.take_map("PORTS").context("PORTS")?;
    let mut ports: maps::HashMap<MapData, u32, u32> = ports.try_into()?;
    for (key, _, rule) in &wanted {
        rules.insert(key, rule, 0)?;
    }
    for hold in &holds.all {
        ports.insert(hold.device, index(&hold.to)?, 0)?;
        attach(&mut object, "release", &hold.name, TcAttachType::Ingress)?;
    }
    let mut faulty: Vec<&String> = wanted.iter().map(|(_, to, _)| to).collect();
    faulty.sort();
    faulty.dedup();
    for port in faulty {
        attach(&mut object, "fault", port, TcAttachType::Egress)?;
    }
    let counts = || write_counts(name, &rules);
    counts()?;
    let waits = holds.waits();
    netns::inside(&lab.namespace("hold"), || relay(&waits, counts))?
}

/// A chance in 2^32; certainty is the largest number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 1, times the largest number"
)]
fn of_2_to_32(chance: f64) -> u32 {
    (chance.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}

fn index(name: &str) -> Result<u32> {
    if_nametoindex(name).with_context(|| format!("find the device {name}"))
}

fn load() -> Result<Ebpf> {
    let path = std::env::var_os(OBJECT_VARIABLE).map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/ebpf/fault.bpf.o"),
        PathBuf::from,
    );
    let mut object = EbpfLoader::new()
        .load_file(&path)
        .with_context(|| format!("load {}; made by `cargo xtask build`", path.display()))?;
    for name in ["fault", "release"] {
        let program: &mut SchedClassifier =
            object.program_mut(name).context("a program")?.try_into()?;
        program.load().with_context(|| format!("load {name}"))?;
    }
    Ok(object)
}

fn attach(object: &mut Ebpf, program: &str, device: &str, kind: TcAttachType) -> Result<()> {
    let classifier: &mut SchedClassifier = object
        .program_mut(program)
        .context("a program")?
        .try_into()?;
    let attached = classifier.attach(device, kind);
    attached.with_context(|| format!("attach {program} to {device}"))?;
    Ok(())
}

fn write_counts(name: &str, rules: &KernelRules) -> Result<()> {
    let mut counts = Counts::default();
    for rule in rules.iter() {
        let (_, rule) = rule?;
        let count = |at: usize| u64::from(rule[at]) | u64::from(rule[at + 1]) << 32;
        counts.lost += count(4);
        counts.duplicated += count(6);
        counts.held += count(8);
    }
    let path = counts_file(name);
    let draft = path.with_extension("new");
    fs::write(&draft, serde_json::to_vec(&counts)?)
        .with_context(|| format!("write {}", draft.display()))?;
    fs::rename(&draft, &path).with_context(|| format!("replace {}", path.display()))
}

/// A pair of devices by which frames leave the wire for a while, and come back.
struct Hold {
    /// Of the wire's end.
    name: String,
    /// Its number.
    device: u32,
    /// The member that the frames are for.
    to: String,
    milliseconds: u64,
    /// The number of the other end.
    far: i32,
}

/// All such pairs.
struct Holds<'a> {
    lab: &'a Lab,
    all: Vec<Hold>,
}

impl<'a> Holds<'a> {
    const fn new(lab: &'a Lab) -> Self {
        let all = Vec::new();
        Self { lab, all }
    }

    /// The number of the wire's end of a pair, which is made if need be.
    fn device(&mut self, to: &str, milliseconds: u64) -> Result<u32> {
        let same = |hold: &&Hold| hold.to == to && hold.milliseconds == milliseconds;
        if let Some(hold) = self.all.iter().find(same) {
            return Ok(hold.device);
        }
        let number = self.all.len();
        let (wire, hold) = (self.lab.namespace("wire"), self.lab.namespace("hold"));
        let name = format!("hold{number}");
        command::ip_batch(
            Some(&wire),
            &format!("link add {name} mtu 9000 type veth peer name {name} mtu 9000 netns {hold}\n"),
        )?;
        for namespace in [&wire, &hold] {
            // Nothing of its own is to travel on it, and whole packets only.
            let quiet = format!("net/ipv6/conf/{name}/disable_ipv6=1");
            command::run_inside(namespace, "sysctl", &["-qw", &quiet])?;
            let args = [
                "-K", &name, "tx", "off", "sg", "off", "tso", "off", "gso", "off",
            ];
            command::run_inside(namespace, "ethtool", &args)?;
            command::ip_batch(Some(namespace), &format!("link set {name} up\n"))?;
        }
        let far = netns::inside(&hold, || index(&name))??;
        let device = index(&name)?;
        self.all.push(Hold {
            name,
            device,
            to: to.to_owned(),
            milliseconds,
            far: i32::try_from(far).context("a device's number")?,
        });
        Ok(device)
    }

    /// How long frames wait, by the number of the far end.
    fn waits(&self) -> HashMap<i32, Duration> {
        let wait = |hold: &Hold| (hold.far, Duration::from_millis(hold.milliseconds));
        self.all.iter().map(wait).collect()
    }
}

/// Gives every frame back when its time has come.
fn relay(waits: &HashMap<i32, Duration>, counts: impl Fn() -> Result<()>) -> Result<()> {
    // Sockets of one protocol see what arrives; only those of all see what leaves as well.
    let sockets = [SockProtocol::EthIp, SockProtocol::EthIpv6]
        .map(|protocol| {
            let flags = SockFlag::SOCK_NONBLOCK;
            socket(AddressFamily::Packet, SockType::Raw, flags, protocol)
        })
        .into_iter()
        .collect::<Result<Vec<OwnedFd>, _>>()
        .context("open packet sockets")?;
    let mut waiting: BTreeMap<(Instant, u64), (LinkAddr, Vec<u8>)> = BTreeMap::new();
    let mut number = 0;
    let mut written = Instant::now();
    let mut buffer = vec![0; LARGEST];
    loop {
        if written.elapsed() >= ROUND {
            counts()?;
            written = Instant::now();
        }
        let next = waiting.first_key_value().map(|((due, _), _)| *due);
        let now = Instant::now();
        let pause = next.map_or(ROUND, |due| due.saturating_duration_since(now).min(ROUND));
        let mut polled: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|socket| PollFd::new(socket, PollFlags::IN))
            .collect();
        let pause = Timespec::try_from(pause).context("a pause")?;
        poll(&mut polled, Some(&pause)).context("wait for frames")?;
        for socket in &sockets {
            while let Ok((length, Some(from))) =
                recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut buffer)
            {
                let far = i32::try_from(from.ifindex()).unwrap_or_default();
                if let Some(wait) = waits.get(&far) {
                    number += 1;
                    let due = (Instant::now() + *wait, number);
                    waiting.insert(due, (from, buffer[..length].to_vec()));
                }
            }
        }
        let later = waiting.split_off(&(Instant::now(), u64::MAX));
        for (to, frame) in std::mem::replace(&mut waiting, later).into_values() {
            // A full queue loses the frame, as a wire would.
            let _ = sendto(sockets[0].as_raw_fd(), &frame, &to, MsgFlags::empty());
        }
    }
}
