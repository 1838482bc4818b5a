//! The ledger: what users of other data planes lost hours to, packet by packet. The numbers are those
//! of the projects' issues.
//!
//! | theme | issues | test |
//! |---|---|---|
//! | errors that end at the translation | cilium 12968, 34380, 47755, 48291; calico 8854 | `errors`; random errors in every lane |
//! | errors that quote eight octets of TCP | katran 159 | [`an_error_needs_no_more_than_eight_octets`] |
//! | too big from an address that nobody knows | calico 4439, 10640; cilium 21262, 33844 | `errors` |
//! | one client, one port, two ways to one backend | felix 2983; cilium 16826, 23604, 33723 | `collisions`, [`two_live_connections_keep_apart`] |
//! | strays that leave phantom flows | cilium 3239, 8740, 12686, 24551, 47425 | [`strays_leave_no_flow`] |
//! | ports that are used again by another frontend | cilium 18632, 20407 | [`a_port_used_again_belongs_to_the_new_frontend`] |
//! | a task that dials itself | cilium 7150, 13420, 26733, 35371, 42460 | `reachability` |
//! | segments and checksums left to devices | calico 7040, 9433, 11252, 11627; cilium 15485, 26300; moby 41775 | `offloads`; the padding of every "too big" |
//! | fragments | calico 8821 | `reachability` (datagrams of 3,000 bytes); random pieces in every lane |
//! | the client's address | moby 25526, 26625, 27143 | `reachability` |

use anyhow::{Context, Result, ensure};
use integration::testrun::{FlowTable, Packet, Program};

use crate::connection::{
    ACK, FIN, Node, RST, Road, SYN, SYN_ACK, Side, from_the_mesh, on_every_road,
};
use crate::oracle::flows::REVERSE;
use crate::sketch::Sketch;
use crate::world::{NODES, OUTSIDE, pair};

const TCP: u8 = 6;
const UDP: u8 = 17;

#[test]
fn strays_leave_no_flow() -> Result<()> {
    on_every_road("strays", TCP, |node, road| {
        for flags in [FIN, RST, 0x14] {
            node.try_send(&road.client, TCP, flags)?;
            for table in [FlowTable::Settled, FlowTable::Opening] {
                let flows = node.kernel.tables.flows(table)?;
                ensure!(flows.is_empty(), "flags {flags:#x} left {flows:?}");
            }
        }
        Ok(())
    })
}

/// A client's packet through the mesh to the near backend, by a frontend of node `node`.
fn arrival(family: usize, node: u8) -> Side {
    let base = 4 * u32::try_from(family).unwrap();
    let client = (pair(OUTSIDE, 1)[family], 1000);
    from_the_mesh(base + 3, client, (pair(NODES, node)[family], 81))
}

/// Whether the client's packets come by another node.
fn is_arrival(road: &Road) -> bool {
    road.client.program == Program::FromOverlay
}

#[test]
fn a_port_used_again_belongs_to_the_new_frontend() -> Result<()> {
    on_every_road("again", TCP, |node, road| {
        if !is_arrival(road) {
            return Ok(());
        }
        let family = usize::from(!road.client.from.0.is_v4());
        let (one, other) = (arrival(family, 11), arrival(family, 12));
        for client in [&one, &other] {
            // The answers' source is checked with the rest of the frame.
            node.send(client, TCP, SYN)?;
            node.send(&road.server, TCP, SYN_ACK)?;
            node.send(client, TCP, FIN)?;
            node.send(&road.server, TCP, FIN)?;
        }
        let opening = node.kernel.tables.flows(FlowTable::Opening)?;
        let flow = opening.values().next().context("a flow")?;
        ensure!(flow.peer == other.to.0 && opening.len() == 1, "{opening:?}");
        Ok(())
    })
}

#[test]
fn what_comes_long_after_the_end_is_of_no_connection() -> Result<()> {
    on_every_road("late", TCP, |node, road| {
        node.send(&road.client, TCP, SYN)?;
        node.send(&road.server, TCP, SYN_ACK)?;
        node.send(&road.client, TCP, FIN)?;
        node.send(&road.server, TCP, FIN)?;
        // The last acknowledgement, and one that has been on its way for ever.
        node.send(&road.client, TCP, ACK)?;
        node.rest(13)?;
        node.try_send(&road.client, TCP, ACK)?;
        Ok(())
    })
}

#[test]
fn two_live_connections_keep_apart() -> Result<()> {
    on_every_road("apart", TCP, |node, road| {
        if !is_arrival(road) {
            return Ok(());
        }
        let family = usize::from(!road.client.from.0.is_v4());
        let (one, other) = (arrival(family, 11), arrival(family, 12));
        node.send(&one, TCP, SYN)?;
        node.send(&road.server, TCP, SYN_ACK)?;
        let became = node.try_send(&other, TCP, SYN)?;
        ensure!(became == "sent renumbered", "the second is {became}");
        let opening = node.kernel.tables.flows(FlowTable::Opening)?;
        let (key, _) = opening
            .iter()
            .find(|(key, _)| key.side == REVERSE)
            .context("no second flow")?;
        let second = Side {
            to: (key.client, key.client_port),
            ..road.server
        };
        node.send(&second, TCP, SYN_ACK)?;
        for _ in 0..3 {
            node.send(&one, TCP, ACK)?;
            node.send(&road.server, TCP, ACK)?;
            ensure!(
                node.try_send(&other, TCP, ACK)? == "sent renumbered",
                "lost"
            );
            node.send(&second, TCP, ACK)?;
        }
        node.send(&one, TCP, FIN)?;
        node.send(&road.server, TCP, FIN)?;
        // The first one is over; the second one keeps its port.
        ensure!(
            node.try_send(&other, TCP, ACK)? == "sent renumbered",
            "lost"
        );
        node.send(&second, TCP, ACK)
    })
}

#[test]
fn an_error_needs_no_more_than_eight_octets() -> Result<()> {
    for protocol in [TCP, UDP] {
        on_every_road("eight", protocol, |node, road| {
            let (client, server) = (&road.client, &road.server);
            node.send(client, protocol, SYN)?;
            node.send(server, protocol, SYN_ACK)?;
            let before = node.kernel.tables.flows(FlowTable::Settled)?;
            // From each side, about what the other has sent.
            for side in [client, server] {
                let became = node.complain(side, protocol)?;
                ensure!(
                    became == "sent an error" || became == "sent as it was",
                    "{became}"
                );
            }
            let after = node.kernel.tables.flows(FlowTable::Settled)?;
            ensure!(before == after, "an error touched a flow");
            Ok(())
        })?;
    }
    Ok(())
}

impl Node {
    /// Sends an error about what this side was sent, with eight octets of its transport header.
    fn complain(&mut self, side: &Side, protocol: u8) -> Result<&'static str> {
        let quoted = Sketch::new(side.to, side.from, protocol).frame();
        let is_v4 = side.from.0.is_v4();
        let header = if is_v4 { 20 } else { 40 };
        let mut error = Sketch::new((side.from.0, 0), (side.to.0, 0), if is_v4 { 1 } else { 58 });
        error.kind = if is_v4 { 3 } else { 1 };
        error.payload = quoted[14..14 + header + 8].to_vec();
        error.link = side.link.unwrap_or(error.link);
        let packet = Packet {
            frame: error.frame(),
            ifindex: side.ifindex,
            origin: side.origin,
            ..Packet::default()
        };
        self.pass(side, &packet)
    }
}
