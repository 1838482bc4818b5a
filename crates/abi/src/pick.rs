//! From a packet to an index into a service's picks.

use crate::{Address, hash::murmur3_words};

/// Hash of the client's address alone, for source hashing. The same on every node.
#[inline(always)]
#[must_use]
pub const fn client_hash(client: &Address) -> u32 {
    let [a, b, c, d] = client.words;
    murmur3_words(&[a.to_be(), b.to_be(), c.to_be(), d.to_be()], 0)
}

/// Hash of a connection without its destination, for Maglev hashing: every ingress node, and every
/// address of a service, leads the same connection to the same backend.
#[inline(always)]
#[must_use]
pub const fn connection_hash(client: &Address, port: u16, protocol: u8, service: u32) -> u32 {
    let [a, b, c, d] = client.words;
    let rest = ((port as u32) << 16) | protocol as u32;
    murmur3_words(
        &[a.to_be(), b.to_be(), c.to_be(), d.to_be(), rest, service],
        0,
    )
}

/// The index for a hash or a cursor value among `length` picks; 0 when there are none.
#[inline(always)]
#[must_use]
pub const fn pick_index(value: u32, length: u32) -> u32 {
    match value.checked_rem(length) {
        Some(index) => index,
        None => 0,
    }
}
