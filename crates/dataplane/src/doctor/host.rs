//! The kernel and its settings.

use std::fs;
use std::path::Path;

use super::{Finding, Subject};
use crate::kernel::{bpf, probe, sysctl};
use crate::lower::{FORWARDING_V6, RESERVED_PORTS};

/// From how much on, in hundredths, a table counts as nearly full.
pub(super) const NEARLY_FULL: u64 = 80;

/// Privileges, the kernel's age and what it was built with.
pub(super) fn kernel(_: &Subject) -> Vec<Finding> {
    let mut findings: Vec<Finding> = probe::missing()
        .into_iter()
        .map(|problem| Finding::fail("kernel", "", problem.message, problem.needed))
        .collect();
    for (path, what, needed) in [
        (
            "/sys/kernel/btf/vmlinux",
            "the kernel does not describe its types (BTF)",
            "a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
        (
            "/proc/sys/net/ipv6",
            "the kernel has no IPv6: addresses of that family cannot be used",
            "a kernel with CONFIG_IPV6, started without ipv6.disable=1",
        ),
    ] {
        if !Path::new(path).exists() {
            findings.push(Finding::warn("kernel", "", what, needed));
        }
    }
    if findings.is_empty() {
        let message = format!("Linux {} has what netd uses", probe::release());
        findings.push(Finding::ok("kernel", "", message));
    }
    findings
}

/// The file systems that programs and sockets are kept by.
pub(super) fn mounts(subject: &Subject) -> Vec<Finding> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let path = subject.bpffs.display().to_string();
    let bpffs = if bpf::is_mounted(&subject.bpffs) {
        Finding::ok("bpf-file-system", &path, "mounted")
    } else {
        Finding::fail(
            "bpf-file-system",
            &path,
            "no BPF file system is mounted there: programs and tables cannot outlive netd",
            format!("mount -t bpf bpf {path}"),
        )
    };
    let cgroup = mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let place = place.split(' ').nth(4)?;
        kind.starts_with("cgroup2 ").then_some(place)
    });
    let cgroup = match cgroup {
        Some(place) => Finding::ok("cgroup2", place, "mounted"),
        None => Finding::warn(
            "cgroup2",
            "",
            "no cgroup2 file system is mounted: connections cannot be translated when they are made",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    };
    vec![bpffs, cgroup]
}

/// What makes every program slower.
pub(super) fn jit(_: &Subject) -> Vec<Finding> {
    let is =
        |key: &str, value: &str| matches!(sysctl::read(key), Ok(Some(found)) if found == value);
    let mut findings = Vec::new();
    if is("net/core/bpf_jit_enable", "0") {
        findings.push(Finding::warn(
            "bpf-jit",
            "",
            "the kernel interprets programs instead of compiling them",
            "sysctl net.core.bpf_jit_enable=1",
        ));
    }
    if is("kernel/bpf_stats_enabled", "1") {
        findings.push(Finding::warn(
            "bpf-jit",
            "",
            "the kernel measures every run of a program, which costs tens of nanoseconds each",
            "sysctl kernel.bpf_stats_enabled=0 when it is not needed",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok("bpf-jit", "", "programs are compiled"));
    }
    findings
}

/// Whether the kernel sends on what tasks send out.
pub(super) fn forwarding(_: &Subject) -> Vec<Finding> {
    [("IPv4", "net/ipv4/ip_forward"), ("IPv6", FORWARDING_V6)]
        .into_iter()
        .filter_map(|(family, key)| {
            let value = sysctl::read(key).ok().flatten()?;
            let name = key.replace('/', ".");
            Some(if value == "0" {
                Finding::fail(
                    "forwarding",
                    &name,
                    format!("the node does not forward {family}: tasks cannot reach the outside"),
                    format!("sysctl {name}=1, and find out who set it to 0: netd sets it to 1"),
                )
            } else {
                Finding::ok("forwarding", &name, format!("the node forwards {family}"))
            })
        })
        .collect()
}

/// Strict filtering of sources drops what takes another way back.
pub(super) fn rp_filter(subject: &Subject) -> Vec<Finding> {
    let read = |link: &str| -> u32 {
        let value = sysctl::read(&format!("net/ipv4/conf/{link}/rp_filter"));
        let value = value.ok().flatten().and_then(|text| text.parse().ok());
        value.unwrap_or(0)
    };
    let several = subject.uplinks.len() > 1;
    subject
        .uplinks
        .keys()
        // The kernel takes the larger of the two.
        .map(|link| match read("all").max(read(link)) {
            1 if several => Finding::warn(
                "rp-filter",
                link,
                "sources are filtered strictly: what comes in by one uplink and is answered by \
                 another is dropped",
                format!("sysctl net.ipv4.conf.{link}.rp_filter=2 (and conf.all not 1)"),
            ),
            1 => Finding::ok("rp-filter", link, "strict; there is one uplink only"),
            2 => Finding::ok("rp-filter", link, "loose"),
            _ => Finding::ok("rp-filter", link, "off"),
        })
        .collect()
}

/// Ports of ours must not be drawn for outgoing connections.
pub(super) fn reserved_ports(subject: &Subject) -> Vec<Finding> {
    let text = sysctl::read(RESERVED_PORTS).ok().flatten();
    let reserved = crate::lower::parse_ports(&text.unwrap_or_default());
    let mut missing = subject.claims.ports();
    missing.retain(|port| !reserved.contains(port));
    let name = RESERVED_PORTS.replace('/', ".");
    vec![match missing.first() {
        None => Finding::ok("reserved-ports", &name, "every port of netd's is in it"),
        Some(first) => Finding::warn(
            "reserved-ports",
            &name,
            format!(
                "{} ports of netd's are not in it, {first} for one: the kernel may give them to \
                 outgoing connections",
                missing.len()
            ),
            "find out who changed it: netd sets it",
        ),
    }]
}

/// The table of masqueraded connections.
pub(super) fn conntrack(subject: &Subject) -> Vec<Finding> {
    let read = |name: &str| -> Option<u64> {
        let value = sysctl::read(&format!("net/netfilter/{name}")).ok()??;
        value.parse().ok()
    };
    let (Some(count), Some(most), false) = (
        read("nf_conntrack_count"),
        read("nf_conntrack_max"),
        subject.gateways.is_empty(),
    ) else {
        return Vec::new();
    };
    let message = format!("{count} of {most} connections are tracked");
    vec![if count * 100 >= most * NEARLY_FULL {
        Finding::warn(
            "conntrack",
            "",
            format!("{message}: when it is full, tasks make no new connections to the outside"),
            "sysctl net.netfilter.nf_conntrack_max=…, a larger number",
        )
    } else {
        Finding::ok("conntrack", "", message)
    }]
}
