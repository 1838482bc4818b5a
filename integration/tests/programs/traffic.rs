//! What is sent: mostly packets that mean something to the tables at hand, often of flows that
//! exist, and often spoiled.

mod errors;
mod overlay;
mod wrapped;

use abi::{Address, FlowKey, Iface};
use integration::testrun::{Packet, Program};

use errors::About;

use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::oracle::flows::{FORWARD, REVERSE};
use crate::sketch::{self, Part, Sketch};
use crate::spoil;
use crate::world::{
    INGRESS, NETWORK, NODE_HOST, NODES, OUTSIDE, POOL, PORTS, TUNNEL_PORT, UPLINK, World, pair,
};

/// Where packets enter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// A task's attachment to a network.
    Network,
    /// A task's gateway attachment.
    Gateway,
    /// Out of the node's stack to a task.
    ToTask,
    /// Out of the tunnel.
    Overlay,
    /// From outside.
    Uplink,
    /// Out of the tunnel, still wrapped.
    Wrapped,
}

impl Lane {
    const ALL: [Self; 6] = [
        Self::Network,
        Self::Gateway,
        Self::ToTask,
        Self::Overlay,
        Self::Uplink,
        Self::Wrapped,
    ];

    pub(crate) const fn program(self) -> Program {
        match self {
            Self::Network | Self::Gateway => Program::FromTask,
            Self::ToTask => Program::ToTask,
            Self::Overlay => Program::FromOverlay,
            Self::Uplink | Self::Wrapped => Program::FromUplink,
        }
    }
}

/// A lane for the next packet: usually `main`, now and then another one, which leaves flows behind.
pub(crate) fn lane(dice: &mut Dice, main: Lane) -> Lane {
    if dice.chance(75) {
        main
    } else {
        dice.of(&Lane::ALL)
    }
}

/// The next packet on a lane.
pub(crate) fn packet(dice: &mut Dice, world: &World, oracle: &Oracle, lane: Lane) -> Packet {
    let mut packet = Packet {
        ifindex: UPLINK,
        mark: if dice.chance(10) {
            0x6e65_7464
        } else {
            dice.word() % 3
        },
        gso_size: if dice.chance(5) { 100 } else { 0 },
        ..Packet::default()
    };
    let family = dice.below(2);
    match lane {
        Lane::Network => {
            let Some(iface) = interface(dice, &mut packet, &world.inside, world) else {
                return stray(dice, packet);
            };
            packet.frame = from_network(dice, world, oracle, &iface, family);
            if dice.chance(8)
                && let Some(own) = world.own
            {
                packet.ifindex = own;
                packet.frame = from_node(dice, family);
            }
        }
        Lane::Gateway => {
            let Some(iface) = interface(dice, &mut packet, &world.gateways, world) else {
                return stray(dice, packet);
            };
            packet.frame = from_gateway(dice, oracle, world, &iface, family);
        }
        Lane::ToTask => {
            let both = [&world.inside[..], &world.gateways[..]].concat();
            let Some(iface) = interface(dice, &mut packet, &both, world) else {
                return stray(dice, packet);
            };
            packet.frame = to_task(dice, &iface, family);
        }
        Lane::Overlay | Lane::Wrapped => {
            overlay::packet(dice, world, oracle, &mut packet, family);
            packet.is_marked = lane == Lane::Overlay && packet.gso_size == 0 && dice.chance(40);
        }
        Lane::Uplink => packet.frame = from_uplink(dice, world, oracle, family),
    }
    if dice.chance(12) {
        spoil::frame(dice, &mut packet.frame);
    } else if dice.chance(10) {
        spoil::unfinished(&mut packet.frame);
    }
    lengthen(&mut packet.frame);
    if lane == Lane::Wrapped {
        wrapped::wrap(dice, world, &mut packet);
    }
    packet
}

/// The kernel itself refuses to run programs on frames that end within their IP header.
fn lengthen(frame: &mut Vec<u8>) {
    let least = match frame[12..14] {
        [8, 0] => 34,
        [0x86, 0xdd] => 54,
        _ => 15,
    };
    frame.resize(frame.len().max(least), 0);
}

/// A packet on an interface that is in no table.
fn stray(dice: &mut Dice, mut packet: Packet) -> Packet {
    packet.ifindex = dice.of(&[1, UPLINK]);
    let source = (pair(NETWORK, 10)[0], 1);
    packet.frame = Sketch::udp(source, (pair(NETWORK, 11)[0], 1)).frame();
    packet
}

fn interface(
    dice: &mut Dice,
    packet: &mut Packet,
    choices: &[u32],
    world: &World,
) -> Option<Iface> {
    if choices.is_empty() || dice.chance(1) {
        return None;
    }
    packet.ifindex = dice.of(choices);
    world.contents.ifaces.get(&packet.ifindex).copied()
}

fn client_port(dice: &mut Dice) -> u16 {
    1000 + u16::from(dice.byte() % 6)
}

fn tcp_flags(dice: &mut Dice) -> u8 {
    let any = dice.byte();
    dice.of(&[
        0x02, 0x02, 0x02, 0x02, 0x10, 0x18, 0x11, 0x14, 0x04, 0x12, 0x03, any,
    ])
}

/// A sketch with the usual variety: protocols, options, extension headers, pieces.
fn sketch(dice: &mut Dice, source: Address, destination: Address) -> Sketch {
    let protocol = dice.of(&[6, 6, 6, 6, 17, 17, 17, 1, 58, 47]);
    let from = (source, client_port(dice));
    let mut sketch = Sketch::new(from, (destination, dice.of(&PORTS)), protocol);
    sketch.kind = match protocol {
        6 => tcp_flags(dice),
        1 => dice.of(&[8, 8, 0, 3, 11]),
        _ => dice.of(&[128, 128, 129, 1, 133, 136, 143]),
    };
    vary(dice, &mut sketch);
    sketch
}

fn vary(dice: &mut Dice, sketch: &mut Sketch) {
    // Frames about as long as the smallest tunnel carries, and others.
    let edge = 232 + dice.below(48);
    let length = dice.of(&[0, 1, 9, 64, 333, edge]);
    sketch.payload = (0..length).map(|_| dice.byte()).collect();
    sketch.ttl = dice.of(&[1, 64, 255]);
    sketch.bare = dice.chance(10);
    if dice.chance(8) {
        sketch.options = 1 + dice.byte() % 10;
    }
    if dice.chance(30) {
        sketch.tcp_options = tcp_options(dice);
    }
    if dice.chance(8) {
        let count = 1 + dice.below(7);
        let header = |dice: &mut Dice| {
            let routing = [dice.of(&[0, 2, 4, 4]), 0];
            let other = [dice.byte(), dice.byte()];
            dice.of(&[(0, other), (60, other), (43, routing), (60, [1, 4])])
        };
        sketch.extensions = (0..count).map(|_| header(dice)).collect();
    }
    if dice.chance(8) {
        sketch.part = Some(Part {
            offset: dice.of(&[0, 0, 185]),
            more: dice.chance(70),
            id: 1 + dice.short() % 3,
        });
    }
}

/// Options as senders have them: a segment size somewhere, others around it; or nonsense.
fn tcp_options(dice: &mut Dice) -> Vec<u8> {
    let length = 4 * (1 + dice.below(10));
    let mut options = vec![1; length];
    let [high, low] = dice
        .of(&[1460u16, 1410, 1390, 241, 240, 200, 8960])
        .to_be_bytes();
    match dice.below(8) {
        0 => {}
        1 => options.fill_with(|| dice.byte() % 9),
        2 => options[..4].copy_from_slice(&[2, 4, high, low]),
        _ => {
            let at = dice.below(length - 3);
            options[at..at + 4].copy_from_slice(&[2, 4, high, low]);
            if at >= 3 {
                options[..3].copy_from_slice(&[3, 3, 7]);
            }
        }
    }
    options
}

/// A packet of a flow whose key `wanted` likes, from the client or from the server.
fn known(
    dice: &mut Dice,
    oracle: &Oracle,
    from_client: bool,
    wanted: impl Fn(&FlowKey) -> bool,
) -> Option<Sketch> {
    let tables = [&oracle.flows.settled, &oracle.flows.opening];
    let all = tables.iter().flat_map(|table| table.keys());
    let keys: Vec<&FlowKey> = all.filter(|key| wanted(key)).collect();
    if keys.is_empty() {
        return None;
    }
    let key = keys[dice.below(keys.len())];
    let client = (key.client, key.client_port);
    let server = (key.server, key.server_port);
    let (source, destination) = if from_client {
        (client, server)
    } else {
        (server, client)
    };
    let mut sketch = Sketch::new(source, destination, key.protocol);
    sketch.kind = tcp_flags(dice);
    vary(dice, &mut sketch);
    Some(sketch)
}

fn from_network(
    dice: &mut Dice,
    world: &World,
    oracle: &Oracle,
    iface: &Iface,
    family: usize,
) -> Vec<u8> {
    let own = pair(NETWORK, iface.mac[5])[family];
    let neighbour = pair(NETWORK, dice.byte() % 16);
    match dice.below(20) {
        0 => {
            return sketch::arp(
                dice.of(&[1, 1, 1, 2]),
                dice.of(&[iface.v4, iface.v4, Address::ANY_V4]),
                neighbour[0],
            );
        }
        1 => {
            return sketch::solicitation(
                dice.of(&[iface.v6, iface.v6, Address::default()]),
                neighbour[1],
            );
        }
        2..=6 => {
            let reply =
                |key: &FlowKey| key.side == REVERSE && key.net == iface.net && key.server == own;
            if let Some(sketch) = known(dice, oracle, false, reply) {
                return sketch.frame();
            }
        }
        7..=9 => {
            let again =
                |key: &FlowKey| key.side == FORWARD && key.net == iface.net && key.client == own;
            if let Some(sketch) = known(dice, oracle, true, again) {
                return sketch.frame();
            }
        }
        10 => {
            let reply =
                |key: &FlowKey| key.side == REVERSE && key.net == iface.net && key.server == own;
            if let Some(sketch) = errors::known(dice, oracle, About::Request, reply) {
                return sketch.frame();
            }
        }
        11 => {
            let again =
                |key: &FlowKey| key.side == FORWARD && key.net == iface.net && key.client == own;
            if let Some(sketch) = errors::known(dice, oracle, About::Answer, again) {
                return sketch.frame();
            }
        }
        _ => {}
    }
    let target = match dice.below(20) {
        0 => pair(NETWORK, 1)[family],
        1 => group(dice, family),
        2 => pair(OUTSIDE, 9)[family],
        3..=8 => neighbour[family],
        _ => {
            let wanted = |vip: &&Address| vip.is_v4() == (family == 0);
            let vips: Vec<Address> = world.vips.iter().filter(wanted).copied().collect();
            dice.of(&vips)
        }
    };
    let source = if dice.chance(5) {
        neighbour[family]
    } else {
        own
    };
    // A server with a connection of its own: from the port that it serves.
    let mut sketch = sketch(dice, source, target);
    if dice.chance(10) {
        sketch.sport = dice.of(&PORTS);
        sketch.dport = client_port(dice);
    }
    sketch.frame()
}

fn martian(which: usize, family: usize) -> Address {
    let all = [
        ["127.0.0.1", "0.0.0.0", "224.0.0.9", "255.255.255.255"],
        ["::1", "::", "ff02::9", "ff0e::1"],
    ];
    all[family][which]
        .parse::<std::net::IpAddr>()
        .unwrap()
        .into()
}

/// What the node's own processes send.
fn from_node(dice: &mut Dice, family: usize) -> Vec<u8> {
    let any = 18 + dice.byte() % 18;
    let source = dice.of(&[NODE_HOST, NODE_HOST, NODE_HOST, any]);
    let (source, target) = (pair(INGRESS, source), pair(INGRESS, 18 + dice.byte() % 18));
    if dice.chance(5) {
        return sketch::arp(1, source[0], target[0]);
    }
    sketch(dice, source[family], target[family]).frame()
}

fn group(dice: &mut Dice, family: usize) -> Address {
    let text = if family == 0 {
        dice.of(&["224.0.0.1", "255.255.255.255", "239.1.1.1", "240.0.0.1"])
    } else {
        dice.of(&["ff02::1", "ff0e::5"])
    };
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn from_gateway(
    dice: &mut Dice,
    oracle: &Oracle,
    world: &World,
    iface: &Iface,
    family: usize,
) -> Vec<u8> {
    let own = [iface.v4, iface.v6][family];
    let published = pair(INGRESS, iface.mac[5])[family];
    match dice.below(20) {
        0 => {
            return sketch::arp(
                1,
                iface.v4,
                dice.of(&[iface.v4, iface.ingress_v4, pair(POOL, 1)[0]]),
            );
        }
        1 => {
            return sketch::solicitation(
                iface.v6,
                dice.of(&[iface.v6, iface.ingress_v6, pair(POOL, 1)[1]]),
            );
        }
        2..=8 => {
            let reply = |key: &FlowKey| {
                key.side == REVERSE && key.net == world.ingress && key.server == published
            };
            if let Some(mut sketch) = known(dice, oracle, false, reply) {
                if dice.chance(20) {
                    sketch.source = own;
                }
                return sketch.frame();
            }
        }
        9..=11 => {
            let again = |key: &FlowKey| {
                key.side == FORWARD && key.net == world.ingress && key.client == own
            };
            if let Some(sketch) = known(dice, oracle, true, again) {
                return sketch.frame();
            }
        }
        12 => {
            let reply = |key: &FlowKey| {
                key.side == REVERSE && key.net == world.ingress && key.server == published
            };
            if let Some(sketch) = errors::known(dice, oracle, About::Request, reply) {
                return sketch.frame();
            }
        }
        13 => {
            let again = |key: &FlowKey| {
                key.side == FORWARD && key.net == world.ingress && key.client == own
            };
            if let Some(sketch) = errors::known(dice, oracle, About::Answer, again) {
                return sketch.frame();
            }
        }
        _ => {}
    }
    let target = match dice.below(10) {
        0 => pair(POOL, 20 + dice.byte() % 7)[family],
        1 => group(dice, family),
        2 => pair(OUTSIDE, 9)[family],
        3 => pair(NODES, 10 + dice.byte() % 4)[family],
        4 => pair(NODES, 100)[family],
        5 => pair(INGRESS, NODE_HOST - 8 + dice.byte() % 14)[family],
        _ => pair(NODES, 10)[family],
    };
    let source = if dice.chance(10) { published } else { own };
    let source = if dice.chance(4) {
        pair(POOL, dice.byte())[family]
    } else {
        source
    };
    let mut sketch = sketch(dice, source, target);
    if dice.chance(5) {
        sketch.protocol = 17;
        sketch.dport = TUNNEL_PORT;
    }
    sketch.frame()
}

fn to_task(dice: &mut Dice, iface: &Iface, family: usize) -> Vec<u8> {
    let own = [iface.v4, iface.v6][family];
    let target = match dice.below(10) {
        0 => group(dice, family),
        1 => pair(POOL, dice.byte())[family],
        2 => [iface.ingress_v4, iface.ingress_v6][family],
        _ => own,
    };
    if dice.chance(5) {
        return sketch::arp(1, pair(POOL, 1)[0], iface.v4);
    }
    let outside = pair(OUTSIDE, dice.byte())[family];
    sketch(dice, outside, target).frame()
}

fn from_uplink(dice: &mut Dice, world: &World, oracle: &Oracle, family: usize) -> Vec<u8> {
    if dice.chance(40) {
        let again = |key: &FlowKey| key.side == FORWARD && key.net == world.ingress;
        if let Some(sketch) = known(dice, oracle, true, again) {
            return sketch.frame();
        }
    }
    if dice.chance(15) {
        let again = |key: &FlowKey| key.side == FORWARD && key.net == world.ingress;
        if let Some(mut sketch) = errors::known(dice, oracle, About::Answer, again) {
            // Also from a router on the way.
            if dice.chance(30) {
                let router = pair(OUTSIDE, 77)[usize::from(!sketch.source.is_v4())];
                sketch.source = router;
            }
            return sketch.frame();
        }
    }
    let client = if dice.chance(3) {
        dice.of(&[
            martian(dice.clone().below(4), family),
            pair(NODES, 10)[family],
        ])
    } else {
        pair(OUTSIDE, dice.byte() % 4)[family]
    };
    let target = match dice.below(12) {
        0 => pair(OUTSIDE, 99)[family],
        1 => group(dice, family),
        2..=4 => pair(NODES, 100)[family],
        _ => pair(NODES, 10)[family],
    };
    let mut sketch = sketch(dice, client, target);
    if dice.chance(5) {
        sketch.protocol = 17;
        sketch.dport = TUNNEL_PORT;
    }
    sketch.frame()
}
