//! The command line as it is typed.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Parser, Subcommand};

use crate::noun::{doctor, drops, endpoint, flow, port, trace, vip};

const ABOUT_FORMAT: &str = "\
Formats:
  (none), table      a table
  table TEMPLATE     a table of a Go template's columns: 'table {{.ID}}\\t{{.Name}}'
  json               ls: one JSON object a line; inspect: one JSON array; status: one object
  TEMPLATE           a Go template for each object: '{{json .}}', '{{.Name}}: {{join .Subnets \", \"}}'

Templates have Go's functions (printf, println, len, index, eq, range, with, ...) and docker's:
json, split, join, title, lower, upper, pad, truncate. Field names are those of the JSON objects.

Exit status: 0 done, 1 refused or failed, 2 wrong usage.";

/// Shows what netd, the cluster's network daemon, does on this node.
#[derive(Debug, Parser)]
#[command(name = "netctl", version, after_help = ABOUT_FORMAT, arg_required_else_help = true)]
pub(crate) struct Args {
    /// Socket of the netd to ask [env: NETCTL_SOCKET, NETD_SOCKET] [default: /run/netd/netd.sock]
    ///
    /// May be given several times: the first is asked, `trace` asks the others what happens there.
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Vec<PathBuf>,
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// What the command is about.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// The node as a whole: state, underlay, topology, problems, counts
    Status {
        #[command(flatten)]
        format: FormatArg,
    },
    /// Overlay networks
    #[command(subcommand)]
    Network(Verbs<NoFilter>),
    /// Attachments of tasks to networks
    #[command(subcommand)]
    Endpoint(Verbs<endpoint::Filter>),
    /// Virtual addresses of services, and the backends behind them
    #[command(subcommand)]
    Vip(Verbs<vip::Filter>),
    /// Published ports
    #[command(subcommand)]
    Port(PortVerb),
    /// Translated connections
    #[command(subcommand)]
    Flow(FlowVerb),
    /// Dropped packets, counted by reason
    #[command(subcommand)]
    Drop(DropVerb),
    /// Look for what is wrong with this host: kernel, settings, firewall, ports, underlay, tables
    ///
    /// Ends with status 1 when something fails.
    Doctor {
        #[command(flatten)]
        filter: doctor::Filter,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Tell what would become of a packet: which lookups, which verdicts, on each node
    ///
    /// Nothing is sent unless --send says so. What other nodes do is read from their tables when their
    /// sockets are given, too; else it is what this node expects.
    ///
    /// With --send a real packet follows the explanation: a TCP connection that is closed as soon as it
    /// stands, or a datagram that says "netd probe". Each program that meets it notes what it does; that is
    /// shown, with microseconds since it was sent, and compared with the explanation.
    Trace {
        #[command(flatten)]
        ends: trace::Ends,
        #[command(flatten)]
        format: FormatArg,
    },
    /// Print a completion script for a shell
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What can be done with objects that have names.
#[derive(Debug, Subcommand)]
pub(crate) enum Verbs<F: clap::Args> {
    /// List them
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        filter: F,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show everything about some of them
    Inspect {
        /// Name, ID or the beginning of an ID
        #[arg(required = true, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        names: Vec<String>,
        #[command(flatten)]
        format: FormatArg,
    },
}

/// What can be done with published ports.
#[derive(Debug, Subcommand)]
pub(crate) enum PortVerb {
    /// List them
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        filter: port::Filter,
        #[command(flatten)]
        list: ListArgs,
    },
}

/// What can be done with flows.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowVerb {
    /// List them
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        filter: flow::Filter,
        #[command(flatten)]
        format: FormatArg,
        /// Keep watching: show flows that appear, change their state and go
        #[arg(short, long)]
        watch: bool,
    },
}

/// What can be done with dropped packets.
#[derive(Debug, Subcommand)]
pub(crate) enum DropVerb {
    /// List the reasons that occurred
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        filter: drops::Filter,
        #[command(flatten)]
        list: ListArgs,
        /// Keep watching: show reasons whose count grows
        #[arg(short, long)]
        watch: bool,
    },
}

/// How a list is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) format: FormatArg,
    /// Show only what identifies each
    #[arg(short, long, conflicts_with = "format")]
    pub(crate) quiet: bool,
    /// Do not shorten long cells
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// How an answer is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct FormatArg {
    /// How to show it: table, json, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// For lists that are short enough.
#[derive(Debug, clap::Args)]
pub(crate) struct NoFilter {}
