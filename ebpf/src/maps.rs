//! Every table, in the form that the kernel, bpftool and netd understand (BTF maps).
//!
//! Tables that only user space writes allocate as they grow. The flow tables are allocated at once,
//! so that an insert in the packet path cannot fail for want of memory. Sizes are those of a small
//! node; netd changes them when it loads the object.

use abi::{
    Address, Affinity, AffinityKey, Backend, DropCounter, DropReason, Endpoint, EndpointKey,
    ErrorCredit, Flow, FlowKey, FragmentKey, FragmentPorts, Header, Iface, Lead, Leads, Load,
    Locality, NetId, Netns, Network, Probe, PublishedKey, Quote, Service, ServiceKey, Settings,
    Vtep,
};
use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage},
    macros::btf_map,
};

use crate::{
    carrier::Room,
    flows::{Opening, Translation},
    route::{Question, Way},
    sight::Note,
};

const GROWS: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

#[btf_map]
pub(crate) static IFACES: HashMap<u32, Iface, 8192, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static NETWORKS: HashMap<NetId, Network, 8192, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static ENDPOINTS: HashMap<EndpointKey, Endpoint, 262_144, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static VTEPS: Array<Vtep, 4096> = Array::new();

#[btf_map]
pub(crate) static VTEP_IDS: HashMap<Address, u32, 4096, GROWS> = HashMap::new();

/// By the last octet of an underlay address: the number of the node with such an address that has sent
/// something last, 0 for none.
#[btf_map]
pub(crate) static SENDERS: Array<u32, 256> = Array::new();

#[btf_map]
pub(crate) static ADDRESSES: HashMap<Address, u32, 4096, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static SERVICES: HashMap<ServiceKey, Service, 262_144, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static PUBLISHED: HashMap<PublishedKey, Service, 262_144, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static CURSORS: HashMap<u32, u32, 262_144, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static PICKS: Array<u32, 1_048_576> = Array::new();

#[btf_map]
pub(crate) static BACKENDS: HashMap<u32, Backend, 1_048_576, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static LOADS: HashMap<u32, Load, 1_048_576, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static FLOWS: HashMap<FlowKey, Flow, 65_536> = HashMap::new();

#[btf_map]
pub(crate) static EMBRYOS: LruHashMap<FlowKey, Flow, 16_384> = LruHashMap::new();

#[btf_map]
pub(crate) static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts, 4096> = LruHashMap::new();

/// Who stays where. The oldest make room, so clients beyond this many are balanced anew.
#[btf_map]
pub(crate) static AFFINITIES: LruHashMap<AffinityKey, Affinity, 65_536> = LruHashMap::new();

/// What destinations lead to, for `lblc` and `lblcr`.
#[btf_map]
pub(crate) static LOCALITIES: LruHashMap<AffinityKey, Locality, 4096> = LruHashMap::new();

#[btf_map]
pub(crate) static NETNS: HashMap<u64, Netns, 16_384, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static CONNECTED: SkStorage<Lead> = SkStorage::new();

/// The cookies of connected datagram sockets that are led, and their backends: of sockets other than
/// TCP's, sock_diag(7) does not show what belongs to them.
#[btf_map]
pub(crate) static DATAGRAMS: HashMap<u64, u32, 65_536, GROWS> = HashMap::new();

#[btf_map]
pub(crate) static UNCONNECTED: SkStorage<Leads> = SkStorage::new();

#[btf_map]
pub(crate) static DROPS: PerCpuArray<DropCounter, { DropReason::COUNT }> = PerCpuArray::new();

#[btf_map]
/// Entries are `abi::DropSample`; libbpf wants a ring buffer to have no value type.
pub(crate) static SAMPLES: RingBuf<(), 65_536> = RingBuf::new();

#[btf_map]
pub(crate) static PROBE: Array<Probe, 1> = Array::new();

/// Entries are `abi::Sighting`.
#[btf_map]
pub(crate) static SIGHTINGS: RingBuf<(), 65_536> = RingBuf::new();

#[btf_map]
pub(crate) static ERRORS: PerCpuArray<ErrorCredit, 1> = PerCpuArray::new();

/// Until when direct connections may be translated, nanoseconds of the coarse monotonic clock.
#[btf_map]
pub(crate) static DIRECT_UNTIL: Array<u64, 1> = Array::new();

// What the stack has no room for, and what the verifier need not follow: a value read back from a map
// is just a number to it, which keeps the states that it has to visit few.

#[btf_map]
pub(crate) static HEADER: PerCpuArray<Header, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static OPENING: PerCpuArray<Opening, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static TRANSLATION: PerCpuArray<Translation, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static KEY: PerCpuArray<FlowKey, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static PIECE: PerCpuArray<FragmentKey, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static TWIN: PerCpuArray<FlowKey, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static NEW_FLOW: PerCpuArray<Flow, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static OPENED: PerCpuArray<FlowKey, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static ARRIVED: PerCpuArray<FlowKey, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static QUOTE: PerCpuArray<Quote, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static QUOTED: PerCpuArray<FlowKey, 1> = PerCpuArray::new();

/// Where the options of a SYN are being read.
#[btf_map]
pub(crate) static OPTION: PerCpuArray<u32, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static ROUTE: PerCpuArray<Question, 1> = PerCpuArray::new();

/// By a hash of the destination.
#[btf_map]
pub(crate) static WAYS: PerCpuArray<Way, 256> = PerCpuArray::new();

#[btf_map]
pub(crate) static OUTER: PerCpuArray<Room, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static NOTE: PerCpuArray<Note, 1> = PerCpuArray::new();

#[btf_map]
pub(crate) static ANSWERED: PerCpuArray<[u32; 12], 1> = PerCpuArray::new();

/// This CPU's slot of a table with one.
#[inline(always)]
pub(crate) fn slot<T>(map: &PerCpuArray<T, 1>) -> Result<&'static mut T, DropReason> {
    let slot = map.get_ptr_mut(0).ok_or(DropReason::NotReady)?;
    // SAFETY: a per-CPU array's slot outlives the program, and no other program of ours that uses one
    // runs on this CPU in between: packets' programs run with softirqs off and do not interrupt each
    // other, and the socket hooks, which they do interrupt, use no slots. Each caller asks once in a
    // run, or no longer uses what it was given before.
    Ok(unsafe { &mut *slot })
}
