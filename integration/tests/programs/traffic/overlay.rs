//! What other nodes send: packets of their tasks, and frames of the mesh.

use abi::{Address, FlowKey, NetId};
use integration::testrun::Packet;

use super::errors::{self, About};
use super::{known, sketch, tcp_flags, vary};
use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::oracle::flows::{FORWARD, REVERSE};
use crate::sketch::{self as frames, Sketch};
use crate::world::{INGRESS, NETWORK, NODE_HOST, NODES, OUTSIDE, World, pair};

pub(super) fn packet(
    dice: &mut Dice,
    world: &World,
    oracle: &Oracle,
    packet: &mut Packet,
    family: usize,
) {
    if dice.chance(50) {
        return from_mesh(dice, world, oracle, packet, family);
    }
    let is_v4 = |address: &Address| address.is_v4() == (family == 0);
    let senders: Vec<_> = world
        .remote
        .iter()
        .filter(|(key, _)| is_v4(&key.address) && key.net != world.ingress)
        .collect();
    let Some((sender, node)) = senders.get(dice.below(senders.len().max(1))) else {
        return from_mesh(dice, world, oracle, packet, family);
    };
    let node = if dice.chance(5) {
        dice.word() % 9
    } else {
        *node
    };
    let net = if dice.chance(4) {
        dice.word() % (1 << 24)
    } else {
        sender.net.0
    };
    packet.origin = [net, node];
    let reply = |key: &FlowKey| {
        key.side == REVERSE && key.net == sender.net && key.server == sender.address
    };
    if dice.chance(50)
        && let Some(sketch) = known(dice, oracle, false, reply)
    {
        packet.frame = sketch.frame();
        return;
    }
    if dice.chance(15)
        && let Some(sketch) = errors::known(dice, oracle, About::Request, reply)
    {
        packet.frame = sketch.frame();
        return;
    }
    let source = if dice.chance(5) {
        pair(NETWORK, dice.byte() % 20)[family]
    } else {
        sender.address
    };
    let target = pair(NETWORK, dice.byte() % 18)[family];
    packet.frame = sketch(dice, source, target).frame();
    if dice.chance(2) {
        packet.frame = frames::arp(1, source, target);
    }
}

fn from_mesh(dice: &mut Dice, world: &World, oracle: &Oracle, packet: &mut Packet, family: usize) {
    let node = if dice.chance(5) {
        dice.word() % 9
    } else {
        1 + dice.word() % 3
    };
    packet.origin = [world.ingress.0, node];
    if dice.chance(10) {
        // No frame of the mesh: a node's own process and a task.
        let other = NODE_HOST + u8::try_from(node % 4).unwrap();
        let hosts = [
            other,
            NODE_HOST,
            20 + dice.byte() % 7,
            18 + dice.byte() % 18,
        ];
        let (from, to) = (dice.of(&hosts), dice.of(&hosts));
        packet.frame = sketch(dice, pair(INGRESS, from)[family], pair(INGRESS, to)[family]).frame();
        return;
    }
    let backends = &world.contents.backends;
    let is_v4 = |address: &Address| address.is_v4() == (family == 0);
    let near = dice.chance(80);
    let is_ours = |id: &&u32| {
        let backend = &backends[id];
        backend.net == world.ingress && (backend.vtep == 0) == near && is_v4(&backend.address)
    };
    let ids: Vec<u32> = backends.keys().filter(is_ours).copied().collect();
    let all: Vec<u32> = backends.keys().copied().collect();
    let mut backend = dice.of(if ids.is_empty() { &all } else { &ids });
    let outside = pair(OUTSIDE, dice.byte() % 4)[family];
    let mut direction = u8::from(dice.chance(10));
    let mut sketch = if direction == 0 {
        let frontend = pair(NODES, 11 + dice.byte() % 3)[family];
        let again = |key: &FlowKey| key.side == REVERSE && key.net == world.ingress;
        match known(dice, oracle, true, again) {
            // The same client, perhaps of the same backend, perhaps by another frontend.
            Some(sketch) if dice.chance(40) => {
                let dport = dice.of(&[sketch.dport, 8080, 53]);
                let destination = if is_v4(&sketch.source) {
                    frontend
                } else {
                    sketch.destination
                };
                Sketch {
                    destination,
                    dport,
                    ..sketch
                }
            }
            _ => sketch(dice, outside, frontend),
        }
    } else {
        sketch(dice, pair(NODES, 10)[family], outside)
    };
    if dice.chance(35) {
        let replied = |key: &FlowKey| key.side == FORWARD && key.net == world.ingress;
        if let Some(reply) = known(dice, oracle, false, replied) {
            direction = 1;
            if dice.chance(80) {
                packet.origin[1] = home(oracle, &reply, world.ingress).unwrap_or(node);
            }
            sketch = reply;
        }
    } else if dice.chance(15) {
        if let Some(found) = error(dice, oracle, world.ingress, &mut packet.origin[1]) {
            (backend, sketch, direction) = found;
        }
    } else if dice.chance(40) {
        let (found, again) =
            repeat(dice, oracle, world.ingress).unwrap_or((backend, sketch.clone()));
        (backend, sketch, direction) = (found, again, 0);
    }
    if direction == 0 && dice.chance(50) {
        direction = dice.of(&[2, 3]);
    }
    if dice.chance(5) {
        let other = dice.of(&all);
        backend = dice.of(&[other, other ^ 1]);
    }
    let [a, b, c, d] = backend.to_be_bytes();
    // Another backend, or another node.
    let second = match (direction, dice.chance(30)) {
        (_, false) => 0,
        (0 | 2, true) => dice.of(&all),
        (_, true) => dice.word() % 6,
    };
    let [e, f, g, h] = second.to_be_bytes();
    sketch.link = [2, 1, a, b, c, d, 6, direction, e, f, g, h];
    if dice.chance(3) {
        let at = dice.below(12);
        sketch.link[at] = dice.byte();
    }
    packet.frame = sketch.frame();
}

/// The node that a flow of the mesh, of which this is a reply, goes to.
fn home(oracle: &Oracle, reply: &Sketch, net: NetId) -> Option<u32> {
    let key = FlowKey {
        net,
        client: reply.destination,
        server: reply.source,
        client_port: reply.dport,
        server_port: reply.sport,
        protocol: reply.protocol,
        side: FORWARD,
        reserved: 0,
    };
    let (_, entry) = oracle.flows.find(&key)?;
    Some(entry.flow.delivery.target)
}

/// An error about a packet of a flow of the mesh: from the client's side about an answer, or from the
/// backend's node about what the client has sent.
fn error(
    dice: &mut Dice,
    oracle: &Oracle,
    net: NetId,
    node: &mut u32,
) -> Option<(u32, Sketch, u8)> {
    if dice.chance(50) {
        let (backend, request) = repeat(dice, oracle, net)?;
        let (client, server) = (
            (request.source, request.sport),
            (request.destination, request.dport),
        );
        let answer = Sketch::new(server, client, request.protocol);
        return Some((backend, errors::error(dice, client.0, server.0, answer), 0));
    }
    let asked = |key: &FlowKey| key.side == FORWARD && key.net == net;
    let request = known(dice, oracle, true, asked)?;
    let (client, server) = (
        (request.source, request.sport),
        (request.destination, request.dport),
    );
    let reply = Sketch::new(server, client, request.protocol);
    if dice.chance(80) {
        *node = home(oracle, &reply, net).unwrap_or(*node);
    }
    let quoted = Sketch::new(client, server, request.protocol);
    Some((1, errors::error(dice, server.0, client.0, quoted), 1))
}

/// One more packet of a client whose flow came through the mesh, and its backend.
fn repeat(dice: &mut Dice, oracle: &Oracle, net: NetId) -> Option<(u32, Sketch)> {
    let tables = [&oracle.flows.settled, &oracle.flows.opening];
    let all = tables.iter().flat_map(|table| table.iter());
    let came = |key: &FlowKey, via: u32| key.side == REVERSE && key.net == net && via != 0;
    let flows: Vec<_> = all
        .filter(|(key, entry)| came(key, entry.flow.via))
        .collect();
    let (key, entry) = flows.get(dice.below(flows.len().max(1)))?;
    let frontend = (entry.flow.peer, entry.flow.peer_port);
    let mut sketch = Sketch::new((key.client, key.client_port), frontend, key.protocol);
    sketch.kind = tcp_flags(dice);
    vary(dice, &mut sketch);
    Some((entry.flow.backend, sketch))
}
