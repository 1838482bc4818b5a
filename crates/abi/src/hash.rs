//! The hash of every table that has to be the same on all nodes.

/// MurmurHash3, x86 32-bit variant (Austin Appleby, public domain), over whole 32-bit words.
///
/// The words are hashed as numbers: callers on machines of different byte order agree when their
/// words do.
#[inline(always)]
#[must_use]
pub const fn murmur3_words<const N: usize>(words: &[u32; N], seed: u32) -> u32 {
    let mut hash = seed;
    let mut index = 0;
    while index < N {
        hash ^= scramble(words[index]);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
        index += 1;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a handful of words")]
    let length = (N * 4) as u32;
    finish(hash ^ length)
}

/// MurmurHash3, x86 32-bit variant, over bytes.
#[must_use]
pub fn murmur3_32(bytes: &[u8], seed: u32) -> u32 {
    let mut hash = seed;
    let mut chunks = bytes.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = [0; 4];
        word.copy_from_slice(chunk);
        hash ^= scramble(u32::from_le_bytes(word));
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        hash ^= scramble(u32::from_le_bytes(word));
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the algorithm takes the length modulo 2^32"
    )]
    let length = bytes.len() as u32;
    finish(hash ^ length)
}

#[inline(always)]
const fn scramble(word: u32) -> u32 {
    word.wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
}

#[inline(always)]
const fn finish(hash: u32) -> u32 {
    let hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors published with the SMHasher test suite's verification of this variant.
    #[test]
    fn known_vectors_hold() {
        assert_eq!(murmur3_32(b"", 0), 0);
        assert_eq!(murmur3_32(b"", 1), 0x514e_28b7);
        assert_eq!(murmur3_32(&[0xff; 4], 0), 0x7629_3b50);
        assert_eq!(murmur3_32(&[0x21, 0x43, 0x65, 0x87], 0), 0xf55b_516b);
        assert_eq!(murmur3_32(&[0x21, 0x43, 0x65], 0), 0x7e4a_8634);
        assert_eq!(murmur3_32(b"Hello, world!", 1234), 0xfaf6_cdb3);
    }

    #[test]
    fn words_and_bytes_agree() {
        let words = [1u32, 0x8000_0001, 7];
        let mut bytes = [0; 12];
        for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        assert_eq!(murmur3_words(&words, 9), murmur3_32(&bytes, 9));
    }
}
