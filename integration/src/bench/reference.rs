//! What an overlay is without netd: a bridge and a VXLAN device on each node, a veth for each task,
//! forwarding and neighbour entries written by a controller (as Docker Swarm does).

use std::net::IpAddr;

use anyhow::{Context, Result};

use crate::command;
use crate::lab::Family;

use super::fabric::Fabric;

/// UDP port of the reference's VXLAN.
const PORT: u16 = 4789;
const VNI: u32 = 77;
const MTU: u32 = 1450;

/// One task of the reference overlay.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// The task, whose namespace exists.
    pub(super) task: &'static str,
    /// Its node.
    pub(super) node: &'static str,
    /// The last byte of its addresses.
    pub(super) host: u8,
}

impl Member {
    /// Its address in one family.
    pub(super) fn address(&self, family: Family) -> IpAddr {
        let host = self.host;
        match family {
            Family::V4 => IpAddr::from([10, 77, 0, host]),
            Family::V6 => IpAddr::from([0xFD77, 0, 0, 0, 0, 0, 0, u16::from(host)]),
        }
    }

    fn mac(&self) -> String {
        format!("02:77:00:00:00:{:02x}", self.host)
    }
}

/// Connects two tasks on two nodes.
pub(super) fn connect(fabric: &Fabric, members: &[Member; 2]) -> Result<()> {
    for (own, other) in [(0, 1), (1, 0)] {
        attach(fabric, &members[own], &members[other])
            .with_context(|| format!("connect {} by bridge and VXLAN", members[own].task))?;
    }
    Ok(())
}

fn attach(fabric: &Fabric, own: &Member, other: &Member) -> Result<()> {
    let lab = fabric.lab();
    let vtep = |node: &str| {
        let entry = lab.document().node(node);
        entry
            .and_then(|entry| Family::V4.of(&entry.addresses))
            .with_context(|| format!("no address of {node}"))
    };
    let (local, remote) = (vtep(own.node)?, vtep(other.node)?);
    let (node, task) = (lab.namespace(own.node), lab.namespace(own.task));
    let (mac, other_mac) = (own.mac(), other.mac());
    let devices = format!(
        "link add br77 mtu {MTU} type bridge mcast_snooping 0\n\
         link add vx77 mtu {MTU} type vxlan id {VNI} local {local} dstport {PORT} nolearning noudpcsum\n\
         link set vx77 master br77\n\
         link add ve77 mtu {MTU} type veth peer name eth0 mtu {MTU} address {mac} netns {task}\n\
         link set ve77 master br77\n\
         link set br77 up\n\
         link set vx77 up\n\
         link set ve77 up\n"
    );
    command::ip_batch(Some(&node), &devices)?;
    for place in ["master", "self"] {
        let mut words = vec!["-n", &node, "fdb", "add", &other_mac, "dev", "vx77", place];
        let remote = remote.to_string();
        if place == "self" {
            words.extend(["dst", &remote]);
        }
        words.extend(["static"]);
        command::run("bridge", &words)?;
    }
    let mut batch = String::from("link set eth0 up\n");
    for (family, prefix, nodad) in [(Family::V4, 24, ""), (Family::V6, 64, " nodad")] {
        let (own, other) = (own.address(family), other.address(family));
        batch.push_str(&format!("addr add {own}/{prefix} dev eth0{nodad}\n"));
        batch.push_str(&format!(
            "neigh add {other} lladdr {other_mac} dev eth0 nud permanent\n"
        ));
    }
    command::ip_batch(Some(&task), &batch).map(|_| ())
}
