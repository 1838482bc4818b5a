//! The addresses of one subnet: who has which, and which is next.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;

use crate::Family;

/// Offset of the first address that is given away: 0 is the subnet's, 1 the network's own.
const FIRST: u128 = 2;
/// Where the search for VIPs starts in subnets of 65,536 addresses and more.
const MIDDLE: u128 = 32_768;

/// A subnet and what is taken of it.
#[derive(Debug)]
pub(super) struct Space {
    subnet: IpNetwork,
    taken: BTreeMap<IpAddr, usize>,
    from_start: u128,
    from_middle: u128,
    below_middle: u128,
}

/// Why an address cannot be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nobody may have it: what it is.
    Never(&'static str),
    /// It is taken, on this line.
    Taken(usize),
}

impl Space {
    pub(super) fn new(subnet: IpNetwork) -> Self {
        let middle = (size(subnet) / 2).clamp(FIRST, MIDDLE);
        Self {
            subnet,
            taken: BTreeMap::new(),
            from_start: FIRST,
            from_middle: middle,
            below_middle: middle,
        }
    }

    /// Takes an address of the subnet that was asked for.
    pub(super) fn reserve(&mut self, address: IpAddr, line: usize) -> Result<(), Refusal> {
        let never = if address == self.subnet.network() {
            Some("the address")
        } else if address == self::address(self.subnet, 1) {
            Some("the network's own address")
        } else if address.is_ipv4() && address == self.subnet.broadcast() {
            Some("the broadcast address")
        } else {
            None
        };
        if let Some(role) = never {
            return Err(Refusal::Never(role));
        }
        match self.taken.get(&address) {
            Some(line) => Err(Refusal::Taken(*line)),
            None => {
                self.taken.insert(address, line);
                Ok(())
            }
        }
    }

    /// Takes the lowest free address.
    pub(super) fn take_from_start(&mut self) -> Option<IpAddr> {
        let (found, next) = self.search(self.from_start)?;
        self.from_start = next;
        Some(found)
    }

    /// Takes the lowest free address from the middle on, or the highest below it when there is none:
    /// what is taken from the start is met last.
    pub(super) fn take_from_middle(&mut self) -> Option<IpAddr> {
        if let Some((found, next)) = self.search(self.from_middle) {
            self.from_middle = next;
            return Some(found);
        }
        while self.below_middle > FIRST {
            self.below_middle -= 1;
            if let Entry::Vacant(free) = self.taken.entry(address(self.subnet, self.below_middle)) {
                let found = *free.key();
                free.insert(0);
                return Some(found);
            }
        }
        None
    }

    /// The lowest free address from an offset on, and the offset behind it.
    fn search(&mut self, mut offset: u128) -> Option<(IpAddr, u128)> {
        let end = match Family::of_subnet(self.subnet) {
            Family::V4 => size(self.subnet) - 1,
            Family::V6 => size(self.subnet),
        };
        while offset < end {
            let address = address(self.subnet, offset);
            offset += 1;
            if let Entry::Vacant(free) = self.taken.entry(address) {
                free.insert(0);
                return Some((address, offset));
            }
        }
        None
    }
}

/// How many addresses a subnet has, less one where that does not fit.
fn size(subnet: IpNetwork) -> u128 {
    let bits = Family::of_subnet(subnet).bits() - subnet.prefix();
    1_u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX)
}

/// The address at an offset, which is within the subnet.
pub(super) fn address(subnet: IpNetwork, offset: u128) -> IpAddr {
    match subnet {
        IpNetwork::V4(subnet) => {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "below the subnet's size, 32 bits"
            )]
            let offset = offset as u32;
            IpAddr::V4(Ipv4Addr::from(
                u32::from(subnet.network()).wrapping_add(offset),
            ))
        }
        IpNetwork::V6(subnet) => IpAddr::V6(Ipv6Addr::from(
            u128::from(subnet.network()).wrapping_add(offset),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_overflows_downwards() {
        let mut space = Space::new("10.10.1.0/29".parse().unwrap());
        let from_start = space.take_from_start().unwrap();
        let taken: Vec<_> = (0..4)
            .map(|_| space.take_from_middle().unwrap().to_string())
            .collect();
        assert_eq!(from_start.to_string(), "10.10.1.2");
        assert_eq!(taken, ["10.10.1.4", "10.10.1.5", "10.10.1.6", "10.10.1.3"]);
        assert_eq!(space.take_from_middle(), None);
    }

    fn space(subnet: &str) -> Space {
        Space::new(subnet.parse().unwrap())
    }

    fn at(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn start_and_middle_grow_apart_and_then_share_what_is_left() {
        let mut space = space("10.0.0.0/29");
        assert_eq!(space.take_from_start(), Some(at("10.0.0.2")));
        assert_eq!(space.take_from_middle(), Some(at("10.0.0.4")));
        assert_eq!(space.take_from_middle(), Some(at("10.0.0.5")));
        assert_eq!(space.take_from_middle(), Some(at("10.0.0.6")));
        assert_eq!(space.take_from_middle(), Some(at("10.0.0.3")));
        assert_eq!(space.take_from_start(), None);
        assert_eq!(space.take_from_middle(), None);
    }

    #[test]
    fn what_is_reserved_is_passed_over() {
        let mut space = space("fd00::/64");
        assert_eq!(space.reserve(at("fd00::2"), 7), Ok(()));
        assert_eq!(space.reserve(at("fd00::2"), 8), Err(Refusal::Taken(7)));
        assert_eq!(space.take_from_start(), Some(at("fd00::3")));
        assert_eq!(space.take_from_middle(), Some(at("fd00::8000")));
    }

    #[test]
    fn first_second_and_last_are_never_given() {
        let mut space = space("10.0.0.0/30");
        for address in ["10.0.0.0", "10.0.0.1", "10.0.0.3"] {
            assert!(matches!(
                space.reserve(at(address), 1),
                Err(Refusal::Never(_))
            ));
        }
        assert_eq!(space.take_from_middle(), Some(at("10.0.0.2")));
        assert_eq!(space.take_from_start(), None);
    }

    #[test]
    fn the_last_address_of_ipv6_is_one_like_any_other() {
        let mut space = space("fd00::/126");
        assert_eq!(space.reserve(at("fd00::3"), 1), Ok(()));
        assert_eq!(space.take_from_start(), Some(at("fd00::2")));
        assert_eq!(space.take_from_start(), None);
    }
}
