//! `up`, `down`, `ls`, `kill`, `start`.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, bail};
use clap::Args;
use integration::lab::fault::Fault;
use integration::lab::{Family, Lab, Spec, demo, names};

#[derive(Debug, Args)]
pub(crate) struct Name {
    /// The lab's name.
    #[arg(long)]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
pub(crate) struct Node {
    /// The lab's name.
    #[arg(long)]
    name: String,
    /// The node: n1, n2, ….
    node: String,
}

#[derive(Debug, Args)]
pub(crate) struct Up {
    /// The lab's name: a letter, then letters or digits, at most 20.
    #[arg(long)]
    name: String,
    /// How many nodes, 1 to 64.
    #[arg(long, default_value_t = 3)]
    nodes: u8,
    /// MTU of the underlay in bytes.
    #[arg(long, default_value_t = 1500)]
    mtu: u32,
    /// A static topology with a service `web` (HTTP) and `echo` (UDP) on all nodes but the last.
    #[arg(long, required = true)]
    demo: bool,
    /// One more argument for a node's netd, such as n2=--log=debug; may be repeated.
    #[arg(long, value_name = "NODE=ARG", value_parser = node_arg)]
    node_arg: Vec<(String, String)>,
    /// A node's carrier, auto, native or device; may be repeated.
    #[arg(long, value_name = "NODE=CARRIER", value_parser = node_arg)]
    carrier: Vec<(String, String)>,
    /// Family of the nodes' VTEP addresses: 4 or 6.
    #[arg(long, default_value = "4", value_parser = ["4", "6"])]
    vtep: String,
}

#[derive(Debug, Args)]
pub(crate) struct Faults {
    /// The lab's name.
    #[arg(long)]
    name: String,
    /// Whose frames: a node, `client`; everybody's if not given.
    #[arg(long, value_name = "MEMBER")]
    from: Option<String>,
    /// Frames for whom; for everybody if not given.
    #[arg(long, value_name = "MEMBER")]
    to: Option<String>,
    /// loss=N%, delay=Nms, reorder=N%, duplicate=N% in any combination; or `down` (the cable of
    /// --from), `partition` (nothing passes between --from and --to, either way), or `clear`
    /// (everything is whole again, also cables).
    #[arg(required = true, value_name = "FAULT")]
    faults: Vec<String>,
}

fn node_arg(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((node, arg)) if !arg.is_empty() => Ok((node.to_owned(), arg.to_owned())),
        _ => bail!("expected NODE=ARG"),
    }
}

pub(crate) fn up(arguments: Up) -> Result<()> {
    let mut node_args: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (node, arg) in arguments.node_arg {
        node_args.entry(node).or_default().push(arg);
    }
    let carriers = arguments.carrier.into_iter().collect();
    let spec = Spec {
        carriers,
        vtep: if arguments.vtep == "6" {
            Family::V6
        } else {
            Family::V4
        },
        underlay_mtu: arguments.mtu,
        node_args,
        ..Spec::new(&arguments.name, arguments.nodes)
    };
    let document = demo::up(spec)?.keep()?;
    writeln!(
        std::io::stdout(),
        "{}",
        serde_json::to_string_pretty(&document)?
    )?;
    Ok(())
}

pub(crate) fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<20}  {:>5}  {:>7}  {:>5}",
        "NAME", "NODES", "RUNNING", "TASKS"
    )?;
    for name in names()? {
        // It may be going down at this moment.
        let Ok(lab) = Lab::open(&name) else { continue };
        let (nodes, running) = (lab.nodes().len(), lab.running_nodes().len());
        let tasks = lab.document().tasks.len();
        writeln!(out, "{name:<20}  {nodes:>5}  {running:>7}  {tasks:>5}")?;
    }
    Ok(())
}

pub(crate) fn fault(arguments: &Faults) -> Result<()> {
    let lab = Lab::open(&arguments.name)?;
    let (from, to) = (arguments.from.as_deref(), arguments.to.as_deref());
    match arguments
        .faults
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()[..]
    {
        ["clear"] => lab.clear_faults(),
        ["partition"] => lab.partition(from, to),
        ["down"] => match (from, to) {
            (Some(member), None) => lab.set_link(member, false),
            _ => bail!("whose cable? say it with --from alone"),
        },
        _ => {
            let mut fault = Fault::default();
            for word in &arguments.faults {
                fault.add(word)?;
            }
            lab.fault(from, to, fault)
        }
    }
}

pub(crate) fn kill(node: &Node) -> Result<()> {
    Lab::open(&node.name)?.kill(&node.node)
}

pub(crate) fn start(node: &Node) -> Result<()> {
    Lab::open(&node.name)?.start(&node.node)
}
