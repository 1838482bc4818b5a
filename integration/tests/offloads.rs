//! Checksums and sizes are right whatever the devices compute themselves.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, HTTP_PORT, PROBE, UDP_PORT};
use integration::lab::{Family, Lab, Spec};
use integration::{can_make_labs, command, netns, probe};

/// What is switched off in each round, on every device; then on again.
const ROUNDS: &[&[&str]] = &[
    &[],
    &["tx"],
    &["rx"],
    &["sg"],
    &["tso"],
    &["gso"],
    &["gro"],
    &["tso", "gso"],
    &["tx-udp_tnl-segmentation"],
    &[
        "tx-udp_tnl-segmentation",
        "tx-udp_tnl-csum-segmentation",
        "tx",
    ],
    &["tx", "rx", "sg", "tso", "gso", "gro"],
];

/// What is switched off on the nodes' devices alone: checksums that tasks leave to them are completed after
/// the programs have rewritten the packets.
const NODES_ROUNDS: &[&[&str]] = &[&["tx"], &["tx", "sg", "tso", "gso"]];

/// What is moved in each direction, in bytes.
const TRANSFER: u64 = 2_000_000;
/// More than one packet, in bytes.
const DATAGRAM: usize = 3_000;
/// Connections to each target: enough to meet both backends, the near and the far.
const TIMES: usize = 4;

#[test]
fn everything_arrives_by_the_device_whatever_the_devices_do_themselves() -> Result<()> {
    try_rounds("offload", Family::V4, &["device"; 3])
}

#[test]
fn everything_arrives_by_the_device_over_ipv6_whatever_the_devices_do_themselves() -> Result<()> {
    try_rounds("offloadsix", Family::V6, &["device"; 3])
}

#[test]
fn everything_arrives_natively_whatever_the_devices_do_themselves() -> Result<()> {
    try_rounds("offnative", Family::V4, &["native"; 3])
}

#[test]
fn everything_arrives_natively_over_ipv6_whatever_the_devices_do_themselves() -> Result<()> {
    try_rounds("offnativesix", Family::V6, &["native"; 3])
}

#[test]
fn everything_arrives_between_both_carriers_whatever_the_devices_do_themselves() -> Result<()> {
    try_rounds("offmixed", Family::V4, &["native", "device", "device"])
}

#[test]
fn everything_arrives_between_both_over_ipv6_whatever_the_devices_do_themselves() -> Result<()> {
    try_rounds("offmixedsix", Family::V6, &["device", "native", "native"])
}

fn try_rounds(name: &str, vtep: Family, carriers: &[&str]) -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let spec = Spec {
        vtep,
        ..Spec::new(&Spec::unique_name(name), 3).with_carriers(carriers)
    };
    let mut lab = demo::up(spec)?;
    let mut topology = demo::topology(&lab);
    // A socket that is led elsewhere leaves the programs nothing to rewrite.
    topology.network[0].socket_lb = Some(false);
    lab.apply_topology(&topology)?;
    let mut failures = Vec::new();
    let document = lab.document();
    let nodes: Vec<_> = document
        .nodes
        .iter()
        .map(|it| it.namespace.clone())
        .collect();
    let everybody = members(&lab);
    let rounds = ROUNDS.iter().map(|round| (round, &everybody));
    for (round, whose) in rounds.chain(NODES_ROUNDS.iter().map(|round| (round, &nodes))) {
        switch(whose, round, "off")?;
        let before = checksum_errors(&lab)?;
        if let Err(error) = transfers(&lab) {
            failures.push(format!("{round:?} off in {whose:?}: {error:#}"));
        }
        let after = checksum_errors(&lab)?;
        if before != after {
            failures.push(format!(
                "{round:?} off in {whose:?}: checksum errors: {before:?}, then {after:?}"
            ));
        }
        switch(whose, round, "on")?;
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    lab.down()
}

/// Moves data between every kind of pair.
fn transfers(lab: &Lab) -> Result<()> {
    let topology = demo::topology(lab);
    for family in Family::BOTH {
        let node = lab.document().node("n1").context("a node")?;
        let node = family.of(&node.addresses).context("an address")?;
        let vip = |service: &str| topology.vip(service, family).context("a VIP");
        let pairs = [
            (
                "client",
                SocketAddr::new(node, HTTP_PORT),
                SocketAddr::new(node, UDP_PORT),
            ),
            (
                PROBE,
                SocketAddr::new(vip("web")?, 80),
                SocketAddr::new(vip("echo")?, 7),
            ),
        ];
        for (member, tcp, udp) in pairs {
            let work = || -> Result<()> {
                for _ in 0..TIMES {
                    probe::download(tcp, TRANSFER).context("download")?;
                    probe::upload(tcp, TRANSFER).context("upload")?;
                    probe::datagram(udp, DATAGRAM).context("datagram")?;
                }
                Ok(())
            };
            netns::inside(&lab.namespace(member), work)?
                .with_context(|| format!("{member} to {tcp} and {udp}"))?;
        }
    }
    Ok(())
}

/// Every namespace of the lab that has a network of its own.
fn members(lab: &Lab) -> Vec<String> {
    let document = lab.document();
    let nodes = document.nodes.iter().map(|node| node.namespace.clone());
    let tasks = document.tasks.iter().map(|task| task.namespace.clone());
    nodes
        .chain(tasks)
        .chain([document.client.namespace.clone()])
        .collect()
}

/// Switches features of every Ethernet device in these namespaces.
fn switch(namespaces: &[String], features: &[&str], state: &str) -> Result<()> {
    for namespace in namespaces {
        let text = command::run("ip", &["-n", namespace, "-json", "link", "show"])?;
        let links: Vec<serde_json::Value> = serde_json::from_str(&text)?;
        for link in &links {
            let name = link["ifname"].as_str().context("a name")?;
            if name == "lo" {
                continue;
            }
            for feature in features {
                // A device that cannot switch it has it off or on for good.
                let _ = command::run_inside(namespace, "ethtool", &["-K", name, feature, state]);
            }
        }
    }
    Ok(())
}

/// The counters of packets with a wrong checksum, of every namespace.
fn checksum_errors(lab: &Lab) -> Result<Vec<(String, u64)>> {
    let mut all = Vec::new();
    for namespace in members(lab) {
        let read = || -> Result<u64> {
            let v4 = std::fs::read_to_string("/proc/thread-self/net/snmp")?;
            let v6 = std::fs::read_to_string("/proc/thread-self/net/snmp6")?;
            Ok(in_columns(&v4) + in_lines(&v6))
        };
        let count = netns::inside(&namespace, read)??;
        all.push((namespace, count));
    }
    Ok(all)
}

/// `snmp` has a line of names and a line of numbers for each protocol.
fn in_columns(text: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    let pairs = lines
        .chunks(2)
        .filter_map(|pair| Some((pair.first()?, pair.get(1)?)));
    let errors = pairs.flat_map(|(names, numbers)| {
        let columns = names.split_whitespace().zip(numbers.split_whitespace());
        columns
            .filter(|(name, _)| *name == "InCsumErrors")
            .map(|(_, number)| number)
    });
    errors.filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// `snmp6` has a name and a number on each line.
fn in_lines(text: &str) -> u64 {
    let errors = text.lines().filter(|line| line.contains("InCsumErrors"));
    errors
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum()
}
