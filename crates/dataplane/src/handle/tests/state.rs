//! Reaching a state, keeping it, and not reaching it.

use std::path::PathBuf;
use std::time::Duration;

use super::{desired, settings};
use crate::kernel::testing::{Namespace, in_node, run};
use crate::{Attachment, Dataplane, ProblemCode};

#[test]
fn state_is_reached_kept_and_removed() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let full = desired(&[&one, &two]);
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let report = dataplane.apply(&full).await.unwrap();
        assert!(report.changes > 40, "{report:?}");
        assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0);
        let status = dataplane.status();
        assert_eq!(status.overlay_mtu, Some(1450));
        assert_eq!(status.programs["from_task"].len(), 5);
        assert_eq!(status.programs["to_task"].len(), 2);

        // Another process adopts what this one leaves.
        dataplane.close();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0);

        // One task less is exactly that.
        let half = desired(&[&one]);
        dataplane.apply(&half).await.unwrap();
        assert_eq!(dataplane.apply(&half).await.unwrap().changes, 0);
        assert_eq!(dataplane.status().programs["from_task"].len(), 3);
        assert!(!two.run("ip rule list").contains("100:"));

        let none = desired(&[]);
        dataplane.apply(&none).await.unwrap();
        assert_eq!(dataplane.apply(&none).await.unwrap().changes, 0);
        let links = run("ip -o link");
        assert!(
            !links.contains(": nd") && !links.contains(": ng"),
            "{links}"
        );
        assert!(!run("nft list tables").contains("netd-test"));
    });
}

#[test]
fn new_address_is_news_and_a_task_is_not() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let mut events = dataplane.events().unwrap();
        let quiet = Duration::from_millis(300);
        assert!(tokio::time::timeout(quiet, events.changed()).await.is_err());
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(tokio::time::timeout(quiet, events.changed()).await.is_err());

        run("ip address add 192.0.2.7/24 dev eth0");
        let patient = Duration::from_secs(5);
        assert_eq!(
            tokio::time::timeout(patient, events.changed()).await,
            Ok(Some(()))
        );
        assert_eq!(
            dataplane.apply(&desired(&[&task])).await.unwrap().changes,
            1
        );

        run("ip link add extra type veth peer name extra2");
        run("ip link set extra up");
        run("ip address add 198.51.100.1/24 dev extra");
        assert_eq!(
            tokio::time::timeout(patient, events.changed()).await,
            Ok(Some(()))
        );
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(dataplane.status().programs["from_uplink"].contains("extra"));
        drop(tokio::time::timeout(quiet, events.changed()).await);
        let host = dataplane.status().host_interfaces["web-1"].clone();
        run(&format!("ip link del {host}"));
        assert_eq!(
            tokio::time::timeout(patient, events.changed()).await,
            Ok(Some(()))
        );
        assert!(dataplane.apply(&desired(&[&task])).await.unwrap().changes > 0);

        run("ip link del extra");
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert!(!dataplane.status().programs["from_uplink"].contains("extra"));
        assert_eq!(
            dataplane.apply(&desired(&[&task])).await.unwrap().changes,
            0
        );
    });
}

#[test]
fn foreign_firewall_is_named() {
    in_node("192.0.2.1/24", |directory| async move {
        run("nft add table ip filter");
        run(
            "nft add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }",
        );
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&desired(&[])).await.unwrap();
        let problems = dataplane.status().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].code, ProblemCode::ForeignFirewall);
        assert!(
            problems[0].message.contains("ip filter FORWARD"),
            "{}",
            problems[0]
        );
    });
}

#[test]
fn damage_is_repaired() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let full = desired(&[&task]);
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        dataplane.apply(&full).await.unwrap();
        let names = dataplane.status().host_interfaces;
        for damage in [
            "ip link del eth0",
            "ip route flush table 28260",
            "ip rule del priority 100",
            "ip address flush dev eth1",
            "ip neighbour flush nud permanent dev eth1",
            "ip link set eth0 down",
            "sysctl -q -w net.ipv4.conf.eth1.rp_filter=1",
        ] {
            task.run(damage);
            assert!(
                dataplane.apply(&full).await.unwrap().changes > 0,
                "{damage}"
            );
            assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0, "{damage}");
        }
        let table = format!("nft flush table inet {}", dataplane.names.table());
        let tunnel = dataplane.names.tunnel();
        for damage in [
            format!("ip link del {}", names["web-1"]),
            format!("ip link del {tunnel}"),
            format!("ip link set {tunnel} down"),
            "sysctl -q -w net.ipv4.ip_forward=0".to_owned(),
            table,
        ] {
            run(&damage);
            assert!(
                dataplane.apply(&full).await.unwrap().changes > 0,
                "{damage}"
            );
            assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0, "{damage}");
        }
    });
}

#[test]
fn what_cannot_be_made_is_undone_and_the_rest_is_done() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        // The name is taken, so the pair cannot be made; the route is, so it cannot be finished.
        one.run("ip link add eth0 type veth peer name other");
        two.run("ip link add other type veth peer name another");
        two.run("ip link set other up");
        two.run("ip link set another up");
        two.run("ip route add default dev other");
        let wanted = desired(&[&one, &two]);
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let error = dataplane.apply(&wanted).await.unwrap_err();
        assert!(error.changed);
        assert!(
            error
                .problems
                .iter()
                .any(|p| p.message.contains("create veth")),
            "{error}"
        );
        assert!(
            error
                .problems
                .iter()
                .any(|p| p.message.contains("add route 0.0.0.0/0")),
            "{error}"
        );
        assert!(
            !two.run("ip -o link").contains("eth1"),
            "a half-made pair stays"
        );
        assert!(
            two.run("ip -o link").contains("eth0"),
            "the other pair is made"
        );
        assert!(!dataplane.status().problems.is_empty());

        one.run("ip link del eth0");
        two.run("ip route del default dev other");
        dataplane.apply(&wanted).await.unwrap();
        assert_eq!(dataplane.apply(&wanted).await.unwrap().changes, 0);
        assert_eq!(dataplane.status().problems, []);
    });
}

#[test]
fn namespace_that_is_no_tasks_own_changes_nothing() {
    in_node("192.0.2.1/24", |directory| async move {
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let before = run("ip -o link");
        for path in ["/run/netns/netd-does-not-exist", "/proc/thread-self/ns/net"] {
            let mut wanted = desired(&[&Namespace::new()]);
            let attachment = wanted.attachments.get_mut("web-1").unwrap();
            attachment.namespace = PathBuf::from(path);
            let error = dataplane.apply(&wanted).await.unwrap_err();
            assert!(!error.changed);
            assert!(
                error
                    .problems
                    .iter()
                    .any(|p| p.code == ProblemCode::Namespace && p.message.contains(path)),
                "{error}"
            );
            assert_eq!(run("ip -o link"), before);
        }
    });
}

#[test]
fn address_that_nobody_has_is_a_problem() {
    in_node("198.51.100.1/24", |directory| async move {
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let error = dataplane.apply(&desired(&[])).await.unwrap_err();
        assert!(!error.changed);
        assert_eq!(error.problems.len(), 1);
        assert_eq!(error.problems[0].code, ProblemCode::Underlay);
    });
}

#[test]
fn second_attachment_takes_the_name_of_the_gateway_attachment_and_gives_it_back() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let one = desired(&[&task]);
        let mut two = one.clone();
        let second = Attachment {
            interface: "eth1".to_owned(),
            addresses: vec!["10.0.1.99/24".parse().unwrap()],
            ..one.attachments["web-1"].clone()
        };
        two.attachments.insert("web-1b".to_owned(), second);
        two.gateways.get_mut(task.path()).unwrap().interface = "eth2".to_owned();
        for desired in [&one, &two, &one] {
            dataplane.apply(desired).await.unwrap();
            assert_eq!(dataplane.apply(desired).await.unwrap().changes, 0);
        }
    });
}
