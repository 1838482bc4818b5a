use std::collections::BTreeSet;

use super::*;
use crate::lower::Uplink;
use crate::names::Names;

const OWN: &str = "192.0.2.1";
const OTHER: &str = "192.0.2.2";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn link(name: &str) -> LinkName {
    LinkName::new(name).unwrap()
}

fn desired(carrier: Carrier) -> Desired {
    Desired {
        carrier,
        vteps: BTreeSet::from([ip(OTHER)]),
        ..Desired::empty(ip(OWN))
    }
}

fn uplink(mtu: u32, medium: Medium, addresses: &[&str]) -> Uplink {
    Uplink {
        mtu,
        medium,
        addresses: addresses.iter().map(|text| ip(text)).collect(),
        ..Uplink::default()
    }
}

/// A node on two Ethernet uplinks, with a router on the second that leads to the other node.
fn facts() -> Facts {
    let hop = NextHop {
        link: link("eth1"),
        address: ip("198.51.100.1"),
        mtu: None,
    };
    Facts {
        names: Names::new("n1"),
        cookie: None,
        cookies: BTreeMap::new(),
        uplinks: BTreeMap::from([
            (link("eth0"), uplink(1500, Medium::Ethernet, &[OWN])),
            (
                link("eth1"),
                uplink(1500, Medium::Ethernet, &["198.51.100.9"]),
            ),
        ]),
        vteps: BTreeMap::new(),
        vtep_capacity: 64,
        next_hops: BTreeMap::from([(ip(OTHER), hop)]),
        native: Ok(()),
        direct: BTreeMap::new(),
        reserved_ports: String::new(),
        forwarded_v6: None,
    }
}

fn reason(desired: &Desired, facts: &Facts) -> Reason {
    way(desired, facts, ip(OTHER)).unwrap_err()
}

#[test]
fn packets_are_handed_to_the_next_hop_of_the_route() {
    for carrier in [Carrier::Auto, Carrier::Native] {
        let numbers = BTreeMap::from([(0, ip(OWN).into()), (3, ip(OTHER).into())]);
        let vteps = lower(&desired(carrier), &facts(), &numbers);
        assert_eq!(vteps[&0].value.flags, vtep::NATIVE);
        assert_eq!(vteps[&0].link, None);
        assert_eq!(vteps[&3].value.flags, vtep::NATIVE);
        assert_eq!(vteps[&3].value.next_hop, ip("198.51.100.1").into());
        assert_eq!(vteps[&3].link, Some(LinkRef::Named(link("eth1"))));
    }
}

#[test]
fn device_takes_everything_where_it_is_asked_for_or_nothing_else_works() {
    assert_eq!(reason(&desired(Carrier::Device), &facts()), Reason::Asked);
    let mut unproven = facts();
    unproven.native = Err("too old".to_owned());
    let expected = Reason::Unproven("too old".to_owned());
    assert_eq!(reason(&desired(Carrier::Auto), &unproven), expected);
    let numbers = BTreeMap::from([(0, ip(OWN).into()), (3, ip(OTHER).into())]);
    for vtep in lower(&desired(Carrier::Auto), &unproven, &numbers).values() {
        assert_eq!((vtep.value.flags, vtep.value.ifindex), (0, 0));
        assert_eq!(vtep.value.next_hop, Address::UNSPECIFIED);
    }
}

#[test]
fn device_takes_what_has_no_way_of_its_own() {
    let auto = desired(Carrier::Auto);
    let mut facts = facts();
    facts.uplinks.get_mut(&link("eth1")).unwrap().mtu = 1400;
    assert!(matches!(
        reason(&auto, &facts),
        Reason::Narrow { mtu: 1400, .. }
    ));
    facts.uplinks.get_mut(&link("eth1")).unwrap().mtu = 1500;
    facts.next_hops.get_mut(&ip(OTHER)).unwrap().mtu = Some(1300);
    assert!(matches!(
        reason(&auto, &facts),
        Reason::Narrow { mtu: 1300, .. }
    ));
    facts.uplinks.remove(&link("eth1"));
    assert_eq!(reason(&auto, &facts), Reason::NoUplink(link("eth1")));
    facts.next_hops.clear();
    assert_eq!(reason(&auto, &facts), Reason::NoRoute);
    assert_eq!(
        here(&auto, &facts),
        Ok(()),
        "what arrives is still unwrapped"
    );
}

#[test]
fn devices_on_top_of_others_are_used_on_demand_only() {
    let mut facts = facts();
    facts.uplinks.get_mut(&link("eth1")).unwrap().medium = Medium::Layered;
    assert!(way(&desired(Carrier::Native), &facts, ip(OTHER)).is_ok());
    assert_eq!(
        reason(&desired(Carrier::Auto), &facts),
        Reason::Layered(link("eth1"))
    );
    facts.uplinks.get_mut(&link("eth1")).unwrap().medium = Medium::Other;
    let expected = Reason::NotEthernet(link("eth1"));
    assert_eq!(reason(&desired(Carrier::Native), &facts), expected);
}
