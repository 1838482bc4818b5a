//! Another port for a client whose own leads to the backend already: two live connections that would
//! look the same to it are told apart by the client's port, never by its address.

use crate::{Address, hash::murmur3_words};

/// Lowest port that is given; below are those that people choose themselves.
const LOWEST: u32 = 20_000;
const PORTS: u32 = 65_536 - LOWEST;
/// A prime that divides no number of ports: each try is another one.
const STEP: u32 = 7_919;
/// Ports that are tried besides the client's own.
pub const PORT_TRIES: u32 = 8;

/// The port in the place of the client's own: `attempt` counts from 1 to [`PORT_TRIES`]. The same
/// connection gets the same ones on every node.
#[inline(always)]
#[must_use]
pub const fn other_port(
    client: (&Address, u16),
    frontend: (&Address, u16),
    protocol: u8,
    attempt: u32,
) -> u16 {
    let [a, b, c, d] = client.0.words;
    let [e, f, g, h] = frontend.0.words;
    let ports = (client.1 as u32) << 16 | frontend.1 as u32;
    let hash = murmur3_words(
        &[
            a.to_be(),
            b.to_be(),
            c.to_be(),
            d.to_be(),
            e.to_be(),
            f.to_be(),
            g.to_be(),
            h.to_be(),
            ports,
            protocol as u32,
        ],
        0,
    );
    let place = hash.wrapping_add(attempt.wrapping_mul(STEP)) % PORTS;
    #[expect(clippy::cast_possible_truncation, reason = "at most 65,535")]
    let port = (LOWEST + place) as u16;
    port
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ports_are_high_and_differ(
            client in any::<([u32; 4], u16)>(), frontend in any::<([u32; 4], u16)>(), protocol in any::<u8>()
        ) {
            let (from, to) = (Address { words: client.0 }, Address { words: frontend.0 });
            let port = |attempt| other_port((&from, client.1), (&to, frontend.1), protocol, attempt);
            let ports: BTreeSet<u16> = (1..=PORT_TRIES).map(port).collect();
            prop_assert!(ports.iter().all(|port| *port >= 20_000));
            // The sum may begin anew at 2^32, at most once.
            prop_assert!(ports.len() >= 7, "{ports:?}");
        }
    }

    #[test]
    fn another_frontend_means_other_ports() {
        let client = Address::from_v4_word(1);
        let (one, two) = (Address::from_v4_word(2), Address::from_v4_word(3));
        let port = |frontend| other_port((&client, 1000), (frontend, 80), 6, 1);
        assert_ne!(port(&one), port(&two));
    }
}
