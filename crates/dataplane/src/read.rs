//! What the kernel programs have seen: flows, drops and loads, in the words of the API.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use abi::{
    Address, DropReason, DropSample, FlowKey, FlowState, Load, NetId, Seen, Side, TransferCount,
};

use crate::handle::Dataplane;
use crate::kernel::bpf::{TableError, now_ns, origin};
use crate::watch::link_name;

/// A map cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("read what the kernel programs have seen")]
pub struct ReadError(#[from] ReadFailure);

/// Why a map cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct ReadFailure(#[from] TableError);

/// A live flow through a VIP or a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The network in which client and backend meet.
    pub net: NetId,
    /// IP protocol number.
    pub protocol: u8,
    /// The client.
    pub client: SocketAddr,
    /// What the client dialled.
    pub frontend: SocketAddr,
    /// Who answers; `None` when the backend is not known any more.
    pub backend: Option<SocketAddr>,
    /// The backend's number.
    pub backend_id: u32,
    /// The service's number; 0 when it is not known here.
    pub service_id: u32,
    /// Where the flow is in its life.
    pub state: FlowState,
    /// The node from which it came through the mesh.
    pub via: Option<IpAddr>,
    /// The node to which it goes.
    pub target: Option<IpAddr>,
    /// Since its last packet.
    pub idle: Duration,
    /// Until it is forgotten.
    pub expires: Duration,
    /// From the client.
    pub forward: TransferCount,
    /// To the client.
    pub reply: TransferCount,
}

/// A reason for dropping packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drop {
    /// The reason.
    pub reason: DropReason,
    /// Packets dropped since the tables were made.
    pub count: u64,
    /// The last that was looked at.
    pub last: Option<Sample>,
}

/// A dropped packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When it was dropped.
    pub time: SystemTime,
    /// The interface on whose hook it was dropped; `None` when that is gone.
    pub interface: Option<String>,
    /// The network, as far as it was known.
    pub net: Option<NetId>,
    /// IP protocol number.
    pub protocol: u8,
    /// Address and port, 0 where there is none; `None` when it was not read.
    pub source: Option<SocketAddr>,
    /// Address and port, 0 where there is none; `None` when it was not read.
    pub destination: Option<SocketAddr>,
    /// Length of the frame in bytes.
    pub length: u32,
}

impl Dataplane {
    /// Every live flow that this node translates or sends on.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flows(&self) -> Result<Vec<Flow>, ReadError> {
        let now = now_ns();
        let backends: Backends = self
            .maps
            .backends
            .entries()
            .map_err(failure)?
            .into_iter()
            .collect();
        let vteps = self.maps.vteps.entries().map_err(failure)?.into_iter();
        let vteps: Vteps = vteps
            .filter(|(_, vtep)| !vtep.address.is_unspecified())
            .map(|(number, vtep)| (number, vtep.address.into()))
            .collect();
        let flows = self.maps.live_flows(now).map_err(failure)?;
        Ok(flows
            .iter()
            .map(|(key, flow)| describe(key, flow, (&backends, &vteps), now))
            .collect())
    }

    /// How many live flows there are, without a copy of each.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn flow_count(&self) -> Result<usize, ReadError> {
        Ok(self.maps.count_flows(now_ns()).map_err(failure)?)
    }

    /// Every reason for drops, in the order of their numbers, also those that never occurred.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn drops(&mut self) -> Result<Vec<Drop>, ReadError> {
        self.take_samples();
        let mut drops = Vec::with_capacity(DropReason::COUNT);
        for reason in DropReason::ALL {
            let cpus = self.maps.drops.get(*reason as u32).map_err(failure)?;
            drops.push(Drop {
                reason: *reason,
                count: cpus.iter().map(|counter| counter.count).sum(),
                last: self
                    .last_samples
                    .get(reason)
                    .map(|(sample, time)| describe_sample(sample, *time)),
            });
        }
        Ok(drops)
    }

    /// Flows opened and closed for each backend, by its number; active is the difference.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn loads(&self) -> Result<BTreeMap<u32, Load>, ReadError> {
        Ok(self.maps.loads().map_err(failure)?)
    }

    /// Removes flows that have expired, and empties the buffer of samples. Returns how many flows
    /// were removed. To be called every [`crate::GARBAGE_INTERVAL`]; nothing breaks when it is not.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn collect_garbage(&mut self) -> Result<usize, ReadError> {
        self.take_samples();
        let removed = self.maps.collect_garbage(now_ns()).map_err(failure)?;
        let repaired = self.maps.repair_loads(&mut self.drift).map_err(failure)?;
        if repaired > 0 {
            tracing::debug!(backends = repaired, "counts of flows repaired");
        }
        Ok(removed)
    }

    fn take_samples(&mut self) {
        // The wall clock may be set, so it is asked once for each sample, and soon.
        let (now, wall) = (now_ns(), SystemTime::now());
        for sample in self.samples.drops() {
            if let Some(reason) = DropReason::from_u32(sample.reason) {
                let age = Duration::from_nanos(now.saturating_sub(sample.time_ns));
                let time = wall.checked_sub(age).unwrap_or(wall);
                self.last_samples.insert(reason, (sample, time));
            }
        }
    }
}

type Backends = BTreeMap<u32, abi::Backend>;
type Vteps = BTreeMap<u32, IpAddr>;

fn failure(error: TableError) -> ReadFailure {
    error.into()
}

/// Describes a flow by the entry that owns its state: the reverse one, or a forward one that stands
/// alone because the packets leave untranslated.
fn describe(
    key: &FlowKey,
    flow: &abi::Flow,
    (backends, vteps): (&Backends, &Vteps),
    now: u64,
) -> Flow {
    let known = backends.get(&flow.backend);
    let server = socket(key.server, key.server_port);
    let (client, frontend, backend) = if key.side == Side::Reverse as u8 {
        let client = socket(flow.client, flow.client_port);
        (client, socket(flow.peer, flow.peer_port), Some(server))
    } else {
        let backend = known.map(|backend| {
            let port = if backend.port == 0 {
                key.server_port
            } else {
                backend.port
            };
            socket(backend.address, port)
        });
        (socket(key.client, key.client_port), server, backend)
    };
    let node = |number: u32| vteps.get(&number).filter(|_| number != 0).copied();
    let seen = Seen(flow.seen);
    let idle_ns = now.saturating_sub(flow.last_ns);
    Flow {
        net: key.net,
        protocol: key.protocol,
        client,
        frontend,
        backend,
        backend_id: flow.backend,
        service_id: flow.service,
        state: seen.state(),
        via: origin(key, flow).and_then(node),
        target: known.and_then(|backend| node(backend.vtep)),
        idle: Duration::from_nanos(idle_ns),
        expires: Duration::from_nanos(seen.timeout_ns(key.protocol).saturating_sub(idle_ns)),
        forward: flow.forward,
        reply: flow.reply,
    }
}

fn describe_sample(sample: &DropSample, time: SystemTime) -> Sample {
    let end = |address: Address, port| (!address.is_unspecified()).then(|| socket(address, port));
    Sample {
        time,
        interface: link_name(sample.ifindex),
        net: (sample.net != NetId(0)).then_some(sample.net),
        protocol: u8::try_from(sample.protocol).unwrap_or(0),
        source: end(sample.source, sample.source_port),
        destination: end(sample.destination, sample.destination_port),
        length: sample.length,
    }
}

fn socket(address: Address, port: u16) -> SocketAddr {
    SocketAddr::new(address.into(), port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_that_leaves_untranslated_names_its_backend_by_number() {
        let key = FlowKey {
            net: NetId(4096),
            client: "203.0.113.9".parse::<IpAddr>().unwrap().into(),
            server: "192.0.2.1".parse::<IpAddr>().unwrap().into(),
            client_port: 4000,
            server_port: 8080,
            protocol: 6,
            side: Side::Forward as u8,
            reserved: 0,
        };
        let flow = abi::Flow {
            backend: 3,
            last_ns: 1_000_000_000,
            // The interface that it came in by, not a node.
            via: 2,
            delivery: abi::Delivery {
                kind: abi::delivery::MESH,
                target: 2,
                ..abi::Delivery::default()
            },
            ..abi::Flow::default()
        };
        let backend = abi::Backend {
            address: "10.255.0.2".parse::<IpAddr>().unwrap().into(),
            vtep: 2,
            ..abi::Backend::default()
        };
        let backends = BTreeMap::from([(3, backend)]);
        let vteps = BTreeMap::from([(2, "192.0.2.2".parse().unwrap())]);
        let described = describe(&key, &flow, (&backends, &vteps), 3_000_000_000);
        assert_eq!(described.client, "203.0.113.9:4000".parse().unwrap());
        assert_eq!(described.frontend, "192.0.2.1:8080".parse().unwrap());
        assert_eq!(described.backend, Some("10.255.0.2:8080".parse().unwrap()));
        assert_eq!(described.target, Some("192.0.2.2".parse().unwrap()));
        assert_eq!(described.via, None);
        assert_eq!(described.idle, Duration::from_secs(2));
        assert_eq!(described.expires, Duration::from_secs(28));
    }
}
