//! Datagrams as client and server understand them.

/// Octets of a datagram's payload.
pub(super) const LENGTH: usize = 64;

/// A datagram from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    /// How many were sent before it.
    pub(super) number: u64,
    /// Whether it wants to be answered.
    pub(super) asks: bool,
}

/// What the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The number of the datagram that asked.
    pub(super) number: u64,
    /// How many datagrams it has received, ever.
    pub(super) received: u64,
}

impl Datagram {
    pub(super) fn to_bytes(self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8] = u8::from(self.asks);
        bytes
    }

    /// `None` for anything else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            asks: *rest.first()? != 0,
        })
    }
}

impl Answer {
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.number.to_be_bytes());
        bytes[8..].copy_from_slice(&self.received.to_be_bytes());
        bytes
    }

    /// `None` for anything else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk()?;
        let (received, _) = rest.split_first_chunk()?;
        Some(Self {
            number: u64::from_be_bytes(*number),
            received: u64::from_be_bytes(*received),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_understood() {
        let datagram = Datagram {
            number: 1 << 40,
            asks: true,
        };
        assert_eq!(Datagram::from_bytes(&datagram.to_bytes()), Some(datagram));
        let answer = Answer {
            number: 7,
            received: u64::MAX,
        };
        assert_eq!(Answer::from_bytes(&answer.to_bytes()), Some(answer));
        assert_eq!(Answer::from_bytes(b"short"), None);
    }
}
