//! What backends have to do.

/// Value of `loads`, keyed by backend number: flows that this node carries to it. Every field only
/// ever rises; what is going on now is a difference. A flow counts from its first packet.
///
/// The kernel programs count what they see; what they cannot see (a flow that expired, or was pushed
/// out of the small table) user space adds when it collects garbage.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Flows that were given to it.
    pub picked: u64,
    /// Those of them that were answered.
    pub opened: u64,
    /// Those of the answered ones that have ended.
    pub closed: u64,
    /// Those of the picked ones that have ended without an answer.
    pub failed: u64,
    /// Sockets that were led to it when they dialled, and no packet of which is looked at.
    pub led: u64,
    /// Those of them that are gone.
    pub left: u64,
}

const _: () = assert!(size_of::<Load>() == 48);

impl Load {
    /// Everything that is going on: what algorithms compare.
    #[inline(always)]
    #[must_use]
    pub const fn current(&self) -> u32 {
        let over = self
            .closed
            .wrapping_add(self.failed)
            .wrapping_add(self.left);
        let current = self.picked.wrapping_add(self.led).wrapping_sub(over);
        // Two CPUs between whose additions this is read: less than nothing is nothing.
        if current > u32::MAX as u64 {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, reason = "compared above")]
        let current = current as u32;
        current
    }

    /// Flows that were answered and have not ended, and sockets.
    #[must_use]
    pub const fn active(&self) -> u64 {
        let flows = self.opened.saturating_sub(self.closed);
        flows + self.led.saturating_sub(self.left)
    }

    /// Flows that nobody has answered, and that may still be.
    #[must_use]
    pub const fn inactive(&self) -> u64 {
        self.picked
            .saturating_sub(self.opened)
            .saturating_sub(self.failed)
    }

    /// Everything that was ever given to it.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.picked + self.led
    }

    /// Adds another's counts to these.
    #[must_use]
    pub const fn plus(&self, other: &Self) -> Self {
        Self {
            picked: self.picked.wrapping_add(other.picked),
            opened: self.opened.wrapping_add(other.opened),
            closed: self.closed.wrapping_add(other.closed),
            failed: self.failed.wrapping_add(other.failed),
            led: self.led.wrapping_add(other.led),
            left: self.left.wrapping_add(other.left),
        }
    }
}

/// What user space adds to a backend's counts: a run of the program `correct` takes up to
/// [`Correction::MOST`] of them, after an Ethernet header's length of zeroes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Correction {
    /// The backend's number.
    pub backend: u32,
    /// Zero.
    pub reserved: u32,
    /// What is added.
    pub load: Load,
}

const _: () = assert!(size_of::<Correction>() == 56);

impl Correction {
    /// How many one run takes.
    pub const MOST: usize = 16;
    /// Where the first begins.
    pub const OFFSET: usize = 16;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_inactive_then_active_then_gone() {
        let mut load = Load {
            picked: 1,
            ..Load::default()
        };
        assert_eq!((load.inactive(), load.active(), load.current()), (1, 0, 1));
        load.opened = 1;
        assert_eq!((load.inactive(), load.active(), load.current()), (0, 1, 1));
        load.closed = 1;
        assert_eq!((load.inactive(), load.active(), load.current()), (0, 0, 0));
        assert_eq!(load.total(), 1);
    }

    #[test]
    fn what_nobody_answers_ends_too() {
        let load = Load {
            picked: 3,
            opened: 1,
            failed: 1,
            led: 5,
            left: 3,
            ..Load::default()
        };
        assert_eq!((load.inactive(), load.active(), load.current()), (1, 3, 4));
        assert_eq!(load.total(), 8);
    }

    #[test]
    fn less_than_nothing_is_nothing() {
        let load = Load {
            closed: 1,
            ..Load::default()
        };
        assert_eq!((load.inactive(), load.active(), load.current()), (0, 0, 0));
    }
}
