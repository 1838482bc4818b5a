//! Many connections through one node at a time, their packets in any order: a model of each says
//! whether it lives, and nothing that the others do changes that.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use integration::can_make_labs;

use crate::connection::{ACK, FIN, Node, RST, Road, SYN, SYN_ACK, TCP, UDP, roads};
use crate::dice::Dice;
use crate::trial::{self, Namespace};

/// Connections by each road, in each family and protocol.
const EACH: u16 = 2;
/// Steps after which all counts are compared.
const ROUND: usize = 50;

/// What the two ends have done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nobody has said anything, or it is over.
    #[default]
    Over,
    /// The client has, and nobody has answered.
    Opening,
    /// Answered; whether the client and the server have said that they are done.
    Live { done: [bool; 2] },
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

struct Connection {
    road: Road,
    state: State,
}

impl Connection {
    /// A packet that an end may send now.
    fn event(&self, dice: &mut Dice) -> (End, u8) {
        let tcp = self.road.protocol == TCP;
        match self.state {
            State::Over => (End::Client, if tcp { SYN } else { 0 }),
            State::Opening if !tcp => dice.of(&[(End::Client, 0), (End::Server, 0)]),
            State::Opening => dice.of(&[
                (End::Client, SYN),
                (End::Server, SYN_ACK),
                (End::Server, SYN_ACK),
                (End::Server, RST),
                (End::Client, RST),
            ]),
            State::Live { .. } => {
                let end = dice.of(&[End::Client, End::Server]);
                let flags = match dice.below(10) {
                    _ if !tcp => 0,
                    0 => RST,
                    1 | 2 => FIN,
                    _ => ACK,
                };
                (end, flags)
            }
        }
    }

    /// The packet has passed.
    fn follow(&mut self, (end, flags): (End, u8)) {
        self.state = match self.state {
            _ if flags == RST => State::Over,
            State::Over => State::Opening,
            State::Opening if end == End::Server => State::Live { done: [false; 2] },
            State::Opening => State::Opening,
            State::Live { mut done } => {
                done[usize::from(end == End::Server)] |= flags == FIN;
                if done == [true; 2] {
                    State::Over
                } else {
                    State::Live { done }
                }
            }
        };
    }
}

/// Every road with clients' ports of its own: none looks like another at its backend.
fn connections() -> Vec<Connection> {
    let mut connections = Vec::new();
    for family in [0, 1] {
        for protocol in [TCP, UDP] {
            for _ in 0..EACH {
                for mut road in roads(family, protocol) {
                    let port = 1000 + u16::try_from(connections.len()).unwrap();
                    road.client.from.1 = port;
                    road.server.to.1 = port;
                    connections.push(Connection {
                        road,
                        state: State::Over,
                    });
                }
            }
        }
    }
    connections
}

/// Whether the counts say of each backend what the models say together.
fn is_counted(node: &Node, connections: &[Connection]) -> Result<()> {
    let mut live: BTreeMap<u32, u64> = BTreeMap::new();
    for connection in connections {
        let lives = matches!(connection.state, State::Live { .. });
        *live.entry(connection.road.backend).or_default() += u64::from(lives);
    }
    for (backend, live) in live {
        let (opened, closed) = node.load(backend)?;
        ensure!(
            opened.wrapping_sub(closed) == live,
            "backend {backend} has opened {opened} and closed {closed}, {live} live"
        );
    }
    Ok(())
}

fn explore(node: &mut Node, seed: u64, steps: usize) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut connections = connections();
    node.clear()?;
    for step in 0..steps {
        let index = dice.below(connections.len());
        let connection = &mut connections[index];
        let event = connection.event(&mut dice);
        let side = match event.0 {
            End::Client => &connection.road.client,
            End::Server => &connection.road.server,
        };
        node.send(side, connection.road.protocol, event.1)
            .with_context(|| format!("step {step}, {index}: {:?} {event:?}", connection.state))?;
        connection.follow(event);
        if step % ROUND == 0 {
            is_counted(node, &connections).with_context(|| format!("after step {step}"))?;
        }
    }
    is_counted(node, &connections)
}

#[test]
fn connections_do_not_disturb_each_other_in_any_order() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let (first, packets) = trial::extent()?;
    let steps = 500;
    Namespace::new("order")?.inside(|| {
        let mut node = Node::new()?;
        for seed in first..first + u64::try_from(packets / 50 / steps)?.max(1) {
            trial::definite(|| explore(&mut node, seed, steps))
                .with_context(|| format!("NETD_TEST_SEED={seed}"))?;
        }
        Ok(())
    })
}
