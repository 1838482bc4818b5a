//! The command line and the environment.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::{ConfigErrors, Given, file};

/// Joins this machine to a cluster's network.
///
/// Reads the topology file, takes this node's part of it, brings the kernel to it by differences and
/// keeps it there. An edit of the file is applied at once; a file with mistakes changes nothing.
///
/// SIGHUP reads the file again and audits the kernel. SIGTERM ends the daemon and leaves the data plane running: traffic
/// goes on, and the next start takes over where this one ended. `netd cleanup` removes it.
///
/// Every option can also be given by an environment variable, or in the configuration file under
/// its name with underscores. Flags win over the environment, the environment over the file.
#[derive(Debug, Parser)]
#[command(name = "netd", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Verb>,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Checks the configuration file and the topology file, and tells everything that is wrong with
    /// them. Changes nothing.
    Check {
        #[command(flatten)]
        topology: TopologyOptions,
        #[command(flatten)]
        file: FileOption,
    },
    /// Removes everything that netd has made on this host, and gives settings their old values.
    ///
    /// Takes only what carries netd's name or is in its record. Without an instance, that of every
    /// instance that ever ran here.
    Cleanup {
        #[command(flatten)]
        place: PlaceOptions,
        #[command(flatten)]
        file: FileOption,
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Daemon {
    #[command(flatten)]
    topology: TopologyOptions,
    /// Socket of the local API [default: /run/netd/netd.sock]
    #[arg(long, env = "NETD_SOCKET", value_name = "PATH")]
    socket: Option<String>,
    #[command(flatten)]
    place: PlaceOptions,
    /// Entries of the flow table, two for each translated flow; a table that exists keeps its size
    /// [default: 65536]
    #[arg(long, env = "NETD_FLOW_CAPACITY", value_name = "N")]
    flow_capacity: Option<String>,
    /// Replace a running data plane whose tables have another layout by an empty one; its
    /// connections are lost [default: false, which refuses]
    #[arg(long, env = "NETD_REPLACE_LAYOUT", value_name = "BOOL", num_args = 0..=1,
          require_equals = true, default_missing_value = "true")]
    replace_layout: Option<String>,
    /// How programs are attached to interfaces: tcx, or tc for the classic way of older kernels. What is
    /// attached already stays as it is [default: tcx where the kernel has it (6.6), else tc]
    #[arg(long, env = "NETD_ATTACH", value_name = "tcx|tc")]
    attach: Option<String>,
    /// Compare the kernel with what it should hold at least this often, and repair it [default: 30]
    #[arg(long, env = "NETD_AUDIT_INTERVAL", value_name = "SECONDS")]
    audit_interval: Option<String>,
    /// What to log: a level, or levels by target such as info,dataplane=debug [default: info]
    #[arg(long, env = "NETD_LOG", value_name = "LEVEL|TARGETS")]
    log: Option<String>,
    /// How to log: text or json [default: text]
    #[arg(long, env = "NETD_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    #[command(flatten)]
    file: FileOption,
}

#[derive(Debug, clap::Args)]
struct TopologyOptions {
    /// The topology file, the same on every node
    #[arg(long = "static", env = "NETD_STATIC", value_name = "FILE")]
    topology: Option<String>,
    /// Which node of the topology this one is
    #[arg(long, env = "NETD_NODE", value_name = "NAME")]
    node: Option<String>,
}

#[derive(Debug, clap::Args)]
struct PlaceOptions {
    /// Name in every kernel object, so that several netd can share a host
    /// [default: the node's name; cleanup: every instance]
    #[arg(long, env = "NETD_INSTANCE", value_name = "NAME")]
    instance: Option<String>,
    /// Record of changed settings [default: /var/lib/netd/INSTANCE]
    #[arg(long, env = "NETD_STATE_DIR", value_name = "DIR")]
    state_dir: Option<String>,
    /// The BPF file system, mounted if need be [default: /sys/fs/bpf]
    #[arg(long, env = "NETD_BPFFS", value_name = "DIR")]
    bpffs: Option<String>,
}

#[derive(Debug, clap::Args)]
struct FileOption {
    /// The configuration file [default: /etc/netd/netd.toml, if there is one]
    #[arg(long, env = "NETD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What netd is asked to do, with all that it was given for it.
#[derive(Debug)]
pub(crate) enum Command {
    /// Be the daemon.
    Run(Given),
    /// Check the configuration file and a topology file.
    Check(Given),
    /// Remove everything; `true` only tells.
    Cleanup(Given, bool),
}

impl Args {
    /// What was asked for, with the configuration file read.
    pub(crate) fn asked(self) -> Result<Command, ConfigErrors> {
        Ok(match self.command {
            None => {
                let below = file::read(self.daemon.file.config.as_deref())?;
                Command::Run(self.daemon.given().over(below))
            }
            Some(Verb::Check { topology, file }) => {
                let below = file::read(file.config.as_deref())?;
                Command::Check(given([].into_iter().chain(topology.values())).over(below))
            }
            Some(Verb::Cleanup {
                place,
                file,
                dry_run,
            }) => {
                let below = file::read(file.config.as_deref())?;
                Command::Cleanup(given(place.values()).over(below), dry_run)
            }
        })
    }
}

type Value = (&'static str, Option<String>);

impl Daemon {
    fn given(self) -> Given {
        let own = [
            ("socket", self.socket),
            ("flow_capacity", self.flow_capacity),
            ("replace_layout", self.replace_layout),
            ("attach", self.attach),
            ("audit_interval", self.audit_interval),
            ("log", self.log),
            ("log_format", self.log_format),
        ];
        given(
            own.into_iter()
                .chain(self.topology.values())
                .chain(self.place.values()),
        )
    }
}

impl TopologyOptions {
    fn values(self) -> impl Iterator<Item = Value> {
        [("static", self.topology), ("node", self.node)].into_iter()
    }
}

impl PlaceOptions {
    fn values(self) -> impl Iterator<Item = Value> {
        [
            ("instance", self.instance),
            ("state_dir", self.state_dir),
            ("bpffs", self.bpffs),
        ]
        .into_iter()
    }
}

fn given(values: impl Iterator<Item = Value>) -> Given {
    let mut given = Given::default();
    for (key, value) in values {
        if let Some(value) = value {
            given.add(key, value, format!("{} or {}", flag(key), variable(key)));
        }
    }
    given
}

/// The flag of a key.
pub(super) fn flag(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("NETD_{}", key.to_uppercase())
}
