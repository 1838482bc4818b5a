//! What stays behind: nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{Settings, desired, settings};
use crate::cleanup::{Cleaned, Cleanup, cleanup};
use crate::kernel::testing::{Namespace, in_node, run};
use crate::lock;
use crate::record::Record;
use crate::{Dataplane, ProblemCode};

#[test]
fn cleanup_leaves_nothing() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let (links, rules) = (run("ip -o link"), task.run("ip rule list"));
        let forwarding = run("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding");
        task.run("sysctl -q -w net.ipv4.conf.all.rp_filter=2");
        let settings = settings(&directory);
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        dataplane.apply(&desired(&[&task])).await.unwrap();
        assert_eq!(
            task.run("sysctl -n net.ipv4.conf.all.rp_filter").trim(),
            "0"
        );

        let mut wanted = Cleanup {
            instance: Some(settings.instance),
            bpffs: settings.bpffs.clone(),
            state: settings.state_dir.clone(),
            dry_run: true,
        };
        for dry_run in [true, false] {
            wanted.dry_run = dry_run;
            let refused = cleanup(&wanted).await;
            assert_eq!(refused.removed, Vec::<String>::new());
            assert_eq!(refused.problems[0].code, ProblemCode::Busy);
        }
        dataplane.close();
        wanted.dry_run = true;
        let dry = cleanup(&wanted).await;
        assert!(dry.removed.len() > 6, "{dry:?}");
        wanted.dry_run = false;
        assert_eq!(cleanup(&wanted).await, dry);
        assert_eq!(cleanup(&wanted).await, Cleaned::default());

        assert_eq!(run("ip -o link"), links);
        assert_eq!(task.run("ip rule list"), rules);
        assert_eq!(
            task.run("sysctl -n net.ipv4.conf.all.rp_filter").trim(),
            "2"
        );
        assert_eq!(
            run("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding"),
            forwarding
        );
        assert_eq!(run("nft list tables"), "");
        assert!(!run("mount").contains(&*settings.bpffs.to_string_lossy()));
        assert!(!settings.state_dir.exists());
        assert_eq!(std::fs::read_dir(lock::DIRECTORY).unwrap().count(), 0);
    });
}

#[test]
fn cleanup_leaves_a_mount_that_others_use_or_made() {
    in_node("192.0.2.1/24", |directory| async move {
        let settings = settings(&directory);
        let wanted = Cleanup {
            instance: Some(settings.instance.clone()),
            bpffs: settings.bpffs.clone(),
            state: settings.state_dir.clone(),
            dry_run: false,
        };
        let mount = format!("mount {}", settings.bpffs.display());
        let foreign = settings.bpffs.join("others");

        Dataplane::open(settings.clone()).await.unwrap().close();
        std::fs::create_dir(&foreign).unwrap();
        assert!(!cleanup(&wanted).await.removed.contains(&mount));
        std::fs::remove_dir(&foreign).unwrap();
        assert_eq!(cleanup(&wanted).await.removed, std::slice::from_ref(&mount));

        run(&format!("mount -t bpf bpf {}", settings.bpffs.display()));
        Dataplane::open(settings.clone()).await.unwrap().close();
        let cleaned = cleanup(&wanted).await;
        assert!(!cleaned.removed.is_empty() && !cleaned.removed.contains(&mount));
    });
}

#[test]
fn cleanup_of_all_instances_needs_no_name() {
    in_node("192.0.2.1/24", |directory| async move {
        let mut settings = settings(&directory);
        settings.state_dir = directory.join("state/one");
        // Named like one of ours by chance.
        run("ip link add vx100123 type vxlan id 100123 dstport 8472 dev eth0");
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        dataplane
            .apply(&desired(&[&Namespace::new()]))
            .await
            .unwrap();
        dataplane.close();
        let all = Cleanup {
            instance: None,
            bpffs: settings.bpffs,
            state: directory.join("state"),
            dry_run: false,
        };
        let cleaned = cleanup(&all).await;
        assert_eq!(cleaned.problems, []);
        for what in [
            "interface vx",
            "interface nd",
            "interface ng",
            "pins",
            "nftables",
            "sysctl",
        ] {
            assert!(
                cleaned.removed.iter().any(|line| line.starts_with(what)),
                "{what}: {cleaned:?}"
            );
        }
        assert_eq!(cleanup(&all).await, Cleaned::default());
        assert!(run("ip -o link").contains("vx100123"));
    });
}

#[test]
fn cleanup_spares_what_runs_wherever_its_state_is() {
    in_node("192.0.2.1/24", |directory| async move {
        let running = settings(&directory);
        let idle = Settings {
            instance: "idle".to_owned(),
            state_dir: directory.join("all/idle"),
            ..running.clone()
        };
        let dataplane = Dataplane::open(idle).await.unwrap();
        let old = dataplane.names.pin_root(&running.bpffs);
        dataplane.close();
        let mut dataplane = Dataplane::open(running.clone()).await.unwrap();
        let task = Namespace::new();
        let wanted = desired(&[&task]);
        dataplane.apply(&wanted).await.unwrap();
        let mut all = Cleanup {
            instance: None,
            bpffs: running.bpffs.clone(),
            state: directory.join("all"),
            dry_run: true,
        };
        let dry = cleanup(&all).await;
        assert_eq!(dry.removed, [format!("pins in {}", old.display())]);
        assert_eq!(dry.problems.len(), 1, "{dry:?}");
        assert_eq!(dry.problems[0].code, ProblemCode::Busy);
        let whose = format!(" {}: stop it first", running.instance);
        assert!(dry.problems[0].message.ends_with(&whose));
        all.dry_run = false;
        assert_eq!(cleanup(&all).await, dry);
        assert!(!old.exists() && !directory.join("all/idle").exists());
        all.state = running.state_dir.clone();
        assert_eq!(cleanup(&all).await.removed, Vec::<String>::new());
        all.instance = Some(running.instance);
        all.state = directory.join("elsewhere");
        let refused = cleanup(&all).await;
        assert_eq!(refused.removed, Vec::<String>::new());
        assert_eq!(refused.problems[0].code, ProblemCode::Busy);
        assert_eq!(dataplane.apply(&wanted).await.unwrap().changes, 0);
    });
}

#[test]
fn other_layout_is_refused_and_left_alone_unless_told_otherwise() {
    in_node("192.0.2.1/24", |directory| async move {
        let settings = settings(&directory);
        let mut dataplane = Dataplane::open(settings.clone()).await.unwrap();
        dataplane.apply(&desired(&[])).await.unwrap();
        let (own, root) = (
            dataplane.names.pins(&settings.bpffs),
            dataplane.names.pin_root(&settings.bpffs),
        );
        dataplane.close();
        let old = root.join("v0");
        std::fs::rename(&own, &old).unwrap();

        let refused = Dataplane::open(settings.clone()).await.unwrap_err();
        let [problem] = &refused.problems[..] else {
            panic!("{refused}");
        };
        assert_eq!(problem.code, ProblemCode::Layout);
        let ours = format!("v{}", abi::LAYOUT);
        assert!(
            problem.message.contains("v0") && problem.message.contains(&ours),
            "{problem}"
        );
        assert!(problem.needed.contains("--replace-layout"), "{problem}");
        assert!(!own.exists() && old.join("maps/FLOWS").exists());

        let told = Settings {
            replace_layout: true,
            ..settings
        };
        let mut dataplane = Dataplane::open(told).await.unwrap();
        assert!(old.exists(), "replaced before anything else is there");
        dataplane.apply(&desired(&[])).await.unwrap();
        assert!(!old.exists());
        assert_eq!(dataplane.status().programs["from_overlay"].len(), 1);
    });
}

#[test]
fn map_of_another_build_is_refused_and_left_alone() {
    in_node("192.0.2.1/24", |directory| async move {
        let settings = settings(&directory);
        let dataplane = Dataplane::open(settings.clone()).await.unwrap();
        let maps = dataplane.names.pins(&settings.bpffs).join("maps");
        dataplane.close();
        std::fs::rename(maps.join("CURSORS"), maps.join("NETWORKS")).unwrap();
        let refused = Dataplane::open(settings.clone()).await.unwrap_err();
        assert_eq!(refused.problems[0].code, ProblemCode::Layout, "{refused}");
        assert!(
            refused.problems[0].message.contains("NETWORKS"),
            "{refused}"
        );
        let told = Settings {
            replace_layout: true,
            ..settings
        };
        let mut dataplane = Dataplane::open(told).await.unwrap();
        assert!(dataplane.apply(&desired(&[])).await.unwrap().changes > 0);
    });
}

#[test]
fn cycles_leak_nothing_into_a_namespace() {
    in_node("192.0.2.1/24", |directory| async move {
        let task = Namespace::new();
        let inode = std::fs::read_link(task.path()).unwrap();
        let mut dataplane = Dataplane::open(settings(&directory)).await.unwrap();
        let mut counts = Vec::new();
        for _ in 0..10 {
            dataplane.apply(&desired(&[&task])).await.unwrap();
            dataplane.apply(&desired(&[])).await.unwrap();
            // The sockets close when the runtime has seen that nobody holds them.
            let deadline = Instant::now() + Duration::from_secs(5);
            while descriptors(&inode) > 0 && Instant::now() < deadline {
                tokio::task::yield_now().await;
            }
            let sockets = task.run("cat /proc/net/netlink").lines().count();
            counts.push((descriptors(&inode), sockets));
        }
        assert_eq!(counts[9], counts[0], "{counts:?}");
        assert_eq!(counts[9].0, 0);
        let record = Record::open(&settings(&directory).state_dir).unwrap();
        assert!(record.namespaces().is_empty(), "{record:?}");
    });
}

/// How many descriptors of this process are of what `/proc` shows as `inode`.
fn descriptors(inode: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to == inode))
        .count()
}
