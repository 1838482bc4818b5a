//! Echo requests, and the time to live: a network is one link, however many nodes it spans.

use std::net::IpAddr;

use anyhow::{Context, Result, ensure};
use integration::lab::demo::{self, NETWORK, PROBE};
use integration::lab::topology::Service;
use integration::lab::{Family, Lab, Spec};
use integration::{can_make_labs, command};

/// Three echo requests; whether all were answered.
fn ping(lab: &Lab, member: &str, target: IpAddr, more: &[&str]) -> Result<()> {
    let target = target.to_string();
    let args = ["-n", "-q", "-c", "3", "-i", "0.05", "-W", "2", &target];
    let all: Vec<&str> = more.iter().copied().chain(args).collect();
    let text = command::run_inside(&lab.namespace(member), "ping", &all)?;
    ensure!(text.contains(" 0% packet loss"), "{text}");
    Ok(())
}

#[test]
fn tasks_vips_and_gateways_answer_within_one_hop() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let mut lab = demo::up(Spec::new(&Spec::unique_name("icmp"), 3))?;
    let topology = demo::topology(&lab);
    let mut failures = Vec::new();
    for family in Family::BOTH {
        // The network itself, a VIP, another one, the near task, the far one.
        for host in [1, 2, 3, 11, 12] {
            let target = family
                .of(&topology.addresses(NETWORK, host))
                .context("an address")?;
            // A time to live of one would end at the first router.
            let answered = ping(&lab, PROBE, target, &["-t", "1"]);
            failures.extend(answered.err().map(|error| format!("{target}: {error:#}")));
        }
    }
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    // Without a backend a VIP is nobody.
    let mut empty = topology;
    for service in &mut empty.service {
        service.backends = Service::new("", "", &[]).backends;
    }
    lab.apply_topology(&empty)?;
    for family in Family::BOTH {
        let vip = empty.vip("web", family).context("a VIP")?;
        ensure!(
            ping(&lab, PROBE, vip, &[]).is_err(),
            "{vip} answers without a backend"
        );
    }
    lab.down()
}

#[test]
fn what_the_overlay_carries_arrives_whole_and_nothing_larger() -> Result<()> {
    if !can_make_labs() {
        return Ok(());
    }
    let lab = demo::up(Spec::new(&Spec::unique_name("mtu"), 3))?;
    let topology = demo::topology(&lab);
    for family in Family::BOTH {
        let far = family
            .of(&topology.addresses(NETWORK, 12))
            .context("an address")?;
        // 1,500 less 50 of the tunnel, less the headers of IP and of ICMP.
        let fits = if family == Family::V4 {
            1450 - 28
        } else {
            1450 - 48
        };
        ping(&lab, PROBE, far, &["-M", "do", "-s", &fits.to_string()])?;
        let more = (fits + 1).to_string();
        let refused = ping(&lab, PROBE, far, &["-M", "do", "-s", &more]);
        ensure!(refused.is_err(), "{more} bytes went through");
        // In pieces they do.
        ping(&lab, PROBE, far, &["-s", "8000"])?;
    }
    lab.down()
}
