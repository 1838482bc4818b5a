//! Which crate may depend on which, and what a crate must do without: a crate is a permission.

use std::path::PathBuf;

use anyhow::Result;
use toml::Table;

use super::Findings;
use super::manifests::{self, Manifest};
use crate::workspace::Workspace;

/// What one of our crates may depend on.
struct Layer {
    package: &'static str,
    /// Crates of ours, tests included.
    ours: &'static [&'static str],
    foreign: Foreign,
}

/// Foreign crates; tests may use any.
enum Foreign {
    Only(&'static [&'static str]),
    /// All but these; an entry ending in `-` stands for all that begin with it.
    AllBut(&'static [&'static str]),
}

/// Sockets, files, clocks, chance, and the kernel: nothing for a crate that only computes.
const WORLD: &[&str] = &[
    "axum",
    "aya",
    "chrono",
    "fastrand",
    "futures-",
    "getrandom",
    "hyper",
    "hyper-",
    "libc",
    "mio",
    "netlink-",
    "nix",
    "notify",
    "rand",
    "reqwest",
    "rtnetlink",
    "rustix",
    "socket2",
    "tempfile",
    "time",
    "tokio",
    "tokio-",
    "toml",
];

/// The kernel's network and programs are dataplane's.
const KERNEL: &[&str] = &["aya", "aya-", "netlink-", "rtnetlink"];

const LAYERS: &[Layer] = &[
    Layer {
        package: "netd-abi",
        ours: &[],
        foreign: Foreign::Only(&["aya"]),
    },
    Layer {
        package: "netd-ebpf",
        ours: &["netd-abi"],
        foreign: Foreign::Only(&["aya-ebpf"]),
    },
    Layer {
        package: "netd-model",
        ours: &[],
        foreign: Foreign::AllBut(WORLD),
    },
    Layer {
        package: "netd-dataplane",
        ours: &["netd-abi", "netd-model"],
        foreign: Foreign::AllBut(&["axum", "clap", "hyper", "hyper-", "openraft", "toml"]),
    },
    Layer {
        package: "netd-api",
        ours: &["netd-model"],
        foreign: Foreign::AllBut(KERNEL),
    },
    Layer {
        package: "netd",
        ours: &["netd-api", "netd-dataplane", "netd-model"],
        foreign: Foreign::AllBut(KERNEL),
    },
    Layer {
        package: "netctl",
        ours: &["netd-api"],
        foreign: Foreign::AllBut(KERNEL),
    },
    Layer {
        package: "xtask",
        ours: &[],
        foreign: Foreign::AllBut(KERNEL),
    },
    Layer {
        package: "netd-integration",
        ours: &["netd-abi", "netd-api", "netd-dataplane", "netd-model"],
        foreign: Foreign::AllBut(&[]),
    },
];

/// Checks every manifest against its layer.
pub(super) fn check(workspace: &Workspace) -> Result<Findings> {
    let (manifests, shared) = manifests::read(workspace)?;
    let ours: Vec<&str> = manifests
        .iter()
        .map(|manifest| manifest.name.as_str())
        .collect();
    let wrong = manifests
        .iter()
        .flat_map(|manifest| violations(manifest, &shared, &ours))
        .collect();
    Ok(Findings {
        wrong,
        noted: Vec::new(),
    })
}

fn violations(manifest: &Manifest, shared: &Table, ours: &[&str]) -> Vec<String> {
    let place: PathBuf = manifest.directory.join("Cargo.toml");
    let Some(layer) = LAYERS.iter().find(|layer| layer.package == manifest.name) else {
        return vec![format!(
            "{}: give it a layer in {}",
            place.display(),
            file!()
        )];
    };
    let mut wrong = Vec::new();
    for dependency in manifest.dependencies(shared) {
        let package = dependency.package.as_str();
        let allowed = if ours.contains(&package) {
            layer.ours.contains(&package)
        } else {
            dependency.dev || layer.foreign.allows(package)
        };
        if !allowed {
            wrong.push(format!(
                "{}: {} may not depend on {package}",
                place.display(),
                manifest.name
            ));
        }
    }
    wrong
}

impl Foreign {
    fn allows(&self, package: &str) -> bool {
        match self {
            Self::Only(allowed) => allowed.contains(&package),
            Self::AllBut(refused) => !refused.iter().any(|pattern| {
                *pattern == package || (pattern.ends_with('-') && package.starts_with(pattern))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &[&str] = &["netd-abi", "netd-model", "netd-dataplane", "netd-api"];

    fn of(package: &str, dependencies: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{package}\"\n{dependencies}");
        let manifest = Manifest::parse("x".into(), &text).unwrap();
        violations(&manifest, &Table::new(), OURS)
    }

    #[test]
    fn an_arrow_that_turns_back_is_found() {
        assert!(of("netd-dataplane", "[dependencies]\nnetd-abi = \"1\"").is_empty());
        assert_eq!(
            of("netd-abi", "[dependencies]\nnetd-dataplane = \"1\"").len(),
            1
        );
        assert_eq!(
            of("netctl", "[dev-dependencies]\nnetd-model = \"1\"").len(),
            1
        );
    }

    #[test]
    fn a_pure_crate_has_no_world_but_in_its_tests() {
        assert_eq!(of("netd-model", "[dependencies]\ntokio = \"1\"").len(), 1);
        assert_eq!(
            of("netd-model", "[dependencies]\nfutures-util = \"1\"").len(),
            1
        );
        assert!(of("netd-model", "[dev-dependencies]\ntempfile = \"1\"").is_empty());
        assert!(of("netd-model", "[dependencies]\nipnetwork = \"1\"").is_empty());
    }

    #[test]
    fn only_what_is_listed_is_linked_into_the_programs() {
        assert!(of("netd-ebpf", "[dependencies]\naya-ebpf = \"1\"").is_empty());
        assert_eq!(of("netd-ebpf", "[dependencies]\nserde = \"1\"").len(), 1);
    }

    #[test]
    fn a_crate_without_a_layer_is_found() {
        assert_eq!(of("netd-new", "").len(), 1);
    }
}
