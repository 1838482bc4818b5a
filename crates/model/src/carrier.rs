//! How packets get to other nodes.

use std::fmt;
use std::str::FromStr;

/// How a node's packets get to other nodes, and are taken from them. On the wire both ways are the
/// same VXLAN, so nodes may differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// Natively wherever that has been proven to work, else by the device.
    #[default]
    Auto,
    /// Natively wherever that is possible: the kernel programs write and remove VXLAN themselves.
    Native,
    /// By the kernel's VXLAN device.
    Device,
}

/// A string that names no carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a carrier is `auto`, `native` or `device`")]
pub struct UnknownCarrier;

impl Carrier {
    /// The name: `auto`, `native` or `device`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Device => "device",
        }
    }
}

impl FromStr for Carrier {
    type Err = UnknownCarrier;

    fn from_str(name: &str) -> Result<Self, UnknownCarrier> {
        match name {
            "auto" => Ok(Self::Auto),
            "native" => Ok(Self::Native),
            "device" => Ok(Self::Device),
            _ => Err(UnknownCarrier),
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for carrier in [Carrier::Auto, Carrier::Native, Carrier::Device] {
            assert_eq!(carrier.to_string().parse(), Ok(carrier));
        }
        assert_eq!("vxlan".parse::<Carrier>(), Err(UnknownCarrier));
    }
}
