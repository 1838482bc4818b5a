//! What netd is told at start: by a file, by the environment, by flags, each before the one ahead
//! of it. Everything is checked before anything starts, and everything wrong is told at once.

mod args;
mod file;
mod log;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use dataplane::Attach;
use model::NodeName;
use tracing_subscriber::filter::Targets;

pub(crate) use args::{Args, Command};

/// How the daemon runs. The key in the file, the flag and the environment variable of each value
/// are one name: `state_dir`, `--state-dir`, `NETD_STATE_DIR`.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// `static`: the topology file. Required.
    pub(crate) topology: PathBuf,
    /// `node`: which node of the topology this one is. Required.
    pub(crate) node: NodeName,
    /// `instance`: goes into the name of every kernel object, so that several netd can share a host.
    /// 1 to 63 characters as in names. Default: the node's name.
    pub(crate) instance: String,
    /// `socket`: where the local API listens. Default: `/run/netd/netd.sock`.
    pub(crate) socket: PathBuf,
    /// `state_dir`: where settings that were changed are recorded. Must survive reboots of netd, not
    /// of the host. Default: `/var/lib/netd/INSTANCE`.
    pub(crate) state_dir: PathBuf,
    /// `bpffs`: the BPF file system, mounted if need be. Default: `/sys/fs/bpf`.
    pub(crate) bpffs: PathBuf,
    /// `flow_capacity`: entries of the flow table, two for each translated flow, 1,024 to
    /// 16,777,216. A table that exists keeps its size. Default: the data plane's.
    pub(crate) flow_capacity: Option<u32>,
    /// `replace_layout`: `true` replaces a running data plane whose tables have another layout by an
    /// empty one, and loses its connections; `false` refuses. Default: `false`.
    pub(crate) replace_layout: bool,
    /// `attach`: how programs are attached to interfaces, `tcx` or `tc`; what is attached already stays
    /// as it is. Default: `tcx` where the kernel has it, else `tc`.
    pub(crate) attach: Option<Attach>,
    /// `audit_interval`: after how many seconds at most the kernel is compared with what it should
    /// hold, 1 to 86,400. Default: 30.
    pub(crate) audit_interval: Duration,
    /// `log`, `log_format`: see [`Logging`].
    pub(crate) logging: Logging,
}

/// What is logged, and how.
#[derive(Clone, Debug)]
pub(crate) struct Logging {
    /// `log`: levels, each of everything or, as in `info,dataplane=debug`, of a target. Default:
    /// `info`.
    pub(crate) targets: Targets,
    /// `log_format`: `text` or `json`. Default: `text`.
    pub(crate) format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// What is to be checked by `netd check`.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The topology file.
    pub(crate) topology: PathBuf,
    /// The node whose namespaces are to be looked for on this host.
    pub(crate) node: Option<NodeName>,
}

/// Everything that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigErrors(Vec<String>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigErrors {}

/// Stands for the node where none is needed: any name will do.
const ANY_NODE: &str = "any";
/// Where instances keep their state unless told otherwise.
const STATE_DIR: &str = "/var/lib/netd";
/// Entries that the flow table may have.
const FLOW_CAPACITY: RangeInclusive<u32> = 1024..=16_777_216;

/// Seconds between two audits.
const AUDIT_INTERVAL: RangeInclusive<u32> = 1..=86_400;
const DEFAULT_AUDIT_INTERVAL: u32 = 30;

/// Values as they were given, by key, each with who gave it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    values: BTreeMap<&'static str, (String, String)>,
    errors: Vec<String>,
}

impl Given {
    /// Flags and environment ahead of the file.
    fn over(mut self, below: Self) -> Self {
        for (key, value) in below.values {
            self.values.entry(key).or_insert(value);
        }
        self.errors.extend(below.errors);
        self
    }

    fn add(&mut self, key: &'static str, value: String, by: String) {
        self.values.insert(key, (value, by));
    }

    /// How the daemon is to run.
    pub(crate) fn config(mut self) -> Result<Config, ConfigErrors> {
        let topology = self.required("static");
        let node = self
            .required("node")
            .and_then(|text| self.name("node", &text));
        let instance = self
            .instance()
            .or_else(|| node.clone())
            .map(|name| name.to_string());
        let logging = self.logging();
        let flow_capacity = self.number("flow_capacity", FLOW_CAPACITY);
        let replace_layout = self.truth("replace_layout");
        let attach = self.attach();
        let audit_interval = self.number("audit_interval", AUDIT_INTERVAL);
        let audit_interval = audit_interval.unwrap_or(DEFAULT_AUDIT_INTERVAL);
        let path = |key, default: String| PathBuf::from(self.text(key).unwrap_or(default));
        let own_state = || format!("{STATE_DIR}/{}", instance.as_deref().unwrap_or_default());
        let (socket, bpffs) = (
            path("socket", api::path::SOCKET.to_owned()),
            path("bpffs", BPFFS.to_owned()),
        );
        let state_dir = path("state_dir", own_state());
        match (topology, node, instance, self.errors.is_empty()) {
            (Some(topology), Some(node), Some(instance), true) => Ok(Config {
                topology: topology.into(),
                node,
                instance,
                socket,
                state_dir,
                bpffs,
                flow_capacity,
                replace_layout,
                attach,
                audit_interval: Duration::from_secs(audit_interval.into()),
                logging,
            }),
            _ => Err(ConfigErrors(self.errors)),
        }
    }

    /// What `netd check` is to look at, and what a start would refuse of the settings. The topology
    /// is known even then, if it is given.
    pub(crate) fn check(mut self) -> (Option<Check>, Result<(), ConfigErrors>) {
        let topology = self.text("static");
        let node = self.text("node");
        let check = topology.map(|topology| Check {
            topology: topology.into(),
            node: node.as_ref().and_then(|text| text.parse().ok()),
        });
        if node.is_none() {
            self.add("node", ANY_NODE.to_owned(), String::new());
        }
        (check, self.config().map(drop))
    }

    /// What `netd cleanup` is to remove.
    pub(crate) fn cleanup(mut self, dry_run: bool) -> Result<dataplane::Cleanup, ConfigErrors> {
        let instance = self.instance().map(|name| name.to_string());
        let own_state = match &instance {
            Some(instance) => format!("{STATE_DIR}/{instance}"),
            None => STATE_DIR.to_owned(),
        };
        let path = |key, default: String| PathBuf::from(self.text(key).unwrap_or(default));
        let (state, bpffs) = (
            path("state_dir", own_state),
            path("bpffs", BPFFS.to_owned()),
        );
        if !self.errors.is_empty() {
            return Err(ConfigErrors(self.errors));
        }
        Ok(dataplane::Cleanup {
            instance,
            bpffs,
            state,
            dry_run,
        })
    }

    fn text(&self, key: &str) -> Option<String> {
        self.values.get(key).map(|(value, _)| value.clone())
    }

    fn wrong(&mut self, key: &str, why: impl fmt::Display) {
        if let Some((value, by)) = self.values.get(key) {
            self.errors.push(format!("{by}: `{value}`: {why}"));
        }
    }

    fn required(&mut self, key: &'static str) -> Option<String> {
        let text = self.text(key);
        if text.is_none() {
            let flag = args::flag(key);
            let variable = args::variable(key);
            self.errors.push(format!(
                "{flag} is needed, or {variable}, or `{key}` in the file"
            ));
        }
        text
    }

    fn name(&mut self, key: &'static str, text: &str) -> Option<NodeName> {
        text.parse().map_err(|error| self.wrong(key, error)).ok()
    }

    fn instance(&mut self) -> Option<NodeName> {
        let text = self.text("instance")?;
        self.name("instance", &text)
    }

    fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
        let text = self.text(key)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.wrong(key, format!("a number from {least} to {most} is needed"));
        }
        number
    }

    fn truth(&mut self, key: &'static str) -> bool {
        match self.text(key).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.wrong(key, "`true` or `false` is needed");
                false
            }
        }
    }

    fn attach(&mut self) -> Option<Attach> {
        match self.text("attach").as_deref() {
            None => None,
            Some("tcx") => Some(Attach::Tcx),
            Some("tc") => Some(Attach::Tc),
            Some(_) => {
                self.wrong("attach", "`tcx` or `tc` is needed");
                None
            }
        }
    }

    fn logging(&mut self) -> Logging {
        let targets = self.text("log").map(|text| log::targets(&text));
        let targets = match targets {
            Some(Err(error)) => {
                self.wrong("log", error);
                None
            }
            Some(Ok(targets)) => Some(targets),
            None => None,
        };
        let format = match self.text("log_format").as_deref() {
            None | Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            Some(_) => {
                self.wrong("log_format", "`text` or `json` is needed");
                LogFormat::Text
            }
        };
        let info = || Targets::new().with_default(tracing::Level::INFO);
        Logging {
            targets: targets.unwrap_or_else(info),
            format,
        }
    }
}

/// Where the BPF file system is unless told otherwise.
const BPFFS: &str = "/sys/fs/bpf";

#[cfg(test)]
mod tests;
