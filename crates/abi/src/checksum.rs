//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! Sums are over 16-bit words in the order in which the machine reads them from the packet, which
//! RFC 1071 §2(B) shows to be independent of byte order as long as the result is stored the same
//! way. A checksum field is therefore a `u16` read natively from its two bytes.

/// Folds a 32-bit sum to 16 bits by end-around carries.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "two folds leave sixteen bits"
    )]
    let folded = sum as u16;
    folded
}

/// Adds two 32-bit sums with end-around carry.
#[inline(always)]
#[must_use]
pub const fn add(a: u32, b: u32) -> u32 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u32
}

/// The sum that, added to a sum over `old`, gives the sum over `new`; what the kernel's
/// `bpf_csum_diff` computes.
#[inline(always)]
#[must_use]
pub fn difference<const N: usize>(old: &[u32; N], new: &[u32; N]) -> u32 {
    let mut sum = 0;
    for word in old {
        sum = add(sum, !*word);
    }
    for word in new {
        sum = add(sum, *word);
    }
    sum
}

/// The checksum field after `difference` was added to what it covers.
#[inline(always)]
#[must_use]
pub const fn update(field: u16, difference: u32) -> u16 {
    !fold(add(!field as u32, difference))
}

/// The sum over whole 32-bit words.
#[inline(always)]
#[must_use]
pub fn sum_words(words: &[u32]) -> u32 {
    let mut sum = 0;
    for word in words {
        sum = add(sum, *word);
    }
    sum
}

/// The sum of an upper-layer pseudo header (RFC 9293 §3.1, RFC 8200 §8.1): both address sums, the
/// length and the protocol number. IPv4 mapped addresses may be given whole, as long as both are:
/// their prefixes sum to a multiple of 0xffff.
#[inline(always)]
#[must_use]
pub fn pseudo_header(source: &[u32; 4], destination: &[u32; 4], length: u16, protocol: u8) -> u32 {
    let sum = add(sum_words(source), sum_words(destination));
    let sum = add(sum, length.to_be() as u32);
    add(sum, (protocol as u16).to_be() as u32)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn reference(bytes: &[u8]) -> u16 {
        let mut sum = 0u64;
        for pair in bytes.chunks(2) {
            sum += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        }
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !u16::try_from(sum).unwrap()
    }

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    /// 0 and 0xffff are the same number in ones' complement.
    fn same(a: u16, b: u16) -> bool {
        a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0)
    }

    proptest! {
        #[test]
        fn update_equals_a_sum_from_scratch(
            old in any::<[u32; 4]>(), new in any::<[u32; 4]>(), rest in any::<[u32; 5]>()
        ) {
            let mut packet = old.to_vec();
            packet.extend(rest);
            let field = u16::from_ne_bytes(reference(&bytes(&packet)).to_be_bytes());
            let updated = update(field, difference(&old, &new));
            packet[..4].copy_from_slice(&new);
            let expected = u16::from_ne_bytes(reference(&bytes(&packet)).to_be_bytes());
            prop_assert!(same(updated, expected), "{updated:04x} {expected:04x}");
        }

        #[test]
        fn mapped_prefixes_cancel(source in any::<u32>(), destination in any::<u32>(), length in 8u16.., protocol in any::<u8>()) {
            let map = |word| crate::Address::from_v4_word(word).words;
            let mapped = pseudo_header(&map(source), &map(destination), length, protocol);
            let bare = pseudo_header(&[0, 0, 0, source], &[0, 0, 0, destination], length, protocol);
            prop_assert!(same(fold(mapped), fold(bare)));
        }
    }
}
