//! The programs that nodes, laboratories and tests call, and the privileges that they need.

use std::fs;
use std::os::unix::fs::MetadataExt;

use anyhow::{Context, Result, bail};

use crate::process::{command, find, output, say};

/// A program, and the Debian package that has it.
struct Tool {
    program: &'static str,
    package: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "ip",
        package: "iproute2",
    },
    Tool {
        program: "nft",
        package: "nftables",
    },
    Tool {
        program: "ping",
        package: "iputils-ping",
    },
    Tool {
        program: "curl",
        package: "curl",
    },
    Tool {
        program: "ethtool",
        package: "ethtool",
    },
    Tool {
        program: "nsenter",
        package: "util-linux",
    },
    Tool {
        program: "git",
        package: "git",
    },
];

/// What emulates a machine, and fills its image.
const MACHINE: &[Tool] = &[
    Tool {
        program: "qemu-system-x86_64",
        package: "qemu-system-x86",
    },
    Tool {
        program: "depmod",
        package: "kmod",
    },
    Tool {
        program: "strip",
        package: "binutils",
    },
    Tool {
        program: "ps",
        package: "procps",
    },
];

/// What benchmarks compare netd with.
const PEERS: &[Tool] = &[Tool {
    program: "haproxy",
    package: "haproxy",
}];

/// Installs the programs that are missing.
///
/// # Errors
/// Without root privileges, without apt, or when a program is missing after all.
pub(super) fn ensure() -> Result<()> {
    ensure_tools(TOOLS)
}

/// Installs what virtual machines take.
///
/// # Errors
/// As [`ensure`].
pub(crate) fn ensure_machine() -> Result<()> {
    ensure_tools(MACHINE)
}

/// Installs what benchmarks compare netd with, as far as it is missing, and sees to it that it does
/// not run by itself.
///
/// # Errors
/// As [`ensure`].
pub(super) fn ensure_peers() -> Result<()> {
    let absent = find("haproxy").is_none();
    ensure_tools(PEERS)?;
    if absent && find("systemctl").is_some() {
        // Without systemd there is nothing to keep from starting.
        let _ = output(command("systemctl").args(["disable", "--now", "haproxy"]));
    }
    Ok(())
}

fn ensure_tools(tools: &[Tool]) -> Result<()> {
    if !is_root()? {
        bail!("needs root: network namespaces and kernel programs are not for ordinary users");
    }
    let missing = missing(tools, |program| find(program).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)?;
    let still: Vec<&str> = tools
        .iter()
        .filter(|tool| find(tool.program).is_none())
        .map(|tool| tool.program)
        .collect();
    if !still.is_empty() {
        bail!("still missing after the installation: {}", still.join(", "));
    }
    Ok(())
}

/// Packages of the tools that are not there, in order, each once.
fn missing(tools: &[Tool], is_there: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for tool in tools {
        if !is_there(tool.program) && !packages.contains(&tool.package) {
            packages.push(tool.package);
        }
    }
    packages
}

fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(", ");
    if find("apt-get").is_none() {
        bail!("install {list} with this system's package manager (there is no apt-get here)");
    }
    say(&format!("setup: installing {list} (apt-get)"));
    if let Err(error) = output(apt_get().arg("update")) {
        say(&format!(
            "setup: {error:#}; going on with the package lists that are there"
        ));
    }
    output(
        apt_get()
            .args(["install", "--yes", "--no-install-recommends"])
            .args(packages),
    )?;
    Ok(())
}

fn apt_get() -> std::process::Command {
    let mut apt_get = command("apt-get");
    apt_get
        .args(["-qq", "-o", "DPkg::Lock::Timeout=120"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    apt_get
}

/// True when this process runs as root.
fn is_root() -> Result<bool> {
    let own = fs::metadata("/proc/self").context("read the owner of /proc/self")?;
    Ok(own.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_packages_of_missing_programs_are_installed_each_once() {
        let tools = [
            Tool {
                program: "there",
                package: "a",
            },
            Tool {
                program: "gone",
                package: "b",
            },
            Tool {
                program: "gone-too",
                package: "b",
            },
        ];
        assert_eq!(missing(&tools, |program| program == "there"), ["b"]);
        assert!(missing(&tools, |_| true).is_empty());
    }
}
