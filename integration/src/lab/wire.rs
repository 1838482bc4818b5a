//! The underlay: a switch, and a router for those beyond it, in one hidden namespace.
//!
//! ```text
//! n1 ─┐
//! n2 ─┤ switch ── router ─┬─ outsider (a network of its own, perhaps with another MTU)
//! n3 ─┤ (br0)             └─ outsider (perhaps inside a range that is also an overlay's)
//! client
//! ```
//! The router is everybody's default gateway, as in any machine room.

use std::fmt::Write;
use std::fs;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use ipnetwork::IpNetwork;

use super::Lab;
use super::record::Record;
use super::spec::{Outsider, Spec};
use crate::{command, netns, wait};

/// Until a link-local address has been shown to be nobody else's, which takes seconds, a router
/// asks for no neighbour. These here are nobody else's.
const NO_WAIT: &str = "ipv6/conf/eth0/accept_dad=0";
const NO_WAIT_IN_WIRE: &str = "ipv6/conf/default/accept_dad=0";
/// Number of the first cable's end in the wire's namespace; members never have that many devices.
const FIRST_INDEX: usize = 1_000_000;
/// How long devices may take to come up.
const LIMIT: Duration = Duration::from_secs(10);
/// The member that is the switch and the router.
const WIRE: &str = "wire";
/// The member that is a client on the underlay itself.
const CLIENT: &str = "client";

impl Lab {
    /// Gives a member of the underlay more addresses there, of these hosts: 20 to 99 and 101 to 254 are
    /// nobody's in small labs.
    ///
    /// # Errors
    /// When it has one of them already.
    pub fn add_addresses(&self, member: &str, hosts: Range<u8>) -> Result<Vec<[IpAddr; 2]>> {
        let underlay = self.underlay();
        let pairs: Vec<[IpAddr; 2]> = hosts.map(|host| underlay.host(host)).collect();
        let mut batch = String::new();
        for network in pairs.iter().flatten().copied().map(IpNetwork::from) {
            writeln!(batch, "{}", address("eth0", &network))?;
        }
        command::ip_batch(Some(&self.namespace(member)), &batch)
            .with_context(|| format!("more addresses for {member}"))?;
        Ok(pairs)
    }
}

/// Makes the wire, and the namespaces of all who are connected to it.
pub(super) fn build(spec: &Spec, record: &mut Record) -> Result<()> {
    let mut members = vec![WIRE.to_owned(), CLIENT.to_owned()];
    members.extend(spec.node_names());
    members.extend(spec.outsiders.iter().map(|outsider| outsider.name.clone()));
    let namespaces: Vec<String> = members
        .iter()
        .map(|member| spec.namespace(member))
        .collect();
    record.announce(&namespaces)?;
    netns::create(&namespaces)?;
    let settings = [
        "ipv4/ip_forward=1",
        "ipv6/conf/all/forwarding=1",
        NO_WAIT_IN_WIRE,
    ];
    set(&spec.namespace(WIRE), &settings)?;
    command::ip_batch(Some(&spec.namespace(WIRE)), &switch(spec)?).context("make the underlay")?;
    let underlay = spec.underlay();
    for (name, index) in spec.node_names().iter().zip(0u8..) {
        connect(
            spec,
            name,
            &on_underlay(underlay.node(index)),
            &underlay.router(),
        )?;
    }
    connect(
        spec,
        CLIENT,
        &on_underlay(underlay.client()),
        &underlay.router(),
    )?;
    for outsider in &spec.outsiders {
        let routers = routers(outsider);
        connect(spec, &outsider.name, &outsider.addresses, &routers)?;
    }
    // Last, for the same reason that `cable` has.
    command::ip_batch(Some(&spec.namespace(WIRE)), "link set br0 up\n")?;
    wait::until(LIMIT, "the wire comes up", || {
        namespaces
            .iter()
            .all(|namespace| is_up(namespace).unwrap_or(false))
    })
}

/// Whether all devices of a namespace carry packets. The kernel brings them up some time after it
/// was told to, and drops what is sent before.
fn is_up(namespace: &str) -> Result<bool> {
    let text = command::run(
        "ip",
        &["-n", namespace, "-details", "-json", "link", "show", "up"],
    )?;
    let links: Vec<serde_json::Value> = serde_json::from_str(&text).context("read links")?;
    let works = |link: &serde_json::Value| {
        let port = &link["linkinfo"]["info_slave_data"]["state"];
        let works = link["operstate"] == "UP" && (port.is_null() || port == "forwarding");
        // The switch works as soon as its ports do, and says so later.
        works || link["ifname"] == "lo" || link["ifname"] == "br0"
    };
    Ok(links.len() > 1 && links.iter().all(works))
}

/// The commands inside the wire's namespace.
fn switch(spec: &Spec) -> Result<String> {
    let mtu = spec.underlay_mtu;
    let mut batch =
        format!("link add br0 mtu {mtu} type bridge forward_delay 0 mcast_snooping 0\n");
    for router in on_underlay(spec.underlay().router()) {
        writeln!(batch, "{}", address("br0", &router))?;
    }
    let names = spec.node_names();
    for (index, member) in names.iter().map(String::as_str).chain([CLIENT]).enumerate() {
        writeln!(batch, "{}", cable(spec, member, (index, mtu)))?;
        writeln!(batch, "link set {member} master br0 up")?;
    }
    for (outsider, index) in spec.outsiders.iter().zip(names.len() + 1..) {
        let name = &outsider.name;
        writeln!(batch, "{}", cable(spec, name, (index, outsider.mtu)))?;
        for (router, network) in routers(outsider).iter().zip(&outsider.addresses) {
            let router = IpNetwork::new(*router, network.prefix())?;
            writeln!(batch, "{}", address(name, &router))?;
        }
        writeln!(batch, "link set {name} up")?;
    }
    Ok(batch)
}

/// A cable from the wire's namespace, where its end is called as the member, to `eth0` there.
///
/// The ends get different numbers on purpose: of a pair whose ends have the same number by chance
/// the kernel tells only once a second that it carries packets, and drops them until then
/// (`linkwatch_urgent_event` in net/core/link_watch.c).
fn cable(spec: &Spec, member: &str, (index, mtu): (usize, u32)) -> String {
    let namespace = spec.namespace(member);
    let index = FIRST_INDEX + index;
    format!(
        "link add {member} index {index} mtu {mtu} type veth \
         peer name eth0 mtu {mtu} netns {namespace}"
    )
}

/// Gives a member its addresses and its default gateway.
fn connect(spec: &Spec, member: &str, own: &[IpNetwork], gateways: &[IpAddr]) -> Result<()> {
    set(&spec.namespace(member), &[NO_WAIT])?;
    let mut batch = String::new();
    for network in own {
        writeln!(batch, "{}", address("eth0", network))?;
    }
    batch.push_str("link set eth0 up\n");
    for gateway in gateways {
        writeln!(batch, "route add default via {gateway} dev eth0")?;
    }
    command::ip_batch(Some(&spec.namespace(member)), &batch)
        .with_context(|| format!("connect {member}"))
        .map(|_| ())
}

/// No duplicate address detection: an address is to be usable at once.
fn address(device: &str, network: &IpNetwork) -> String {
    let nodad = if network.is_ipv6() { " nodad" } else { "" };
    format!("addr add {network} dev {device}{nodad}")
}

fn on_underlay(addresses: [IpAddr; 2]) -> Vec<IpNetwork> {
    let prefix = |address: &IpAddr| if address.is_ipv4() { 24 } else { 64 };
    let networks = addresses
        .iter()
        .map(|each| IpNetwork::new(*each, prefix(each)));
    networks.flatten().collect()
}

/// The first address of each of an outsider's networks.
fn routers(outsider: &Outsider) -> Vec<IpAddr> {
    let first = |network: &IpNetwork| match network.network() {
        IpAddr::V4(base) => IpAddr::V4((u32::from(base) + 1).into()),
        IpAddr::V6(base) => IpAddr::V6((u128::from(base) + 1).into()),
    };
    outsider.addresses.iter().map(first).collect()
}

/// Sets what is below `/proc/sys/net` in a namespace.
fn set(namespace: &str, settings: &[&str]) -> Result<()> {
    netns::inside(namespace, || {
        settings.iter().try_for_each(|setting| {
            let (name, value) = setting.split_once('=').context("a setting has a value")?;
            fs::write(format!("/proc/sys/net/{name}"), value)
                .with_context(|| format!("set {setting} in {namespace}"))
        })
    })?
}
