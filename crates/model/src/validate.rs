//! From what was written to a topology that holds together.
//!
//! Every stage reads its part of the raw topology, reports what is wrong with it and hands on what
//! is right; what refers to a broken thing is passed over, so that one mistake is told once. Then
//! addresses and numbers are decided: explicit ones are reserved first, all others follow in the
//! order of the file, so that what is appended never moves what is there.

mod addresses;
mod assemble;
mod endpoints;
mod networks;
mod nodes;
mod numbers;
mod ranges;
mod report;
mod services;
mod space;
#[cfg(test)]
mod tests;

use std::net::IpAddr;

pub use endpoints::NAMESPACES;
use report::Report;

use crate::raw::Field;
use crate::{Port, Problem, ProblemKind, Topology, raw};

/// What `--data-path-port` is in Docker and here unless said otherwise.
const DEFAULT_DATA_PATH_PORT: i64 = 4789;

/// Checks a topology and decides every address and number in it.
///
/// The result depends on nothing but the input. Addresses that are not given are the lowest free
/// ones: of endpoints from the start of the subnet, of VIPs from its middle (at most 32,768 in), so
/// that neither moves the other. The first usable address of a subnet is the network's own. Every
/// task has one address in its node's gateway block and one in the ingress network set aside, in
/// the order of its first endpoint, whether or not it needs them yet.
///
/// # Errors
///
/// Everything that is wrong, by line. The list is empty if the only fault is a field that is
/// [`Field::Malformed`], which has been reported by whoever made it.
pub fn validate(raw: &raw::Topology) -> Result<Topology, Vec<Problem>> {
    let mut report = Report::default();
    let data_path_port = data_path_port(&raw.data_path_port, &mut report);
    let nodes = nodes::read(raw, &mut report);
    let networks = networks::read(raw, &mut report);
    ranges::check(&nodes, &networks, &mut report);
    let endpoints = endpoints::read(&raw.endpoints, &nodes, &networks, &mut report);
    let services = services::read(
        &raw.services,
        &services::Context {
            data_path_port,
            nodes: &nodes,
            networks: &networks,
            endpoints: &endpoints,
        },
        &mut report,
    );
    let addresses = addresses::decide(
        &addresses::Users {
            nodes: &nodes,
            networks: &networks,
            endpoints: &endpoints,
            services: &services,
        },
        &mut report,
    );
    report.finish()?;
    let Some(data_path_port) = data_path_port else {
        return Err(Vec::new());
    };
    Ok(assemble::Parts {
        data_path_port,
        nodes,
        networks,
        endpoints,
        services,
        addresses,
    }
    .assemble())
}

fn data_path_port(field: &Field<i64>, report: &mut Report) -> Option<Port> {
    let number = match field {
        Field::Given(number) => number.value,
        Field::Absent => DEFAULT_DATA_PATH_PORT,
        Field::Malformed => {
            report.passed_over();
            return None;
        }
    };
    let port = Port::try_from(number)
        .ok()
        .filter(|port| (1024..=49151).contains(&port.get()));
    if let (None, Some(given)) = (port, field.given()) {
        report.add(given.line, ProblemKind::BadDataPathPort { number });
    }
    port
}

/// Whether a machine or a task can have the address at all.
fn is_reserved(address: IpAddr) -> bool {
    ranges::reserved()
        .into_iter()
        .any(|range| range.contains(address))
}
