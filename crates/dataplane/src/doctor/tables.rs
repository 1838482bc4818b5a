//! How full the tables are.

use abi::Seen;

use super::host::NEARLY_FULL;
use super::{Finding, Subject};
use crate::kernel::bpf::{Maps, TableError};

/// How full a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The table's name, lowercase.
    pub name: &'static str,
    /// Entries.
    pub used: u64,
    /// The most that it holds.
    pub capacity: u64,
}

/// What happens when a table is full, and what would help.
const WHEN_FULL: [(&str, &str, &str); 10] = [
    (
        "flows",
        "what is established stays; new flows stay among the openings, where still newer ones may \
         push them out",
        "a larger --flow-capacity; an existing table keeps its size until `netd cleanup`",
    ),
    (
        "embryos",
        "the oldest opening makes room for a new one; what is established is elsewhere",
        "",
    ),
    ("endpoints", REFUSED, SMALLER),
    ("services", REFUSED, SMALLER),
    ("published", REFUSED, SMALLER),
    ("backends", REFUSED, SMALLER),
    (
        "picks",
        REFUSED,
        "services with fewer backends or smaller weights",
    ),
    ("interfaces", REFUSED, SMALLER),
    ("networks", REFUSED, SMALLER),
    ("nodes", REFUSED, SMALLER),
];

const REFUSED: &str = "an edit that asks for more is refused and changes nothing";
const SMALLER: &str = "a smaller topology";

/// Counts the entries of every table that can run full.
pub(super) fn fills(maps: &Maps) -> Result<Vec<Fill>, TableError> {
    let fill = |name, used: usize, capacity: u32| Fill {
        name,
        used: used as u64,
        capacity: u64::from(capacity),
    };
    let vteps = maps.vteps.entries()?;
    let vteps = vteps
        .iter()
        .filter(|(_, vtep)| !vtep.address.is_unspecified())
        .count();
    let services = maps.services.entries()?.into_iter().map(|(_, value)| value);
    let published = maps
        .published
        .entries()?
        .into_iter()
        .map(|(_, value)| value);
    let (services, published): (Vec<_>, Vec<_>) = (services.collect(), published.collect());
    let places = services.iter().chain(&published).map(places).sum();
    Ok(vec![
        fill(
            "flows",
            maps.flows.count(|_, _| true)?,
            maps.flows.capacity(),
        ),
        fill(
            "embryos",
            maps.embryos.count(|_, flow| Seen(flow.seen).is_flow())?,
            maps.embryos.capacity(),
        ),
        fill(
            "endpoints",
            maps.endpoints.count(|_, _| true)?,
            maps.endpoints.capacity(),
        ),
        fill("services", services.len(), maps.services.capacity()),
        fill("published", published.len(), maps.published.capacity()),
        fill(
            "backends",
            maps.backends.count(|_, _| true)?,
            maps.backends.capacity(),
        ),
        fill("picks", places, maps.picks.capacity()),
        fill(
            "interfaces",
            maps.ifaces.count(|_, _| true)?,
            maps.ifaces.capacity(),
        ),
        fill(
            "networks",
            maps.networks.count(|_, _| true)?,
            maps.networks.capacity(),
        ),
        fill("nodes", vteps, maps.vteps.capacity()),
    ])
}

/// How many places of the flat array a frontend takes.
fn places(service: &abi::Service) -> usize {
    let own = service.pick_length;
    let own = if own > abi::Service::INLINE { own } else { 0 };
    (own + service.second_length) as usize
}

/// Says how full each table is.
pub(super) fn fill_levels(subject: &Subject) -> Vec<Finding> {
    subject.fills.iter().map(judge).collect()
}

fn judge(fill: &Fill) -> Finding {
    let Fill {
        name,
        used,
        capacity,
    } = *fill;
    let known = WHEN_FULL.iter().find(|(it, ..)| *it == name);
    let (when_full, advice) = known.map_or(("", ""), |(_, what, advice)| (*what, *advice));
    let message = format!("{used} of {capacity} entries; when it is full, {when_full}");
    // What evicts its oldest by design is meant to be full.
    if advice.is_empty() || used * 100 < capacity * NEARLY_FULL {
        Finding::ok("tables", name, message)
    } else if used < capacity {
        Finding::warn("tables", name, message, advice)
    } else {
        Finding::fail("tables", name, message, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn tables_are_judged_by_how_full_they_are() {
        let verdict = |name, used| {
            judge(&Fill {
                name,
                used,
                capacity: 100,
            })
            .verdict
        };
        assert_eq!(verdict("flows", 79), Verdict::Ok);
        assert_eq!(verdict("flows", 80), Verdict::Warn);
        assert_eq!(verdict("flows", 100), Verdict::Fail);
        assert_eq!(verdict("embryos", 100), Verdict::Ok, "it evicts its oldest");
    }
}
