//! Ten thousand services, as the data plane takes them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use abi::{Algorithm, NetId};
use dataplane::{Backend, Desired, Endpoint, Frontend, Location, Network, Service};

const NET: NetId = NetId(4097);
/// This node.
pub(super) const NODE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The nodes that have the backends.
const OTHERS: u8 = 8;
const BACKENDS: u32 = 3;

/// What changes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A task ends.
    Leave,
    /// A task is on another node.
    Move,
}

impl Kind {
    pub(super) const ALL: [Self; 2] = [Self::Leave, Self::Move];

    /// What it is called there and back.
    pub(super) const fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Leave => ("leave", "join"),
            Self::Move => ("move", "return"),
        }
    }

    /// The state after a change of the first task of a service, 0 to the number of services.
    pub(super) fn change(self, before: &Desired, service: u32) -> Desired {
        let mut after = before.clone();
        let id = service * BACKENDS + 1;
        let key = (NET, task(id));
        match self {
            Self::Leave => {
                after.endpoints.remove(&key);
                after.backends.remove(&id);
                if let Some(service) = after.services.get_mut(&frontend(service)) {
                    service.backends.retain(|it| *it != id);
                }
            }
            Self::Move => {
                let location = Location::Node(other(id + 1));
                after.endpoints.insert(key, Endpoint { location });
            }
        }
        after
    }
}

pub(super) fn empty() -> Desired {
    let network = Network {
        name: "app".to_owned(),
        subnets: Vec::new(),
        socket_lb: true,
        mtu: None,
    };
    Desired {
        carrier: dataplane::Carrier::Device,
        vteps: (0..u32::from(OTHERS)).map(other).collect::<BTreeSet<_>>(),
        networks: BTreeMap::from([(NET, network)]),
        ..Desired::empty(NODE.into())
    }
}

/// So many services with three backends each, spread over the other nodes.
pub(super) fn services(count: u32) -> Desired {
    let mut desired = empty();
    for number in 0..count {
        let ids: Vec<u32> = (0..BACKENDS).map(|it| number * BACKENDS + it + 1).collect();
        for id in &ids {
            let location = Location::Node(other(*id));
            desired
                .endpoints
                .insert((NET, task(*id)), Endpoint { location });
            let backend = Backend {
                net: NET,
                address: task(*id),
                port: 8080,
                weight: 1,
                is_draining: false,
            };
            desired.backends.insert(*id, backend);
        }
        let service = Service {
            id: number + 1,
            algorithm: Algorithm::RoundRobin,
            affinity_seconds: 0,
            returns_direct: false,
            backends: ids,
        };
        desired.services.insert(frontend(number), service);
    }
    desired
}

fn frontend(service: u32) -> Frontend {
    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 0)) + service);
    Frontend {
        net: NET,
        address: address.into(),
        port: Some((80, 6)),
    }
}

fn task(id: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 0, 0, 0)) + id).into()
}

fn other(id: u32) -> IpAddr {
    let number = u8::try_from(id % u32::from(OTHERS)).unwrap_or(0);
    Ipv4Addr::new(192, 0, 2, 10 + number).into()
}
