//! Flows: connections that this node translates or carries, as its kernel table has them.
//!
//! Each is told once, though a flow has two entries. Counts and ages are of the moment; another
//! node that carries the same connection tells its own half of it, under another id.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// A translated connection, or the like of one over UDP, as this node's table has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Flow {
    /// Sixteen hexadecimal digits, the same as long as the flow lives; on another node it has
    /// another one.
    #[serde(rename = "ID")]
    pub id: String,
    /// The service's name; empty when it no longer exists.
    pub name: String,
    /// Name of the network in which client and backend meet, `ingress` for clients from outside;
    /// its number when it no longer exists.
    pub network: String,
    /// `tcp`, `udp`, or another protocol's name or number.
    pub protocol: String,
    /// The client. The backend sees this address, too, unless the client is the backend itself:
    /// then it sees its network's gateway address.
    pub client: SocketAddr,
    /// What the client dialled; `null` when it dialled the backend itself.
    pub frontend: Option<SocketAddr>,
    /// Who answers; `null` where another node translates and the backend no longer exists.
    pub backend: Option<SocketAddr>,
    /// The service's name; empty when it no longer exists.
    pub service: String,
    /// Where the flow is in its life.
    pub state: FlowState,
    /// `local`: client and backend are reached from this node. `to:NODE`: the backend is on that
    /// node. `from:NODE`: the client's packets come in through that node.
    pub direction: String,
    /// Time since the last packet, in milliseconds.
    pub idle_ms: u64,
    /// Time until the flow is forgotten unless a packet comes, in milliseconds.
    pub expires_ms: u64,
    /// Packets by direction; segments that are still to be cut count once.
    pub packets: Transfer,
    /// Bytes of whole frames by direction.
    pub bytes: Transfer,
}

/// A count for each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Transfer {
    /// From the client.
    pub forward: u64,
    /// To the client.
    pub reply: u64,
}

/// Where a flow is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowState {
    /// TCP: the backend has not answered yet.
    Syn,
    /// TCP: both sides have spoken.
    Established,
    /// TCP: one side has said that it is done.
    Closing,
    /// TCP: both sides are done, or one has reset the connection.
    Closed,
    /// UDP: the backend has not answered yet.
    OneWay,
    /// UDP: both sides have spoken.
    Answered,
}

impl FlowState {
    /// Every state.
    pub const ALL: &[Self] = &[
        Self::Syn,
        Self::Established,
        Self::Closing,
        Self::Closed,
        Self::OneWay,
        Self::Answered,
    ];

    /// The name on the wire: `syn`, `established`, `closing`, `closed`, `one-way` or `answered`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syn => "syn",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::OneWay => "one-way",
            Self::Answered => "answered",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_on_the_wire() {
        for state in FlowState::ALL {
            let wire = serde_json::to_value(state).unwrap();
            assert_eq!(wire, state.as_str());
        }
    }
}
