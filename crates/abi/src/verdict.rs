//! What becomes of a packet that is not dropped.

/// The decision of a program; one place in `ebpf` turns it into the kernel's action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Leave the packet to the node's own stack.
    Pass,
    /// Into the namespace at the other end of this veth, as received there.
    Peer(u32),
    /// Out of this device as the packet stands.
    Device(u32),
    /// Out of this device towards the IP destination, next hop and neighbour by the node's tables.
    Neighbour(u32),
}
