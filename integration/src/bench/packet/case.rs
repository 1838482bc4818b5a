//! The packets whose way through the programs is measured.

use abi::{Address, FlowKey, Mesh, MeshDirection, ROUTER_MAC, Seen, protocol, tcp};
use anyhow::{Result, bail};

use super::scene::{self, Who};
use crate::lab::Family;
use crate::testrun::{FlowTable, Kernel, Packet, Program, action};

const CLIENT_PORT: u16 = 40_000;
/// Of a service that has nothing to do with netd.
const OWN_PORT: u16 = 22;
const PAYLOAD: usize = 6;

/// One packet's way.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// What it is called.
    pub(super) variant: String,
    pub(super) program: Program,
    pub(super) packet: Packet,
    /// What the program returns.
    pub(super) action: i32,
    /// What opened the flow that the packet belongs to.
    opening: Option<(Program, Packet)>,
}

/// Where packets are, and whose they are.
#[derive(Clone, Copy)]
struct Place {
    program: Program,
    ifindex: u32,
    origin: [u32; 2],
}

/// One end of a connection.
type End = (Who, u16);

const CLIENT: Place = task(scene::CLIENT);
const NEAR: Place = task(scene::NEAR);
const GATEWAY: Place = task(scene::GATEWAY);
const UPLINK: Place = Place {
    program: Program::FromUplink,
    ifindex: scene::UPLINK,
    origin: [0, 0],
};
const OVERLAY: Place = Place {
    program: Program::FromOverlay,
    ifindex: scene::UPLINK,
    origin: [scene::NET.0, scene::OTHER],
};
const MESH: Place = Place {
    program: Program::FromOverlay,
    ifindex: scene::UPLINK,
    origin: [scene::INGRESS.0, scene::OTHER],
};

const fn task(ifindex: u32) -> Place {
    Place {
        program: Program::FromTask,
        ifindex,
        origin: [0, 0],
    }
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    Family::BOTH.into_iter().flat_map(of).collect()
}

fn of(family: Family) -> Vec<Case> {
    let client = (Who::Client, CLIENT_PORT);
    let outsider = (Who::Outsider, CLIENT_PORT);
    let at = |who, port| (who, port);
    let case = |variant: &str, place: Place, from: End, to: End| Case {
        variant: match family {
            Family::V4 => variant.to_owned(),
            Family::V6 => format!("{variant}-v6"),
        },
        program: place.program,
        packet: packet(place, family, from, to, tcp::ACK),
        action: action::REDIRECT,
        opening: None,
    };
    let opened = |case: Case, place: Place, from: End, to: End| Case {
        opening: Some((place.program, packet(place, family, from, to, tcp::SYN))),
        ..case
    };
    let same = |variant: &str, place: Place, from: End, to: End| {
        opened(case(variant, place, from, to), place, from, to)
    };
    let (near_vip, far_vip) = (
        at(Who::NearVip, scene::VIP_PORT),
        at(Who::FarVip, scene::VIP_PORT),
    );
    let (near, far) = (
        at(Who::Near, scene::TASK_PORT),
        at(Who::Far, scene::TASK_PORT),
    );
    let (near_port, far_port) = (
        at(Who::Node, scene::NEAR_PORT),
        at(Who::Node, scene::FAR_PORT),
    );
    let near_ingress = at(Who::NearIngress, scene::TASK_PORT);
    let elsewhere = at(Who::OtherNode, scene::NEAR_PORT);
    vec![
        case(
            "direct-local",
            CLIENT,
            client,
            at(Who::Idle, scene::TASK_PORT),
        ),
        case(
            "direct-remote",
            CLIENT,
            client,
            at(Who::FarIdle, scene::TASK_PORT),
        ),
        case(
            "direct-arrives",
            OVERLAY,
            at(Who::FarIdle, scene::TASK_PORT),
            client,
        ),
        same("vip-local", CLIENT, client, near_vip),
        same("vip-remote", CLIENT, client, far_vip),
        opened(
            case("vip-reply-local", NEAR, near, client),
            CLIENT,
            client,
            near_vip,
        ),
        opened(
            case("vip-reply-arrives", OVERLAY, far, client),
            CLIENT,
            client,
            far_vip,
        ),
        same("ingress-local", UPLINK, outsider, near_port),
        same("ingress-remote", UPLINK, outsider, far_port),
        same("ingress-arrives", MESH, outsider, elsewhere),
        opened(
            case("ingress-reply", GATEWAY, near_ingress, outsider),
            UPLINK,
            outsider,
            near_port,
        ),
        Case {
            action: action::PASS,
            ..case("uplink-other", UPLINK, outsider, at(Who::Node, OWN_PORT))
        },
    ]
}

impl Case {
    /// Fills the tables, establishes the flow, and checks that the packet goes where it should.
    pub(super) fn prepare(&self, kernel: &mut Kernel) -> Result<()> {
        kernel.tables.fill(&scene::contents())?;
        if let Some((program, packet)) = &self.opening {
            self.expect(kernel.run(*program, packet)?.action, action::REDIRECT)?;
            for (key, mut flow) in kernel.tables.flows(FlowTable::Opening)? {
                flow.seen |= Seen::REPLIED;
                kernel.tables.set_flow(FlowTable::Settled, &key, &flow)?;
            }
        }
        let before = flows(kernel)?;
        self.expect(kernel.run(self.program, &self.packet)?.action, self.action)?;
        if flows(kernel)? != before {
            bail!("{}: the packet does not belong to the flow", self.variant);
        }
        Ok(())
    }

    fn expect(&self, seen: i32, wanted: i32) -> Result<()> {
        if seen != wanted {
            bail!(
                "{}: the program returned {seen}, not {wanted}",
                self.variant
            );
        }
        Ok(())
    }
}

fn flows(kernel: &Kernel) -> Result<Vec<FlowKey>> {
    let flows = kernel.tables.flows(FlowTable::Settled)?;
    Ok(flows.into_keys().collect())
}

fn packet(place: Place, family: Family, from: End, to: End, flags: u8) -> Packet {
    let mut frame = if place.origin[0] == scene::INGRESS.0 {
        let mesh = Mesh {
            backend: scene::near_backend(family),
            second: 0,
            direction: MeshDirection::Forward,
        };
        mesh.to_addresses().to_vec()
    } else {
        [ROUTER_MAC, [0x02, 0, 0, 0, 0, 1]].concat()
    };
    let (source, destination) = (scene::address(from.0, family), scene::address(to.0, family));
    match family {
        Family::V4 => frame.extend(ipv4(source, destination)),
        Family::V6 => frame.extend(ipv6(source, destination)),
    }
    frame.extend(from.1.to_be_bytes());
    frame.extend(to.1.to_be_bytes());
    // Sequence numbers, length of the header, flags, window, and a checksum that nobody checks.
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend([b'.'; PAYLOAD]);
    Packet {
        frame,
        ifindex: place.ifindex,
        origin: place.origin,
        ..Packet::default()
    }
}

fn ipv4(source: Address, destination: Address) -> Vec<u8> {
    let length = [0, 40 + u8::try_from(PAYLOAD).unwrap_or(0)];
    let mut header = vec![0x08, 0x00, 0x45, 0];
    header.extend(length);
    header.extend([0, 0, 0x40, 0, 64, protocol::TCP, 0, 0]);
    header.extend(source.v4_word().to_ne_bytes());
    header.extend(destination.v4_word().to_ne_bytes());
    header
}

fn ipv6(source: Address, destination: Address) -> Vec<u8> {
    let length = [0, 20 + u8::try_from(PAYLOAD).unwrap_or(0)];
    let mut header = vec![0x86, 0xdd, 0x60, 0, 0, 0];
    header.extend(length);
    header.extend([protocol::TCP, 64]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}
