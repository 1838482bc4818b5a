//! What a lab is to be, and the addresses that follow from its name.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

/// More nodes than this would reach the client's address.
const MOST_NODES: u8 = 64;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The one of two addresses that belongs to this family.
    #[must_use]
    pub fn of(self, addresses: &[IpAddr]) -> Option<IpAddr> {
        addresses
            .iter()
            .copied()
            .find(|address| address.is_ipv4() == (self == Self::V4))
    }
}

/// What a lab is to be.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Lower-case letters and digits, at most 20, beginning with a letter.
    pub name: String,
    /// How many nodes, 1 to 64; they are called `n1`, `n2`, ….
    pub nodes: u8,
    /// MTU of the nodes' uplinks and of the switch between them, in bytes.
    pub underlay_mtu: u32,
    /// The family of the nodes' VTEP addresses in topologies for this lab.
    pub vtep: Family,
    /// Clients beyond the underlay's router, besides `client`, which is on the underlay itself.
    pub outsiders: Vec<Outsider>,
    /// The carriers of nodes in topologies for this lab, by the node's name: `auto`, `native` or
    /// `device`. Whoever is not here says nothing.
    #[serde(default)]
    pub carriers: BTreeMap<String, String>,
    /// More arguments for a node's netd, by the node's name.
    pub node_args: BTreeMap<String, Vec<String>>,
}

/// A client on a network of its own behind the router of the underlay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Outsider {
    /// Its name; its namespace is called after it.
    pub name: String,
    /// Its address and network, one of each family. The router has the first address of each.
    pub addresses: Vec<IpNetwork>,
    /// MTU of its link, in bytes.
    pub mtu: u32,
}

/// The addresses of the underlay.
#[derive(Clone, Copy, Debug)]
pub struct Underlay {
    number: u8,
}

impl Spec {
    /// A lab of `nodes` nodes on an underlay of 1,500 bytes, IPv4 VTEPs, no more clients.
    #[must_use]
    pub fn new(name: &str, nodes: u8) -> Self {
        Self {
            name: name.to_owned(),
            nodes,
            underlay_mtu: 1500,
            vtep: Family::V4,
            outsiders: Vec::new(),
            carriers: BTreeMap::new(),
            node_args: BTreeMap::new(),
        }
    }

    /// Adds `jumbo`, whose link carries 9,000 bytes, and `inside`, whose network is also that of
    /// an overlay: 10.0.1.0/24 and fd00:1::/64.
    #[must_use]
    pub fn with_outsiders(mut self) -> Self {
        let addresses = self.underlay().outsider();
        self.outsiders.push(Outsider {
            name: "jumbo".to_owned(),
            addresses,
            mtu: 9000,
        });
        let texts = ["10.0.1.200/24", "fd00:1::200/64"];
        let addresses = texts.iter().filter_map(|text| text.parse().ok()).collect();
        self.outsiders.push(Outsider {
            name: "inside".to_owned(),
            addresses,
            mtu: 1500,
        });
        self
    }

    /// Gives the nodes, in their order, these carriers.
    #[must_use]
    pub fn with_carriers(mut self, carriers: &[&str]) -> Self {
        let carriers = carriers.iter().map(|carrier| (*carrier).to_owned());
        self.carriers = self.node_names().into_iter().zip(carriers).collect();
        self
    }

    /// Has every node attach its programs by the classic tc.
    #[must_use]
    pub fn with_classic_tc(mut self) -> Self {
        for node in self.node_names() {
            let args = self.node_args.entry(node).or_default();
            args.push("--attach=tc".to_owned());
        }
        self
    }

    /// A name that no other process on this machine uses, for tests.
    #[must_use]
    pub fn unique_name(prefix: &str) -> String {
        format!("{prefix}{}", std::process::id())
    }

    /// Whether it can be made.
    ///
    /// # Errors
    /// When the name, a number or a node's name is out of its range.
    pub fn check(&self) -> Result<()> {
        check_name(&self.name)?;
        if !(1..=MOST_NODES).contains(&self.nodes) {
            bail!("a lab has 1 to {MOST_NODES} nodes, not {}", self.nodes);
        }
        for node in self.node_args.keys() {
            if !self.node_names().contains(node) {
                bail!(
                    "arguments for {node}, but the nodes are n1 to n{}",
                    self.nodes
                );
            }
        }
        Ok(())
    }

    /// The nodes' names, in order.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.nodes)
            .map(|number| format!("n{number}"))
            .collect()
    }

    /// The namespace of a node, a task or a client.
    #[must_use]
    pub fn namespace(&self, member: &str) -> String {
        format!("{}-{member}", self.name)
    }

    /// The underlay's addresses.
    #[must_use]
    pub fn underlay(&self) -> Underlay {
        // FNV-1a. Labs never meet, so equal numbers do no harm: they only confuse the reader.
        let hash = self.name.bytes().fold(0x811C_9DC5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        let [_, high, low, _] = hash.to_be_bytes();
        Underlay {
            number: (high ^ low) % 200 + 10,
        }
    }
}

/// Whether a lab can be called so.
///
/// # Errors
/// When it cannot. A hyphen would make `a-b` look like a part of `a`.
pub(super) fn check_name(name: &str) -> Result<()> {
    let letters = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let begins = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
    if !letters || !begins || name.len() > 20 {
        bail!("a lab's name is a letter and at most 19 more letters or digits, not {name:?}");
    }
    Ok(())
}

impl Underlay {
    /// The router's addresses: the gateway of everything on the underlay.
    #[must_use]
    pub fn router(self) -> [IpAddr; 2] {
        self.host(1)
    }

    /// The addresses of the node at `index`, from 0.
    #[must_use]
    pub fn node(self, index: u8) -> [IpAddr; 2] {
        self.host(11 + index)
    }

    /// The client's addresses.
    #[must_use]
    pub fn client(self) -> [IpAddr; 2] {
        self.host(100)
    }

    /// The addresses of an outsider whose network is nothing special.
    #[must_use]
    pub fn outsider(self) -> Vec<IpNetwork> {
        let number = self.number;
        let texts = [
            format!("198.19.{number}.100/24"),
            format!("fd19:{number}::100/64"),
        ];
        texts.iter().filter_map(|text| text.parse().ok()).collect()
    }

    /// Both addresses of a host; the last group of the IPv6 address reads as its number.
    pub fn host(self, number: u8) -> [IpAddr; 2] {
        let digits = |value: u8| {
            let value = u16::from(value);
            value / 100 * 256 + value / 10 % 10 * 16 + value % 10
        };
        [
            Ipv4Addr::new(198, 18, self.number, number).into(),
            Ipv6Addr::new(0xFD18, digits(self.number), 0, 0, 0, 0, 0, digits(number)).into(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_read_alike() {
        let underlay = Underlay { number: 145 };
        let texts = underlay.node(2).map(|address| address.to_string());
        assert_eq!(texts, ["198.18.145.13", "fd18:145::13"]);
        assert_eq!(underlay.client()[1].to_string(), "fd18:145::100");
        assert_eq!(underlay.outsider()[1].to_string(), "fd19:145::100/64");
    }

    #[test]
    fn names_that_could_be_taken_for_another_lab_are_refused() {
        for name in ["", "a-b", "A", "1a", "ab/..", "a23456789012345678901"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_name("q").is_ok());
    }
}
