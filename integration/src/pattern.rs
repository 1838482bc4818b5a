//! Bytes that betray loss, doubling and reordering: what stands at an offset follows from the
//! offset, and repeats at no distance that buffers or packets have.

/// Length of the repeated block in bytes: a prime, so that no power of two is a multiple of it.
const PERIOD: usize = 65_521;
/// Fibonacci hashing's multiplier for 32 bits.
const MULTIPLIER: u32 = 0x9E37_79B1;

/// The payload of every transfer.
#[derive(Clone, Debug)]
pub struct Pattern {
    block: Vec<u8>,
}

impl Default for Pattern {
    fn default() -> Self {
        Self::new()
    }
}

impl Pattern {
    /// Builds the block that repeats.
    #[must_use]
    pub fn new() -> Self {
        let mixed = (0..PERIOD).scan(0u32, |state, _| {
            *state = state.wrapping_add(MULTIPLIER);
            Some(state.to_be_bytes()[0])
        });
        let mut block: Vec<u8> = mixed.collect();
        // Twice, so that a slice may begin anywhere in the first.
        block.extend_from_within(..);
        Self { block }
    }

    /// The bytes at `offset`, at most `length` of them, never none when `length` is not 0.
    #[must_use]
    pub fn at(&self, offset: u64, length: usize) -> &[u8] {
        let start = position(offset);
        &self.block[start..start + length.min(PERIOD)]
    }

    /// Whether `bytes` are what stands at `offset`.
    #[must_use]
    pub fn matches(&self, offset: u64, bytes: &[u8]) -> bool {
        bytes
            .chunks(PERIOD)
            .zip(0u64..)
            .all(|(chunk, index)| self.at(offset + index * PERIOD as u64, chunk.len()) == chunk)
    }
}

fn position(offset: u64) -> usize {
    usize::try_from(offset % PERIOD as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_shifted_or_changed_does_not_match() {
        let pattern = Pattern::new();
        let mut bytes = pattern.at(1000, 5000).to_vec();
        assert!(pattern.matches(1000, &bytes));
        assert!(pattern.matches(1000 + PERIOD as u64, &bytes));
        assert!(!pattern.matches(1001, &bytes));
        bytes.remove(1400);
        assert!(!pattern.matches(1000, &bytes));
    }

    #[test]
    fn long_slices_are_checked_to_their_end() {
        let pattern = Pattern::new();
        let mut bytes = Vec::new();
        while bytes.len() < 3 * PERIOD {
            let more = pattern.at(bytes.len() as u64, 4096).to_vec();
            bytes.extend(more);
        }
        assert!(pattern.matches(0, &bytes));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(!pattern.matches(0, &bytes));
    }
}
