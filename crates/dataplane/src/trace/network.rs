//! What tasks send, and what other nodes send inside a network.

use std::net::IpAddr;

use abi::{
    Address, Delivery, DropReason, Endpoint, EndpointKind, Flow, Iface, NetId, delivery, endpoint,
    iface, protocol,
};

use super::{Outcome, Stop, Walk, network};

impl Walk<'_> {
    pub(super) fn task_sends(&mut self, ifindex: u32) -> Result<Outcome, Stop> {
        let Some(iface) = self.tables.iface(ifindex) else {
            self.note("ifaces", ifindex.to_string(), "no task is there");
            return Err(DropReason::UnknownInterface.into());
        };
        let kind = if iface.flags & iface::GATEWAY == 0 {
            format!("an attachment to network {}", network(iface.net))
        } else {
            "a gateway attachment".to_owned()
        };
        self.note("ifaces", ifindex.to_string(), kind);
        if self.destination().is_group() {
            return Err(DropReason::Multicast.into());
        }
        if self.source().is_unspecified() {
            return Err(DropReason::SpoofedSource.into());
        }
        if iface.flags & iface::GATEWAY == 0 {
            self.network_sends(ifindex, &iface)
        } else {
            self.gateway_sends(ifindex, &iface)
        }
    }

    fn network_sends(&mut self, ifindex: u32, iface: &Iface) -> Result<Outcome, Stop> {
        if ![iface.v4, iface.v6].contains(&self.source()) {
            return Err(DropReason::SpoofedSource.into());
        }
        let target = self.endpoint(iface.net, self.destination());
        let target = target.ok_or_else(|| Stop::from(DropReason::NoEndpoint).told())?;
        match EndpointKind::from_u8(target.kind) {
            Some(EndpointKind::Vip) => self.vip_gets(ifindex, iface.net),
            Some(EndpointKind::Task) => self.task_gets(iface, &target),
            Some(EndpointKind::Gateway) => {
                if iface.flags & iface::BACKS != 0
                    && let Some(client) = self.reply(iface.net, self.source())?
                {
                    let task = self.endpoint(iface.net, client);
                    return self.deliver(iface.net, &task.ok_or(DropReason::NoEndpoint)?);
                }
                Err(DropReason::ToGateway.into())
            }
            Some(EndpointKind::Node) | None => Err(DropReason::NoEndpoint.into()),
        }
    }

    /// To a task by its own address.
    fn task_gets(&mut self, iface: &Iface, target: &Endpoint) -> Result<Outcome, Stop> {
        if target.flags & endpoint::BACKS != 0 && self.path.packet.protocol == protocol::TCP {
            let known = self.direct(iface.net);
            if known.is_some() || !self.makes_way(iface.net) {
                return self.direct_beside(iface.net, target, known);
            }
        }
        if iface.flags & iface::BACKS != 0 {
            self.reply(iface.net, self.source())?;
        }
        self.deliver(iface.net, target)
    }

    /// To a backend directly, beside a flow that looks the same.
    fn direct_beside(
        &mut self,
        net: NetId,
        target: &Endpoint,
        known: Option<Flow>,
    ) -> Result<Outcome, Stop> {
        let packet = self.path.packet;
        let flow = match known {
            Some(flow) => flow,
            None => {
                let port = self.free_port(net, self.source(), packet.destination);
                self.path.opens = port.is_ok();
                let (target, kind) = match target.vtep {
                    0 => (target.ifindex, delivery::TASK),
                    node => (node, delivery::TUNNEL),
                };
                Flow {
                    peer: self.destination(),
                    peer_port: packet.destination.port(),
                    client: self.source(),
                    client_port: port.map_err(Stop::told)?,
                    delivery: Delivery {
                        target,
                        mac: [0; 6],
                        kind,
                    },
                    ..Flow::default()
                }
            }
        };
        self.translate(&flow);
        self.hand_on(net, &flow.delivery, flow.backend)
    }

    /// To the endpoint that has the destination.
    pub(super) fn deliver(&mut self, net: NetId, endpoint: &Endpoint) -> Result<Outcome, Stop> {
        if EndpointKind::from_u8(endpoint.kind) != Some(EndpointKind::Task) {
            return Err(DropReason::NoEndpoint.into());
        }
        if endpoint.vtep != 0 {
            return self.carry(net, endpoint.vtep, 0);
        }
        Ok(Outcome::Task(endpoint.ifindex))
    }

    /// Looks an address up.
    pub(super) fn endpoint(&mut self, net: NetId, address: Address) -> Option<Endpoint> {
        let found = self.tables.endpoint(net, address);
        let shown = match &found {
            None => "nobody has it".to_owned(),
            Some(it) => match (EndpointKind::from_u8(it.kind), it.vtep) {
                (Some(EndpointKind::Vip), _) => "a VIP".to_owned(),
                (Some(EndpointKind::Gateway), _) => "the network's own address".to_owned(),
                (Some(EndpointKind::Task), 0) => {
                    format!("a task on this node, interface {}", it.ifindex)
                }
                (Some(EndpointKind::Task), node) => match self.node(node) {
                    Some(node) => format!("a task on node {}", IpAddr::from(node)),
                    None => format!("a task on node number {node}"),
                },
                (Some(EndpointKind::Node), 0) => "this node itself".to_owned(),
                (Some(EndpointKind::Node), node) => match self.node(node) {
                    Some(node) => format!("the node {}", IpAddr::from(node)),
                    None => format!("node number {node}"),
                },
                (None, _) => "of no known kind".to_owned(),
            },
        };
        let key = format!("{} in {}", IpAddr::from(address), network(net));
        self.note("endpoints", key, shown);
        found
    }

    /// Out of the tunnel.
    pub(super) fn node_sends(
        &mut self,
        net: NetId,
        from: IpAddr,
        backend: u32,
    ) -> Result<Outcome, Stop> {
        let settings = self.settings()?;
        if net == settings.ingress_net {
            return self.arrive(net, from, backend);
        }
        let sender = self.endpoint(net, self.source());
        let sender = sender.ok_or_else(|| self.stranger(net, from))?;
        let home = self.node(sender.vtep).map(IpAddr::from);
        if sender.vtep == 0 || home != Some(from) {
            let reason = self.stranger(net, from);
            let is_node = reason != DropReason::UnknownVtep;
            return Err(if is_node {
                DropReason::SpoofedInner.into()
            } else {
                reason.into()
            });
        }
        let mut target = self.destination();
        if sender.flags & endpoint::BACKS != 0
            && let Some(client) = self.reply(net, self.source())?
        {
            target = client;
        }
        let task = self.endpoint(net, target).ok_or(DropReason::NoEndpoint)?;
        if task.vtep != 0 || EndpointKind::from_u8(task.kind) != Some(EndpointKind::Task) {
            return Err(DropReason::NotLocal.into());
        }
        self.deliver(net, &task)
    }

    /// Why a packet with an unknown inner source is refused.
    fn stranger(&self, net: NetId, from: IpAddr) -> DropReason {
        if self.tables.node_number(from.into()).is_none() {
            DropReason::UnknownVtep
        } else if self.tables.network(net).is_none() {
            DropReason::UnknownVni
        } else {
            DropReason::SpoofedInner
        }
    }
}
