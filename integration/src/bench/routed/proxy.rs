//! Services by haproxy: a process between client and server.

use std::fmt::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Rule;
use crate::bench::fabric::Fabric;
use crate::bench::{cpu, progress};
use crate::process::Process;
use crate::{command, netns, wait};

/// How long it may take to listen.
const LIMIT: Duration = Duration::from_secs(10);

const FRAME: &str = "global
 nbthread 1
 maxconn 4096
defaults
 mode tcp
 timeout connect 5s
 timeout client 1m
 timeout server 1m
";

/// Relays on a node what the rules say, TCP; false where there is no haproxy.
pub(in crate::bench) fn relay(fabric: &Fabric, node: &str, rules: &[Rule]) -> Result<bool> {
    if command::run("haproxy", &["-v"]).is_err() {
        progress(
            "no haproxy on this machine: not compared with it (`cargo xtask bench` installs it)",
        );
        return Ok(false);
    }
    let namespace = fabric.lab().namespace(node);
    let mut text = FRAME.to_owned();
    for (number, rule) in rules.iter().enumerate() {
        let address = rule.address.map(|it| it.to_string()).unwrap_or_default();
        let (port, backend) = (rule.port, rule.backend);
        writeln!(
            text,
            "listen service-{number}\n bind {address}:{port}\n server only {backend}"
        )?;
        if rule.address.is_some() {
            command::ip_batch(Some(&namespace), &format!("addr add {address}/32 dev lo\n"))?;
        }
    }
    let file = fabric.lab().file(&format!("{node}-haproxy.cfg"));
    std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    let log = fabric.lab().file(&format!("{node}-haproxy.log"));
    let cpus = cpu::ALL.map(|cpu| cpu.to_string()).join(",");
    let file = file.display().to_string();
    let words = ["-c", &cpus, "haproxy", "-db", "-f", &file].map(ToOwned::to_owned);
    Process::spawn_inside(&namespace, Path::new("taskset"), &words, &log, "haproxy")?;
    for rule in rules {
        let address = rule.address.unwrap_or(std::net::Ipv4Addr::LOCALHOST);
        let target = SocketAddr::from((address, rule.port));
        let what = format!("haproxy listens at {target} (see {})", log.display());
        netns::inside(&namespace, || {
            wait::until(LIMIT, &what, || TcpStream::connect(target).is_ok())
        })??;
    }
    Ok(true)
}
