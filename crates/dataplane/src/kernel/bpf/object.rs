//! Loading the kernel programs.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use aya::maps::{MapError, RingBuf};
use aya::programs::{CgroupSock, CgroupSockAddr, ProgramError, SchedClassifier};
use aya::{Ebpf, EbpfError, EbpfLoader, Pod};

use super::attach::{Attach, AttachError, PinnedLink};
use super::cgroup::{self, CgroupError};
use super::native;
use super::pins::{self, PinError, Pins};
use super::sys;
use super::table::{CpuTable, Plain, Table, TableError};
use crate::kernel::probe;
use crate::world::{Program, SocketHook};

/// The object with all programs, built by `cargo xtask build`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETD_EBPF_OBJECT"));

/// The maps that outlive this process, by their names in the object.
const PINNED: [&str; 26] = [
    "ADDRESSES",
    "AFFINITIES",
    "BACKENDS",
    "CONNECTED",
    "CURSORS",
    "DATAGRAMS",
    "DROPS",
    "EMBRYOS",
    "ENDPOINTS",
    "FLOWS",
    "FRAGMENTS",
    "IFACES",
    "LOADS",
    "LOCALITIES",
    "NETNS",
    "NETWORKS",
    "PICKS",
    "PROBE",
    "PUBLISHED",
    "SAMPLES",
    "SERVICES",
    "SETTINGS",
    "SIGHTINGS",
    "UNCONNECTED",
    "VTEPS",
    "VTEP_IDS",
];

/// The program that changes `LOADS`; see [`Maps::correct`].
const CORRECT: &str = "correct";

/// The kernel programs cannot be loaded; programs that run already keep running.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// The object or a map of it is refused.
    #[error("load the kernel programs")]
    Object(#[source] Box<EbpfError>),
    /// The kernel refuses a program.
    #[error("kernel {kernel} refuses the program {name}: {reason}")]
    Refused {
        kernel: String,
        name: &'static str,
        reason: String,
    },
    /// The object lacks something that it should have.
    #[error("the object of the kernel programs has no {0}")]
    Missing(&'static str),
    /// The ring buffer of samples cannot be mapped.
    #[error("map the ring buffer of samples")]
    Samples(#[source] Box<MapError>),
    /// A descriptor cannot be duplicated.
    #[error("keep the kernel program {name}")]
    Descriptor {
        name: &'static str,
        #[source]
        source: io::Error,
    },
    /// Programs are to be attached in a way that the kernel does not have.
    #[error("kernel {kernel} has no tcx links")]
    NoTcx { kernel: String },
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The loaded programs.
#[derive(Debug)]
pub(crate) struct Programs {
    pins: Pins,
    attach: Attach,
    programs: BTreeMap<Program, OwnedFd>,
    sockets: BTreeMap<SocketHook, OwnedFd>,
    /// Every pinned map, kept open so that a pin that somebody removes can be made again.
    maps: Vec<(&'static str, OwnedFd)>,
    native: Result<(), String>,
}

/// Every map.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) settings: Table<u32, abi::Settings>,
    pub(crate) ifaces: Table<u32, abi::Iface>,
    /// Where connected sockets were led; of socket-local storage, which has no keys.
    pub(crate) connected: OwnedFd,
    /// Cookies of connected datagram sockets to their backends.
    pub(crate) datagrams: Table<u64, u32>,
    /// Cookie to namespace.
    pub(crate) netns: Table<u64, abi::Netns>,
    pub(crate) networks: Table<abi::NetId, abi::Network>,
    pub(crate) endpoints: Table<abi::EndpointKey, abi::Endpoint>,
    pub(crate) vteps: Table<u32, abi::Vtep>,
    pub(crate) vtep_ids: Table<abi::Address, u32>,
    pub(crate) addresses: Table<abi::Address, u32>,
    pub(crate) services: Table<abi::ServiceKey, abi::Service>,
    pub(crate) published: Table<abi::PublishedKey, abi::Service>,
    pub(crate) cursors: Table<u32, u32>,
    pub(crate) picks: Table<u32, u32>,
    pub(crate) backends: Table<u32, abi::Backend>,
    pub(crate) loads: Table<u32, abi::Load>,
    pub(crate) flows: Table<abi::FlowKey, abi::Flow>,
    pub(crate) embryos: Table<abi::FlowKey, abi::Flow>,
    pub(crate) drops: CpuTable<abi::DropCounter>,
    /// Whose packets are noted.
    pub(crate) probe: Table<u32, abi::Probe>,
    /// The program that adds to `loads` what user space has found out.
    pub(super) correct: OwnedFd,
}

/// What the programs write of single packets.
pub(crate) struct Samples {
    drops: Ring,
    sightings: Ring,
}

type Ring = RingBuf<aya::maps::MapData>;

impl std::fmt::Debug for Samples {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Samples").finish_non_exhaustive()
    }
}

/// What may be done to the maps that are pinned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loading {
    /// Entries of a flow table that has to be made.
    pub(crate) flow_capacity: Option<u32>,
    /// Whether maps of another layout under the same version give way to empty ones.
    pub(crate) replace_layout: bool,
    /// How programs are attached to interfaces; `None` for the best that the kernel has.
    pub(crate) attach: Option<Attach>,
}

/// Loads fresh programs over the maps that are pinned, making those that are not.
pub(crate) fn load(pins: Pins, loading: Loading) -> Result<(Programs, Maps, Samples), LoadError> {
    let flow_capacity = loading.flow_capacity;
    let mut ebpf = load_object(&pins, flow_capacity)?;
    let maps = match Maps::open(&pins, load_program(&mut ebpf, CORRECT)?) {
        Err(TableError::Layout { .. }) if loading.replace_layout => {
            // Pinned by a build of another layout under the same version: nothing can be kept.
            for name in PINNED {
                pins::remove(&pins.maps().join(name))?;
            }
            ebpf = load_object(&pins, flow_capacity)?;
            Maps::open(&pins, load_program(&mut ebpf, CORRECT)?)?
        }
        maps => maps?,
    };
    let samples = Samples {
        drops: ring(&mut ebpf, "SAMPLES")?,
        sightings: ring(&mut ebpf, "SIGHTINGS")?,
    };
    let mut programs = BTreeMap::new();
    for program in Program::ALL {
        programs.insert(program, load_program(&mut ebpf, program.name())?);
    }
    let attach = way(&programs, loading.attach)?;
    let mut sockets = BTreeMap::new();
    for hook in SocketHook::ALL {
        sockets.insert(hook, load_socket_program(&mut ebpf, hook)?);
    }
    let held = PINNED.iter().map(|name| Ok((*name, open(&pins, name)?)));
    let programs = Programs {
        maps: held.collect::<Result<_, TableError>>()?,
        pins,
        attach,
        programs,
        sockets,
        native: native::prove(&mut ebpf),
    };
    Ok((programs, maps, samples))
}

fn ring(ebpf: &mut Ebpf, name: &'static str) -> Result<Ring, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing(name))?;
    RingBuf::try_from(map).map_err(|source| LoadError::Samples(Box::new(source)))
}

/// How programs are attached: as asked for, if the kernel can.
fn way(programs: &BTreeMap<Program, OwnedFd>, asked: Option<Attach>) -> Result<Attach, LoadError> {
    let best = programs.values().next().map(|it| Attach::best(it.as_fd()));
    let best = best.ok_or(LoadError::Missing(Program::FromTask.name()))?;
    match asked {
        Some(Attach::Tcx) if best == Attach::Tc => Err(LoadError::NoTcx {
            kernel: probe::release(),
        }),
        asked => Ok(asked.unwrap_or(best)),
    }
}

fn load_object(pins: &Pins, flow_capacity: Option<u32>) -> Result<Ebpf, LoadError> {
    let mut loader = EbpfLoader::new();
    for name in PINNED {
        loader.map_pin_path(name, pins.maps().join(name));
    }
    if let Some(capacity) = flow_capacity {
        loader.map_max_entries("FLOWS", capacity);
    }
    loader
        .load(OBJECT)
        .map_err(|source| LoadError::Object(Box::new(source)))
}

/// Of the verifier's log, which tells of its whole walk, the words that say why.
fn refused(name: &'static str, error: &ProgramError) -> LoadError {
    let reason = if let ProgramError::LoadError { verifier_log, .. } = error {
        last_words(&verifier_log.to_string()).map(str::to_owned)
    } else {
        None
    };
    let reason = reason.unwrap_or_else(|| match error.source() {
        Some(source) => source.to_string(),
        None => error.to_string(),
    });
    LoadError::Refused {
        kernel: probe::release(),
        name,
        reason,
    }
}

/// The last line of a verifier's log that is not about the verifier.
fn last_words(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 3] = ["processed ", "verification time ", "stack depth "];
    let mut lines = log.lines().rev().map(str::trim);
    lines.find(|line| {
        !line.is_empty()
            && STATISTICS
                .iter()
                .all(|statistic| !line.starts_with(statistic))
    })
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<OwnedFd, LoadError> {
    let error = |error| refused(name, &error);
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    let program: &mut SchedClassifier = program.try_into().map_err(error)?;
    program.load().map_err(error)?;
    let fd = program.fd().map_err(error)?.as_fd().try_clone_to_owned();
    fd.map_err(|source| LoadError::Descriptor { name, source })
}

fn load_socket_program(ebpf: &mut Ebpf, hook: SocketHook) -> Result<OwnedFd, LoadError> {
    let name = hook.name();
    let error = |error| refused(name, &error);
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    let fd = if hook == SocketHook::Release {
        let program: &mut CgroupSock = program.try_into().map_err(error)?;
        program.load().map_err(error)?;
        program.fd().map_err(error)?.as_fd().try_clone_to_owned()
    } else {
        let program: &mut CgroupSockAddr = program.try_into().map_err(error)?;
        program.load().map_err(error)?;
        program.fd().map_err(error)?.as_fd().try_clone_to_owned()
    };
    fd.map_err(|source| LoadError::Descriptor { name, source })
}

impl Programs {
    pub(crate) const fn pins(&self) -> &Pins {
        &self.pins
    }

    /// Pins the maps again whose pins are gone, and names them: the next process would start with
    /// empty ones.
    pub(crate) fn pin_again(&self) -> Result<Vec<String>, PinError> {
        let mut repaired = Vec::new();
        for (name, map) in &self.maps {
            let path = self.pins.maps().join(name);
            if self.pins.restore(&path, map)? {
                repaired.push(format!("pin of map {name}"));
            }
        }
        Ok(repaired)
    }

    /// Whether the programs may wrap packets themselves, or why not.
    pub(crate) const fn native(&self) -> &Result<(), String> {
        &self.native
    }

    /// Puts the fresh programs behind every pinned link whose interface lives.
    pub(crate) fn adopt(&self) -> Result<Vec<PinnedLink>, LoadError> {
        let links = self.pins.pinned_links()?;
        for link in links.iter().filter(|link| link.alive) {
            self.pins.replace(link, self.fd(link.program))?;
        }
        for hook in self.pins.pinned_sockets()? {
            self.pins.replace_socket(hook, self.socket(hook))?;
        }
        Ok(links)
    }

    /// Attaches all of `hooks`, or none of them: who is led at connect() must be answered as if not.
    pub(crate) fn attach_sockets(&self, hooks: &[SocketHook]) -> Result<(), CgroupError> {
        let cgroup = cgroup::open(&cgroup::top()?)?;
        for (done, hook) in hooks.iter().enumerate() {
            let result = self.pins.attach_socket(*hook, self.socket(*hook), &cgroup);
            if let Err(error) = result {
                for hook in &hooks[..done] {
                    self.pins.detach_socket(*hook)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn socket(&self, hook: SocketHook) -> &OwnedFd {
        self.sockets.get(&hook).expect("every program was loaded")
    }

    pub(crate) fn attach(&self, program: Program, ifindex: u32) -> Result<(), AttachError> {
        self.pins
            .attach(self.attach, program, self.fd(program), ifindex)
    }

    /// How programs are attached to interfaces.
    pub(crate) const fn way(&self) -> Attach {
        self.attach
    }

    fn fd(&self, program: Program) -> &OwnedFd {
        self.programs
            .get(&program)
            .expect("every program was loaded")
    }
}

impl Maps {
    fn open(pins: &Pins, correct: OwnedFd) -> Result<Self, TableError> {
        Ok(Self {
            settings: table(pins, "SETTINGS")?,
            ifaces: table(pins, "IFACES")?,
            connected: open(pins, "CONNECTED")?,
            datagrams: table(pins, "DATAGRAMS")?,
            netns: table(pins, "NETNS")?,
            networks: table(pins, "NETWORKS")?,
            endpoints: table(pins, "ENDPOINTS")?,
            vteps: table(pins, "VTEPS")?,
            vtep_ids: table(pins, "VTEP_IDS")?,
            addresses: table(pins, "ADDRESSES")?,
            services: table(pins, "SERVICES")?,
            published: table(pins, "PUBLISHED")?,
            cursors: table(pins, "CURSORS")?,
            picks: table(pins, "PICKS")?,
            backends: table(pins, "BACKENDS")?,
            loads: table(pins, "LOADS")?,
            flows: table(pins, "FLOWS")?,
            embryos: table(pins, "EMBRYOS")?,
            drops: CpuTable::new("DROPS", open(pins, "DROPS")?)?,
            probe: table(pins, "PROBE")?,
            correct,
        })
    }
}

fn table<K: Plain, V: Plain>(pins: &Pins, name: &'static str) -> Result<Table<K, V>, TableError> {
    Table::new(name, open(pins, name)?)
}

fn open(pins: &Pins, name: &'static str) -> Result<OwnedFd, TableError> {
    sys::object_get(&pins.maps().join(name)).map_err(|_| TableError::Missing(name))
}

impl Samples {
    /// Takes every sample of a dropped packet that has been written since the last call.
    pub(crate) fn drops(&mut self) -> Vec<abi::DropSample> {
        take(&mut self.drops)
    }

    /// Takes everything that has been noted of probes since the last call.
    pub(crate) fn sightings(&mut self) -> Vec<abi::Sighting> {
        take(&mut self.sightings)
    }
}

fn take<T: Pod + Default>(ring: &mut Ring) -> Vec<T> {
    let mut items = Vec::new();
    while let Some(item) = ring.next() {
        items.extend(super::table::read::<T>(&item));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_verifier_misses_is_told_from_its_statistics() {
        let log = "1: (85) call bpf_csum_level#135\nunknown func bpf_csum_level#135\n\
                   verification time 93 usec\nstack depth 0+8\n\
                   processed 2 insns (limit 1000000) max_states_per_insn 0 total_states 0\n";
        assert_eq!(last_words(log), Some("unknown func bpf_csum_level#135"));
        assert_eq!(last_words(""), None);
    }
}
