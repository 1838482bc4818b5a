//! The tables in the kernel.

use std::cell::RefCell;
use std::net::IpAddr;
use std::path::PathBuf;

use abi::{
    Address, Backend, Endpoint, EndpointKey, Flow, FlowKey, Iface, NetId, Network, PublishedKey,
    Service, ServiceKey, Settings, Vtep,
};

use super::{Entry, Packet, Path, Tables, follow};
use crate::handle::Dataplane;
use crate::kernel::bpf::{Maps, TableError, now_ns};
use crate::read::{ReadError, ReadFailure};
use crate::watch::link_index;

/// Where a packet begins, in the words of the desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The endpoint of this name sends it.
    Attachment(String),
    /// The task in this namespace sends it by its way out.
    Gateway(PathBuf),
    /// It arrives on the underlay.
    Outside,
    /// It comes from another node; see [`Entry::Overlay`].
    Overlay {
        /// The network that it comes in.
        net: NetId,
        /// The sending node's underlay address.
        from: IpAddr,
        /// The backend that the sending node has chosen, else 0.
        backend: u32,
    },
}

/// A packet cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is no interface at which it could begin.
    #[error("{0} has no interface on this node")]
    Missing(String),
    /// The kernel does not let the tables be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// The maps, and the first error that one of them gave.
struct Kernel<'a> {
    maps: &'a Maps,
    error: RefCell<Option<TableError>>,
}

impl Dataplane {
    /// Tells what this node's programs would do with a packet, from their tables as they are now.
    ///
    /// # Errors
    /// When there is no such place on this node, or the kernel does not let the tables be read.
    pub fn trace(&self, place: &Place, packet: Packet) -> Result<Path, TraceError> {
        let entry = self.entry(place)?;
        let kernel = Kernel {
            maps: &self.maps,
            error: RefCell::new(None),
        };
        let path = follow(&kernel, entry, packet);
        match kernel.error.into_inner() {
            None => Ok(path),
            Some(error) => Err(ReadError::from(ReadFailure::from(error)).into()),
        }
    }

    fn entry(&self, place: &Place) -> Result<Entry, TraceError> {
        let index = |interface: Option<&String>, what: &str| {
            let found = interface.and_then(|name| link_index(name));
            found.ok_or_else(|| TraceError::Missing(what.to_owned()))
        };
        let status = &self.status;
        Ok(match place {
            Place::Attachment(name) => Entry::Task(index(status.host_interfaces.get(name), name)?),
            Place::Gateway(path) => {
                let interface = status.gateway_interfaces.get(path);
                Entry::Task(index(interface, &path.display().to_string())?)
            }
            Place::Outside => {
                let underlay = status.underlay.as_ref().map(|it| &it.interface);
                Entry::Uplink(index(underlay, "the underlay")?)
            }
            Place::Overlay { net, from, backend } => Entry::Overlay {
                net: *net,
                from: *from,
                backend: *backend,
            },
        })
    }
}

impl Kernel<'_> {
    fn read<T>(&self, result: Result<Option<T>, TableError>) -> Option<T> {
        result.unwrap_or_else(|error| {
            self.error.borrow_mut().get_or_insert(error);
            None
        })
    }
}

impl Tables for Kernel<'_> {
    fn settings(&self) -> Option<Settings> {
        self.read(self.maps.settings.get(&0))
    }

    fn iface(&self, ifindex: u32) -> Option<Iface> {
        self.read(self.maps.ifaces.get(&ifindex))
    }

    fn endpoint(&self, net: NetId, address: Address) -> Option<Endpoint> {
        self.read(self.maps.endpoints.get(&EndpointKey { net, address }))
    }

    fn network(&self, net: NetId) -> Option<Network> {
        self.read(self.maps.networks.get(&net))
    }

    fn vtep(&self, number: u32) -> Option<Vtep> {
        let vtep = self.read(self.maps.vteps.get(&number))?;
        (!vtep.address.is_unspecified()).then_some(vtep)
    }

    fn node_number(&self, address: Address) -> Option<u32> {
        self.read(self.maps.vtep_ids.get(&address))
    }

    fn is_own(&self, address: Address) -> bool {
        self.read(self.maps.addresses.get(&address)).is_some()
    }

    fn service(&self, key: ServiceKey) -> Option<Service> {
        self.read(self.maps.services.get(&key))
    }

    fn published(&self, key: PublishedKey) -> Option<Service> {
        self.read(self.maps.published.get(&key))
    }

    fn cursor(&self, service: u32) -> Option<u32> {
        self.read(self.maps.cursors.get(&service))
    }

    fn pick(&self, index: u32) -> Option<u32> {
        self.read(self.maps.picks.get(&index))
    }

    fn backend(&self, id: u32) -> Option<Backend> {
        self.read(self.maps.backends.get(&id))
    }

    fn flow(&self, key: FlowKey) -> Option<Flow> {
        let settled = self.read(self.maps.flows.get(&key));
        settled.or_else(|| self.read(self.maps.embryos.get(&key)))
    }

    fn now_ns(&self) -> u64 {
        now_ns()
    }
}
