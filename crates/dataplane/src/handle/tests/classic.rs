//! Programs attached by the classic tc, as on kernels without tcx.

use std::path::Path;
use std::process::Command;

use super::traffic::{ask, serve};
use super::{Settings, desired, settings};
use crate::cleanup::{Cleanup, cleanup};
use crate::kernel::testing::{Namespace, in_node, run};
use crate::{Attach, Dataplane};

fn classic(directory: &Path) -> Settings {
    Settings {
        attach: Some(Attach::Tc),
        ..settings(directory)
    }
}

async fn clean(settings: &Settings) {
    let wanted = Cleanup {
        instance: Some(settings.instance.clone()),
        bpffs: settings.bpffs.clone(),
        state: settings.state_dir.clone(),
        dry_run: false,
    };
    let cleaned = cleanup(&wanted).await;
    assert_eq!(cleaned.problems, []);
}

#[test]
fn filters_do_what_links_do_and_are_taken_over() {
    in_node("192.0.2.1/24", |directory| async move {
        let (one, two) = (Namespace::new(), Namespace::new());
        let settings = classic(&directory);
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        let full = desired(&[&one, &two]);
        dataplane.apply(&full).await.unwrap();
        serve(&two);
        assert_eq!(ask(&one, "10.0.1.12:8080"), "10.0.1.11");
        let uplink = || run("tc filter show dev eth0 ingress");
        assert!(
            uplink().contains("from_uplink direct-action"),
            "{}",
            uplink()
        );
        let links = dataplane.names.pins(&settings.bpffs).join("links");
        assert!(!links.exists());
        dataplane.close();

        // Without being told, since what is attached stays as it is.
        let before = uplink();
        let again = Settings {
            attach: None,
            ..settings.clone()
        };
        let mut dataplane = Dataplane::open(again).await.unwrap();
        assert_eq!(dataplane.apply(&full).await.unwrap().changes, 0);
        let after = uplink();
        assert_ne!(before, after, "the program is the new process's");
        assert_eq!(after.matches("direct-action").count(), 1, "{after}");
        assert!(dataplane.status().programs["from_uplink"].contains("eth0"));
        assert_eq!(ask(&one, "10.0.1.12:8080"), "10.0.1.11");

        dataplane.apply(&desired(&[&one])).await.unwrap();
        dataplane.close();
        let qdiscs = run("tc qdisc show dev eth0");
        assert!(qdiscs.contains("clsact"), "{qdiscs}");
        clean(&settings).await;
        assert_eq!(uplink(), "");
        let qdiscs = run("tc qdisc show dev eth0");
        assert!(!qdiscs.contains("clsact"), "{qdiscs}");
    });
}

#[test]
fn filters_that_are_gone_come_back() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let mut dataplane = Dataplane::open(classic(&directory)).await.unwrap();
        let full = desired(&[&task]);
        dataplane.apply(&full).await.unwrap();
        let link = dataplane.status().host_interfaces["web-1"].clone();
        for (damage, named) in [
            (
                "tc filter del dev eth0 ingress".to_owned(),
                "from_uplink on eth0",
            ),
            (
                "tc qdisc del dev eth0 clsact".to_owned(),
                "from_uplink on eth0",
            ),
            (format!("tc qdisc del dev {link} clsact"), "from_task on nd"),
            (format!("ip link del {link}"), "interface nd"),
        ] {
            run(&damage);
            let told = dataplane.audit(&full).await.unwrap().repaired.join("; ");
            assert!(told.contains(named), "{damage}: {told:?}");
            assert_eq!(dataplane.audit(&full).await.unwrap().changes, 0);
        }
    });
}

#[test]
fn filters_of_others_come_first_and_stay() {
    in_node("192.0.2.1/24", |directory| async move {
        run("tc qdisc add dev eth0 clsact");
        // Classic BPF that matches nothing.
        let theirs = ["bytecode", "1,6 0 0 0,"];
        Command::new("tc")
            .args("filter add dev eth0 ingress bpf".split(' ').chain(theirs))
            .status()
            .unwrap();
        let theirs = run("tc filter show dev eth0 ingress");
        let settings = classic(&directory);
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        dataplane.apply(&desired(&[])).await.unwrap();
        let both = run("tc filter show dev eth0 ingress");
        let place = |what: &str| both.find(what).unwrap();
        assert!(place("bytecode") < place("from_uplink"), "{both}");
        dataplane.close();
        clean(&settings).await;
        assert_eq!(run("tc filter show dev eth0 ingress"), theirs);
    });
}
