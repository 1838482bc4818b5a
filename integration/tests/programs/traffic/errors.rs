//! ICMP errors about packets of flows, and about packets of none.

use abi::{Address, FlowKey};

use super::vary;
use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::sketch::Sketch;

/// Whose packet is quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    /// The client's, as `server` got it.
    Request,
    /// The server's, as the client got it.
    Answer,
}

/// An error about a packet of a flow whose key `wanted` likes, usually from who got that.
pub(super) fn known(
    dice: &mut Dice,
    oracle: &Oracle,
    about: About,
    wanted: impl Fn(&FlowKey) -> bool,
) -> Option<Sketch> {
    let tables = [&oracle.flows.settled, &oracle.flows.opening];
    let all = tables.iter().flat_map(|table| table.keys());
    let keys: Vec<&FlowKey> = all.filter(|key| wanted(key)).collect();
    let key = keys.get(dice.below(keys.len().max(1)))?;
    let client = (key.client, key.client_port);
    let server = (key.server, key.server_port);
    let (from, to) = match about {
        About::Request => (client, server),
        About::Answer => (server, client),
    };
    let quoted = Sketch::new(from, to, key.protocol);
    Some(error(dice, to.0, from.0, quoted))
}

/// An error that quotes the beginning of a packet, seldom less than it must.
pub(super) fn error(dice: &mut Dice, from: Address, to: Address, mut quoted: Sketch) -> Sketch {
    vary(dice, &mut quoted);
    if !dice.chance(15) {
        quoted.options = 0;
        quoted.extensions.clear();
        quoted.part = None;
    }
    if dice.chance(5) {
        quoted.dport ^= 1;
    }
    // Somebody else's.
    if dice.chance(5) {
        quoted.destination.words[3] ^= 1u32.to_be();
    }
    let packet = quoted.frame().split_off(14);
    let header = if from.is_v4() { 20 } else { 40 } + usize::from(quoted.options) * 4;
    let length = match dice.below(10) {
        0 => dice.below(packet.len() + 1),
        1..=3 => packet.len(),
        _ => header + 8,
    };
    let protocol = if from.is_v4() { 1 } else { 58 };
    let mut sketch = Sketch::new((from, 0), (to, 0), protocol);
    let any = dice.byte();
    sketch.kind = if from.is_v4() {
        dice.of(&[3, 3, 3, 11, 12, 4, 5, any])
    } else {
        dice.of(&[1, 2, 3, 4, 1, 2, 5, any])
    };
    sketch.payload = packet[..length.min(packet.len())].to_vec();
    if dice.chance(3) {
        sketch.options = 1;
    }
    sketch
}
