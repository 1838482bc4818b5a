//! The maps of freshly loaded programs, filled from plain values and read back.

use std::collections::BTreeMap;
use std::fmt;

use abi::{
    Address, Affinity, AffinityKey, Backend, DropCounter, DropReason, Endpoint, EndpointKey, Flow,
    FlowKey, FragmentKey, FragmentPorts, Iface, Load, Locality, NetId, Network, Probe,
    PublishedKey, Service, ServiceKey, Settings, Sighting, Vtep,
};
use anyhow::{Context, Result};
use aya::maps::{Array, HashMap, MapData, PerCpuArray, RingBuf};
use aya::{Ebpf, Pod};

type Hash<K, V> = HashMap<MapData, K, V>;

/// What stands in the maps that user space writes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// The one entry of `settings`.
    pub settings: Settings,
    /// By ifindex.
    pub ifaces: BTreeMap<u32, Iface>,
    /// By number.
    pub networks: BTreeMap<NetId, Network>,
    /// By network and address.
    pub endpoints: BTreeMap<EndpointKey, Endpoint>,
    /// By node-local number, below 16.
    pub vteps: BTreeMap<u32, Vtep>,
    /// The inverse of `vteps`.
    pub vtep_ids: BTreeMap<Address, u32>,
    /// The node's own addresses.
    pub addresses: BTreeMap<Address, u32>,
    /// By frontend.
    pub services: BTreeMap<ServiceKey, Service>,
    /// By published port.
    pub published: BTreeMap<PublishedKey, Service>,
    /// By service number.
    pub cursors: BTreeMap<u32, u32>,
    /// By index, below [`super::PICKS`].
    pub picks: BTreeMap<u32, u32>,
    /// By number.
    pub backends: BTreeMap<u32, Backend>,
    /// By backend number.
    pub loads: BTreeMap<u32, Load>,
}

/// Every map that tests write or read.
pub struct Tables {
    settings: Array<MapData, Settings>,
    ifaces: Hash<u32, Iface>,
    networks: Hash<NetId, Network>,
    endpoints: Hash<EndpointKey, Endpoint>,
    vteps: Array<MapData, Vtep>,
    vtep_ids: Hash<Address, u32>,
    addresses: Hash<Address, u32>,
    services: Hash<ServiceKey, Service>,
    published: Hash<PublishedKey, Service>,
    cursors: Hash<u32, u32>,
    picks: Array<MapData, u32>,
    backends: Hash<u32, Backend>,
    loads: Hash<u32, Load>,
    fragments: Hash<FragmentKey, FragmentPorts>,
    drops: PerCpuArray<MapData, DropCounter>,
    samples: RingBuf<MapData>,
    probe: Array<MapData, Probe>,
    sightings: RingBuf<MapData>,
    affinities: Hash<AffinityKey, Affinity>,
    localities: Hash<AffinityKey, Locality>,
    flows: Hash<FlowKey, Flow>,
    embryos: Hash<FlowKey, Flow>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tables").finish_non_exhaustive()
    }
}

/// Which of the two flow tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowTable {
    /// `flows`.
    Settled,
    /// `embryos`.
    Opening,
}

/// Takes a map out of the object, in the form that the place asks for.
macro_rules! take {
    ($ebpf:ident, $name:literal) => {
        $ebpf.take_map($name).context($name)?.try_into()?
    };
}

impl Tables {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            settings: take!(ebpf, "SETTINGS"),
            ifaces: take!(ebpf, "IFACES"),
            networks: take!(ebpf, "NETWORKS"),
            endpoints: take!(ebpf, "ENDPOINTS"),
            vteps: take!(ebpf, "VTEPS"),
            vtep_ids: take!(ebpf, "VTEP_IDS"),
            addresses: take!(ebpf, "ADDRESSES"),
            services: take!(ebpf, "SERVICES"),
            published: take!(ebpf, "PUBLISHED"),
            cursors: take!(ebpf, "CURSORS"),
            picks: take!(ebpf, "PICKS"),
            backends: take!(ebpf, "BACKENDS"),
            loads: take!(ebpf, "LOADS"),
            fragments: take!(ebpf, "FRAGMENTS"),
            drops: take!(ebpf, "DROPS"),
            samples: take!(ebpf, "SAMPLES"),
            probe: take!(ebpf, "PROBE"),
            sightings: take!(ebpf, "SIGHTINGS"),
            affinities: take!(ebpf, "AFFINITIES"),
            localities: take!(ebpf, "LOCALITIES"),
            flows: take!(ebpf, "FLOWS"),
            embryos: take!(ebpf, "EMBRYOS"),
        })
    }

    /// Makes the maps hold exactly `contents`, and no flow and no fragment.
    ///
    /// # Errors
    /// When the kernel refuses an entry.
    pub fn fill(&mut self, contents: &Contents) -> Result<()> {
        empty(&mut self.flows)?;
        empty(&mut self.embryos)?;
        empty(&mut self.fragments)?;
        empty(&mut self.affinities)?;
        empty(&mut self.localities)?;
        self.settings.set(0, contents.settings, 0)?;
        replace(&mut self.ifaces, &contents.ifaces)?;
        replace(&mut self.networks, &contents.networks)?;
        replace(&mut self.endpoints, &contents.endpoints)?;
        for number in 0..16 {
            let vtep = contents.vteps.get(&number).copied().unwrap_or_default();
            self.vteps.set(number, vtep, 0)?;
        }
        replace(&mut self.vtep_ids, &contents.vtep_ids)?;
        replace(&mut self.addresses, &contents.addresses)?;
        replace(&mut self.services, &contents.services)?;
        replace(&mut self.published, &contents.published)?;
        replace(&mut self.cursors, &contents.cursors)?;
        for (index, pick) in &contents.picks {
            self.picks.set(*index, pick, 0)?;
        }
        replace(&mut self.backends, &contents.backends)?;
        replace(&mut self.loads, &contents.loads)
    }

    /// Packets that were dropped or refused for `reason` since the programs were loaded.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn dropped(&self, reason: DropReason) -> Result<u64> {
        let counters = self.drops.get(&(reason as u32), 0)?;
        Ok(counters.iter().map(|counter| counter.count).sum())
    }

    /// Takes the samples of dropped packets that were written since the last call, as the kernel has
    /// them: each is an `abi::DropSample`.
    pub fn take_samples(&mut self) -> Vec<Vec<u8>> {
        let mut samples = Vec::new();
        while let Some(sample) = self.samples.next() {
            samples.push(sample.to_vec());
        }
        samples
    }

    /// Says whose packets are noted.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn watch(&mut self, probe: &Probe) -> Result<()> {
        Ok(self.probe.set(0, probe, 0)?)
    }

    /// Whose packets are noted.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn watched(&self) -> Result<Probe> {
        Ok(self.probe.get(&0, 0)?)
    }

    /// Takes what was noted since the last call.
    ///
    /// # Errors
    /// When something of another size was.
    pub fn take_sightings(&mut self) -> Result<Vec<Sighting>> {
        let mut sightings = Vec::new();
        while let Some(item) = self.sightings.next() {
            sightings.push(sighting(&item)?);
        }
        Ok(sightings)
    }

    /// All flows of a table.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn flows(&self, table: FlowTable) -> Result<BTreeMap<FlowKey, Flow>> {
        all(self.flow_table(table))
    }

    /// One flow; `None` when there is none.
    #[must_use]
    pub fn flow(&self, table: FlowTable, key: &FlowKey) -> Option<Flow> {
        self.flow_table(table).get(key, 0).ok()
    }

    /// Writes a flow.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_flow(&mut self, table: FlowTable, key: &FlowKey, flow: &Flow) -> Result<()> {
        let table = match table {
            FlowTable::Settled => &mut self.flows,
            FlowTable::Opening => &mut self.embryos,
        };
        Ok(table.insert(key, flow, 0)?)
    }

    /// All of `loads`.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn loads(&self) -> Result<BTreeMap<u32, Load>> {
        all(&self.loads)
    }

    /// All of `affinities`.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn affinities(&self) -> Result<BTreeMap<AffinityKey, Affinity>> {
        all(&self.affinities)
    }

    /// Writes what is remembered of a client.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_affinity(&mut self, key: &AffinityKey, affinity: &Affinity) -> Result<()> {
        Ok(self.affinities.insert(key, affinity, 0)?)
    }

    /// All of `localities`.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn localities(&self) -> Result<BTreeMap<AffinityKey, Locality>> {
        all(&self.localities)
    }

    /// Writes what is remembered of a destination.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_locality(&mut self, key: &AffinityKey, locality: &Locality) -> Result<()> {
        Ok(self.localities.insert(key, locality, 0)?)
    }

    /// Writes the counts of a backend.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn set_load(&mut self, backend: u32, load: &Load) -> Result<()> {
        Ok(self.loads.insert(backend, load, 0)?)
    }

    /// All of `cursors`.
    ///
    /// # Errors
    /// When the kernel refuses to tell.
    pub fn cursors(&self) -> Result<BTreeMap<u32, u32>> {
        all(&self.cursors)
    }

    const fn flow_table(&self, table: FlowTable) -> &Hash<FlowKey, Flow> {
        match table {
            FlowTable::Settled => &self.flows,
            FlowTable::Opening => &self.embryos,
        }
    }
}

/// Reads an entry by the layout that its type documents.
fn sighting(bytes: &[u8]) -> Result<Sighting> {
    anyhow::ensure!(
        bytes.len() == size_of::<Sighting>(),
        "{} bytes",
        bytes.len()
    );
    let word = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map_or(0, |it| u32::from_ne_bytes(*it))
    };
    let short = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map_or(0, |it| u16::from_ne_bytes(*it))
    };
    let long = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map_or(0, |it| u64::from_ne_bytes(*it))
    };
    let address = |at: usize| Address {
        words: [word(at), word(at + 4), word(at + 8), word(at + 12)],
    };
    Ok(Sighting {
        time_ns: long(0),
        observer: word(8),
        sight: word(12),
        decision: word(16),
        reason: word(20),
        target: word(24),
        ifindex: word(28),
        length: word(32),
        captured: word(36),
        flags: word(40),
        protocol: word(44),
        source_port: short(48),
        destination_port: short(50),
        source: address(52),
        destination: address(68),
        key_family: word(84),
        key: std::array::from_fn(|index| word(88 + 4 * index)),
        reserved: 0,
        frame: std::array::from_fn(|index| long(136 + 8 * index)),
    })
}

fn empty<K: Pod, V: Pod>(map: &mut Hash<K, V>) -> Result<()> {
    let keys: Vec<K> = map.keys().collect::<Result<_, _>>()?;
    for key in keys {
        map.remove(&key)?;
    }
    Ok(())
}

fn replace<K: Pod, V: Pod>(map: &mut Hash<K, V>, wanted: &BTreeMap<K, V>) -> Result<()> {
    empty(map)?;
    for (key, value) in wanted {
        map.insert(key, value, 0)?;
    }
    Ok(())
}

fn all<K: Pod + Ord, V: Pod>(map: &Hash<K, V>) -> Result<BTreeMap<K, V>> {
    Ok(map.iter().collect::<Result<_, _>>()?)
}
