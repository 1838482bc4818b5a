//! What this host lacks.

use std::fs;
use std::path::Path;

use crate::kernel::nft;
use crate::problem::{Problem, ProblemCode};

/// Capabilities by their bit in /proc/self/status, from linux/capability.h.
const CAPABILITIES: [(u32, &str); 3] = [
    (12, "CAP_NET_ADMIN"),
    (21, "CAP_SYS_ADMIN"),
    (39, "CAP_BPF"),
];

/// The oldest kernel whose verifier is known to take the programs.
const KERNEL: (u32, u32) = (6, 1);

/// What makes it impossible to start.
pub(crate) fn missing() -> Vec<Problem> {
    let mut problems = Vec::new();
    privileges(&mut problems);
    kernel(&mut problems);
    problems
}

/// What will keep traffic from passing, though everything can be set up.
pub(crate) fn obstacles() -> Vec<Problem> {
    let mut problems = Vec::new();
    if !Path::new("/proc/sys/net/ipv6").exists() {
        problems.push(Problem::new(
            ProblemCode::Feature,
            "the kernel has no IPv6: addresses of that family cannot be used".to_owned(),
            "a kernel with CONFIG_IPV6, started without ipv6.disable=1",
        ));
    }
    match nft::dropping_chains() {
        Ok(chains) => problems.extend(
            chains
                .into_iter()
                .map(|chain| foreign(&chain.hook, &format!("nftables chain {}", chain.name))),
        ),
        Err(error) => problems.push(Problem::new(
            ProblemCode::Tool,
            Problem::from_error(ProblemCode::Tool, &error).message,
            "nft(8), to masquerade what tasks send out",
        )),
    }
    problems.extend(old_iptables());
    problems
}

/// What chains of the old iptables drop, where it is in use.
pub(crate) fn old_iptables() -> Vec<Problem> {
    let mut problems = Vec::new();
    for (names, tool) in [
        ("/proc/net/ip_tables_names", "iptables-legacy"),
        ("/proc/net/ip6_tables_names", "ip6tables-legacy"),
    ] {
        let filter =
            fs::read_to_string(names).is_ok_and(|text| text.lines().any(|l| l == "filter"));
        if filter {
            problems.extend(legacy(tool));
        }
    }
    problems
}

/// The kernel's release, as uname(1) has it.
pub(crate) fn release() -> String {
    let uname = rustix::system::uname();
    uname.release().to_string_lossy().into_owned()
}

fn privileges(problems: &mut Vec<Problem>) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective
        .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
        .unwrap_or(0);
    for (bit, name) in CAPABILITIES {
        if bits & (1 << bit) == 0 {
            problems.push(Problem::new(
                ProblemCode::Privileges,
                format!("the process does not have {name}"),
                "run as root",
            ));
        }
    }
}

fn kernel(problems: &mut Vec<Problem>) {
    let release = release();
    if parse_release(&release).is_some_and(|version| version < KERNEL) {
        problems.push(Problem::new(
            ProblemCode::Kernel,
            format!("kernel {release} is too old for the kernel programs"),
            format!("kernel {}.{} or later", KERNEL.0, KERNEL.1),
        ));
    }
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Chains of the old iptables, which nft(8) does not show.
fn legacy(tool: &str) -> Vec<Problem> {
    let Ok(output) = std::process::Command::new(tool).arg("-S").output() else {
        return vec![Problem::new(
            ProblemCode::ForeignFirewall,
            "there are rules of the old iptables that cannot be read".to_owned(),
            format!("{tool}(8), to see whether they drop what is forwarded"),
        )];
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let dropping = |chain: &str| text.lines().any(|line| line == format!("-P {chain} DROP"));
    [("FORWARD", "forward"), ("INPUT", "input")]
        .into_iter()
        .filter(|(chain, _)| dropping(chain))
        .map(|(chain, hook)| foreign(hook, &format!("{tool} chain {chain}")))
        .collect()
}

fn foreign(hook: &str, name: &str) -> Problem {
    let (what, needed) = if hook == "forward" {
        (
            "forwarded packets: tasks cannot reach the outside",
            "accept interfaces ng* in it",
        )
    } else {
        (
            "received packets: tunnels may not reach this node",
            "accept the data-path port in it",
        )
    };
    let message = format!("{name} drops {what}");
    Problem::new(ProblemCode::ForeignFirewall, message, needed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_as_numbers() {
        assert_eq!(parse_release("6.18.44-fc-v657"), Some((6, 18)));
        assert!(parse_release("6.1.0-56-cloud-amd64").unwrap() >= KERNEL);
        assert!(parse_release("5.15.0-100-generic").unwrap() < KERNEL);
        assert_eq!(parse_release("?"), None);
    }
}
