//! What becomes of a packet that is not dropped.

/// The decision of a program; one place in `ebpf` turns it into the kernel's action.
///
/// It is a struct rather than an enum with fields, because the verifier refuses to return a register
/// of which a variant without fields leaves half unwritten.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// The interface that it is done with; 0 for actions that have none.
    pub ifindex: u32,
}

/// What is done with a packet.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Leave it to the node's own stack.
    Pass = 0,
    /// Into the namespace at the other end of this veth, as received there.
    Peer = 1,
    /// Out of this device as it stands.
    Device = 2,
    /// Out of this device towards the IP destination, next hop and neighbour by the node's tables.
    Neighbour = 3,
    /// Where the packet goes has been arranged by whoever decided.
    Arranged = 4,
    /// Nobody has decided yet: the short way does not know the packet. No program ends with it.
    Undecided = 5,
    /// As [`Action::Neighbour`], to a next hop that has been arranged by whoever decided.
    Routed = 6,
}

impl Verdict {
    /// Leave the packet to the node's own stack.
    pub const PASS: Self = Self {
        action: Action::Pass,
        ifindex: 0,
    };

    /// See [`Action::Arranged`].
    pub const ARRANGED: Self = Self {
        action: Action::Arranged,
        ifindex: 0,
    };

    /// See [`Action::Undecided`].
    pub const UNDECIDED: Self = Self {
        action: Action::Undecided,
        ifindex: 0,
    };

    /// See [`Action::Peer`].
    #[inline(always)]
    #[must_use]
    pub const fn peer(ifindex: u32) -> Self {
        Self {
            action: Action::Peer,
            ifindex,
        }
    }

    /// See [`Action::Device`].
    #[inline(always)]
    #[must_use]
    pub const fn device(ifindex: u32) -> Self {
        Self {
            action: Action::Device,
            ifindex,
        }
    }

    /// See [`Action::Routed`].
    #[inline(always)]
    #[must_use]
    pub const fn routed(ifindex: u32) -> Self {
        Self {
            action: Action::Routed,
            ifindex,
        }
    }

    /// See [`Action::Neighbour`].
    #[inline(always)]
    #[must_use]
    pub const fn neighbour(ifindex: u32) -> Self {
        Self {
            action: Action::Neighbour,
            ifindex,
        }
    }
}
