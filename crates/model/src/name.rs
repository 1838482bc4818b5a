//! Names of nodes, networks, endpoints and services.

use std::fmt;
use std::str::FromStr;

/// Most bytes that a name has: one label of DNS, as service names become.
const MAX_LENGTH: usize = 63;

/// A string that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a name has 1 to 63 of the characters a-z, A-Z, 0-9, `-`, `_` and `.`, and starts and ends with a letter or digit"
)]
pub struct BadName;

fn check(name: &str) -> Result<(), BadName> {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let valid = bytes.len() <= MAX_LENGTH
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(inner);
    if valid { Ok(()) } else { Err(BadName) }
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as it is written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BadName;

            fn from_str(name: &str) -> Result<Self, BadName> {
                check(name)?;
                Ok(Self(name.to_owned()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

names! {
    /// Name of a node, unique in the cluster.
    NodeName
    /// Name of a network, unique in the cluster.
    NetworkName
    /// Name of an endpoint, unique in the cluster.
    EndpointName
    /// Name of a service, unique in the cluster.
    ServiceName
}

impl NetworkName {
    /// What listings and messages call the ingress network, which has no name in a topology.
    pub const INGRESS: &str = "ingress";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_taken() {
        for name in ["a", "web-1", "db.eu_west", "9", &"x".repeat(63)] {
            assert_eq!(name.parse::<NodeName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_would_break_a_path_a_label_or_a_message_is_refused() {
        for name in [
            "",
            "-a",
            "a-",
            ".",
            "a/b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(64),
        ] {
            assert_eq!(name.parse::<NodeName>(), Err(BadName), "{name:?}");
        }
    }
}
