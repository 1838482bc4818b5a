//! What somebody else changes is put right, and said.

use super::{desired, settings};
use crate::Dataplane;
use crate::kernel::testing::{Namespace, in_node, run};

/// What was repaired, by whom nothing else was asked for; a second audit finds nothing.
async fn repaired(dataplane: &mut Dataplane, task: &Namespace) -> String {
    let full = desired(&[task]);
    let report = dataplane.audit(&full).await.unwrap();
    assert!(report.audited);
    let again = dataplane.audit(&full).await.unwrap();
    assert_eq!((again.changes, again.repaired.len()), (0, 0), "{again:?}");
    report.repaired.join("; ")
}

#[test]
fn damage_is_named() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let first = dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(first.changes > 0 && first.repaired.is_empty(), "{first:?}");
        let table = dataplane.names.table();
        let tunnel = dataplane.names.tunnel();
        let link = dataplane.status().host_interfaces["web-1"].clone();
        let pins = dataplane.names.pins(&directory.join("bpf"));
        let pins = pins.display();
        let outside = [
            (format!("nft delete table inet {table}"), "nftables table"),
            (format!("ip link del {tunnel}"), "interface vx"),
            (format!("ip link del {link}"), "interface nd"),
            (
                "sysctl -q -w net.ipv4.ip_forward=0".to_owned(),
                "ip_forward",
            ),
            (
                format!("find {pins}/links -name from_uplink-* -delete"),
                "program from_uplink on eth0",
            ),
            (format!("rm {pins}/maps/FLOWS"), "pin of map FLOWS"),
            (format!("rm -r {pins}/maps"), "pin of map SERVICES"),
        ];
        for (damage, named) in outside {
            run(&damage);
            let told = repaired(&mut dataplane, &task).await;
            assert!(told.contains(named), "{damage}: {told:?}");
        }
        let inside = [
            ("ip route flush table 28260", "route to"),
            ("ip rule del priority 100", "rule from"),
            ("ip address flush dev eth1", "address"),
            ("ip link set eth0 down", "state of eth0"),
            (
                "sysctl -q -w net.ipv4.conf.eth1.rp_filter=1",
                "setting ipv4/rp_filter",
            ),
        ];
        for (damage, named) in inside {
            task.run(damage);
            let told = repaired(&mut dataplane, &task).await;
            assert!(told.contains(named), "{damage}: {told:?}");
        }
    });
}

#[test]
fn entries_of_tables_come_back() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[&task])).await.unwrap();
        let maps = &dataplane.maps;
        let endpoints = maps.endpoints.entries().unwrap();
        maps.endpoints.remove(&endpoints[0].0).unwrap();
        maps.endpoints.remove(&endpoints[1].0).unwrap();
        let (key, value) = maps.services.entries().unwrap()[0];
        let spoilt = abi::Service {
            id: value.id + 1,
            ..value
        };
        maps.services.put(&key, &spoilt).unwrap();
        let (address, _) = maps.vtep_ids.entries().unwrap()[0];
        maps.vtep_ids.remove(&address).unwrap();
        let told = repaired(&mut dataplane, &task).await;
        for named in [
            "2 entries of table endpoints",
            "1 entry of table frontends",
            "1 entry of table vteps",
        ] {
            assert!(told.contains(named), "{told:?}");
        }
        assert!(
            dataplane
                .maps
                .vtep_ids
                .entries()
                .unwrap()
                .iter()
                .any(|(known, _)| *known == address)
        );
    });
}

#[test]
fn what_is_asked_for_is_no_repair() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[&one])).await.unwrap();
        let grown = dataplane.apply(&desired(&[&one, &two])).await.unwrap();
        assert!(grown.audited && grown.changes > 0);
        assert_eq!(grown.repaired, Vec::<String>::new());
        run("ip address add 192.0.2.7/24 dev eth0");
        let moved = dataplane.apply(&desired(&[&one, &two])).await.unwrap();
        assert_eq!((moved.changes, moved.repaired.len()), (1, 0), "{moved:?}");

        // Nobody looks at an edit, and the next audit sees what happened meanwhile.
        run("sysctl -q -w net.ipv4.ip_forward=0");
        let mut edited = desired(&[&one, &two]);
        edited.backends.get_mut(&1).unwrap().weight = 3;
        let edit = dataplane.apply(&edited).await.unwrap();
        assert!(!edit.audited && edit.changes > 0, "{edit:?}");
        let audit = dataplane.audit(&edited).await.unwrap();
        assert_eq!(audit.repaired, ["setting net/ipv4/ip_forward"]);
    });
}
