//! What a cluster is without netd: on each node a bridge and a subnet of its own, a VXLAN device and
//! routes to the other's, services by nftables as kube-proxy writes them, or by haproxy. IPv4.

mod firewall;
mod proxy;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};

pub(super) use self::firewall::translate;
pub(super) use self::proxy::relay;
use super::fabric::Fabric;
use crate::lab::Family;
use crate::{command, netns};

/// UDP port of its VXLAN.
const PORT: u16 = 4789;
const VNI: u32 = 78;
const MTU: u32 = 1450;

/// A task of the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pod {
    /// The task, whose namespace exists.
    pub(super) task: &'static str,
    /// Which of the two nodes it is on, 0 or 1.
    pub(super) node: u8,
    /// The last byte of its address.
    pub(super) host: u8,
}

/// Who stands for whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// What is dialled: an address, or none for a port of the node.
    pub(super) address: Option<Ipv4Addr>,
    pub(super) port: u16,
    pub(super) backend: SocketAddrV4,
}

impl Pod {
    pub(super) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 78, self.node + 1, self.host)
    }

    /// As [`Fabric::path`] wants it.
    pub(super) fn target(&self, port: u16) -> (Option<IpAddr>, u16) {
        (Some(self.address().into()), port)
    }

    pub(super) fn at(&self, port: u16) -> SocketAddrV4 {
        SocketAddrV4::new(self.address(), port)
    }
}

/// Connects two nodes and their tasks.
pub(super) fn connect(fabric: &Fabric, nodes: [&str; 2], pods: &[Pod]) -> Result<()> {
    for (own, other) in [(0, 1), (1, 0)] {
        let name = nodes[usize::from(own)];
        route(fabric, (own, name), (other, nodes[usize::from(other)]))
            .with_context(|| format!("connect {name} by routes and VXLAN"))?;
    }
    for pod in pods {
        attach(fabric, nodes[usize::from(pod.node)], pod)
            .with_context(|| format!("attach {} to a bridge", pod.task))?;
    }
    Ok(())
}

fn route(fabric: &Fabric, (own, name): (u8, &str), (other, peer): (u8, &str)) -> Result<()> {
    let lab = fabric.lab();
    let underlay = |node: &str| {
        let entry = lab.document().node(node);
        entry
            .and_then(|entry| Family::V4.of(&entry.addresses))
            .with_context(|| format!("no address of {node}"))
    };
    let (local, remote) = (underlay(name)?, underlay(peer)?);
    let node = lab.namespace(name);
    let (subnet, far) = (own + 1, other + 1);
    let devices = format!(
        "link add br78 mtu {MTU} type bridge mcast_snooping 0\n\
         link add vx78 address 02:78:00:00:00:{subnet:02x} mtu {MTU} type vxlan id {VNI} \
         local {local} dstport {PORT} nolearning noudpcsum\n\
         addr add 10.78.{subnet}.1/24 dev br78\n\
         addr add 10.78.{subnet}.0/32 dev vx78\n\
         link set br78 up\n\
         link set vx78 up\n\
         neigh add 10.78.{far}.0 lladdr 02:78:00:00:00:{far:02x} dev vx78 nud permanent\n\
         route add 10.78.{far}.0/24 via 10.78.{far}.0 dev vx78 onlink\n"
    );
    command::ip_batch(Some(&node), &devices)?;
    let (mac, remote) = (format!("02:78:00:00:00:{far:02x}"), remote.to_string());
    let words = [
        "-n", &node, "fdb", "add", &mac, "dev", "vx78", "dst", &remote, "self", "static",
    ];
    command::run("bridge", &words)?;
    netns::inside(&node, || {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("forward")
    })?
}

fn attach(fabric: &Fabric, node: &str, pod: &Pod) -> Result<()> {
    let lab = fabric.lab();
    let (node, task) = (lab.namespace(node), lab.namespace(pod.task));
    let (subnet, host) = (pod.node + 1, pod.host);
    let outside = format!(
        "link add ve78-{host} mtu {MTU} type veth peer name eth0 mtu {MTU} netns {task}\n\
         link set ve78-{host} master br78\n\
         link set ve78-{host} up\n"
    );
    command::ip_batch(Some(&node), &outside)?;
    let address = pod.address();
    let inside = format!(
        "link set eth0 up\n\
         addr add {address}/24 dev eth0\n\
         route add default via 10.78.{subnet}.1\n"
    );
    command::ip_batch(Some(&task), &inside).map(drop)
}
