//! From changes to the kernel: the only module that changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::kernel::bpf::{AttachError, CgroupError, ContentsError, Maps, PinError, Programs};
use crate::kernel::netlink::{Netlink, NetlinkError, NewPair};
use crate::kernel::netns::{Netns, NetnsError};
use crate::kernel::nft::{self, NftError};
use crate::kernel::sysctl::{self, SysctlError};
use crate::observe::end_sysctl;
use crate::plan::{Change, EndChange, EndRef, Side, bare};
use crate::problem::{Problem, ProblemCode};
use crate::record::{Record, RecordError};
use crate::tables::LinkRef;
use crate::world::{Hook, LinkName, Pair};

/// A change could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error(transparent)]
    Netns(#[from] NetnsError),
    #[error(transparent)]
    Sysctl(#[from] SysctlError),
    #[error(transparent)]
    Nft(#[from] NftError),
    #[error(transparent)]
    Contents(#[from] ContentsError),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The interface has gone since it was planned with, or could not be made.
    #[error("interface {0} does not exist")]
    NoLink(LinkName),
}

/// What changes are made with.
#[derive(Debug)]
pub(crate) struct Executor<'a> {
    pub(crate) netlink: &'a Netlink,
    pub(crate) programs: &'a Programs,
    pub(crate) maps: &'a Maps,
    pub(crate) record: &'a mut Record,
    /// Numbers of the node's interfaces; kept up to date.
    pub(crate) index: BTreeMap<LinkName, u32>,
    /// Differs between nodes.
    pub(crate) seed: u32,
    /// Tasks' namespaces that were opened so far.
    pub(crate) inside: BTreeMap<PathBuf, (Netns, Netlink)>,
}

/// What became of a plan.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// How many changes were made.
    pub(crate) done: usize,
    /// One for each object that could not be brought to what is wanted.
    pub(crate) problems: Vec<Problem>,
    /// What is as wanted, though not in the way that costs least.
    pub(crate) drawbacks: Vec<Problem>,
}

impl Executor<'_> {
    /// Makes all changes. An object with which one fails gets no further ones; the rest goes on. A
    /// pair that could not be finished is removed again.
    pub(crate) async fn run(&mut self, changes: &[Change]) -> Outcome {
        let mut outcome = Outcome::default();
        let mut made = BTreeSet::new();
        let mut failed: BTreeSet<LinkName> = BTreeSet::new();
        for change in changes {
            let pair = concerned(change);
            if pair.is_some_and(|pair| failed.contains(pair)) {
                continue;
            }
            match self.change(change).await {
                Ok(()) => {
                    outcome.done += 1;
                    if let Change::CreatePair { name, .. } = change {
                        made.insert(name.clone());
                    }
                }
                Err(ChangeError::Cgroup(error)) => {
                    outcome.drawbacks.push(drawback(&error));
                }
                Err(error) => {
                    tracing::debug!(?change, ?error, "change failed");
                    outcome
                        .problems
                        .push(Problem::from_error(ProblemCode::Refused, &error));
                    failed.extend(pair.cloned());
                }
            }
        }
        for name in made.intersection(&failed) {
            drop(self.delete_link(name).await);
        }
        outcome
    }

    async fn change(&mut self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::SetSysctl { key, value } => self.set_sysctl(key, value),
            Change::RestoreSysctl { key } => self.restore_sysctl(key),
            Change::CreateTunnel { name, tunnel } => {
                self.netlink.create_tunnel(name, *tunnel).await?;
                self.learn_number(name).await
            }
            Change::SetTunnelMtu { name, mtu } => {
                Ok(self.netlink.set_mtu(self.number(name)?, *mtu).await?)
            }
            Change::SetTunnelUp { name } => Ok(self.netlink.set_up(self.number(name)?).await?),
            Change::CreatePair { name, pair } => self.create_pair(name, pair).await,
            Change::DeleteLink { name } => self.delete_link(name).await,
            Change::Configure { end, change } => self.configure(end, change).await,
            Change::AddRule { namespace, rule } => {
                self.record.touch(namespace)?;
                Ok(self.enter(namespace)?.1.add_rule(rule).await?)
            }
            Change::RemoveRule { namespace, rule } => {
                missing_is_fine(self.enter(namespace)?.1.remove_rule(rule).await)
            }
            Change::SetNamespaceSysctl {
                namespace,
                key,
                value,
            } => self.set_namespace_sysctl(namespace, key, value),
            Change::RestoreNamespace { namespace } => self.restore_namespace(namespace),
            Change::ReplaceFirewall { firewall } => Ok(nft::replace(firewall)?),
            Change::DeleteFirewall { table } => Ok(nft::delete(table)?),
            Change::Attach { hook } => {
                Ok(self.programs.attach(hook.program, self.hooked(hook)?)?)
            }
            Change::Detach { hook } => Ok(self
                .programs
                .pins()
                .detach(hook.program, self.hooked(hook)?)?),
            Change::AttachSockets { hooks } => Ok(self.programs.attach_sockets(hooks)?),
            Change::DetachSocket { hook } => Ok(self.programs.pins().detach_socket(*hook)?),
            Change::Table(change) => Ok(self.maps.apply(change, &self.index, self.seed)?),
        }
    }

    /// A task's namespace, and a connection to its rtnetlink.
    fn enter(&mut self, path: &Path) -> Result<&(Netns, Netlink), ChangeError> {
        if !self.inside.contains_key(path) {
            let namespace = Netns::open(path)?;
            let netlink = Netlink::open_in(&namespace)??;
            self.inside.insert(path.to_owned(), (namespace, netlink));
        }
        Ok(self.inside.get(path).expect("inserted above"))
    }

    fn number(&self, name: &LinkName) -> Result<u32, ChangeError> {
        self.index
            .get(name)
            .copied()
            .ok_or_else(|| ChangeError::NoLink(name.clone()))
    }

    fn hooked(&self, hook: &Hook) -> Result<u32, ChangeError> {
        match &hook.link {
            LinkRef::Named(name) => self.number(name),
            LinkRef::Gone(number) => Ok(*number),
        }
    }

    async fn learn_number(&mut self, name: &LinkName) -> Result<(), ChangeError> {
        let number = self.netlink.link_number(name).await?;
        let number = number.ok_or_else(|| ChangeError::NoLink(name.clone()))?;
        self.index.insert(name.clone(), number);
        Ok(())
    }

    fn set_sysctl(&mut self, key: &str, value: &str) -> Result<(), ChangeError> {
        if let Some(before) = sysctl::read(key)? {
            self.record.keep(key, &before)?;
            sysctl::write(key, value)?;
        }
        Ok(())
    }

    fn restore_sysctl(&mut self, key: &str) -> Result<(), ChangeError> {
        if let Some(before) = self.record.node().get(key).cloned() {
            if sysctl::read(key)?.is_some() {
                sysctl::write(key, &before)?;
            }
            self.record.forget(key)?;
        }
        Ok(())
    }

    async fn create_pair(&mut self, name: &LinkName, pair: &Pair) -> Result<(), ChangeError> {
        let pair = bare(pair);
        let (namespace, _) = self.enter(&pair.namespace)?;
        let namespace = namespace.clone();
        let request = NewPair {
            node: name,
            node_mac: pair.node.mac,
            task: &pair.interface,
            task_mac: pair.task.mac,
            namespace: &namespace,
            mtu: pair.node.mtu,
        };
        self.netlink.create_pair(&request).await?;
        self.learn_number(name).await
    }

    async fn delete_link(&mut self, name: &LinkName) -> Result<(), ChangeError> {
        if let Some(number) = self.index.remove(name) {
            missing_is_fine(self.netlink.delete_link(number).await)?;
        }
        Ok(())
    }

    async fn configure(&mut self, end: &EndRef, change: &EndChange) -> Result<(), ChangeError> {
        match &end.side {
            Side::Node => {
                if let EndChange::Sysctl(key, value) = change {
                    return set_end_sysctl(&end.pair, key, value);
                }
                configure(self.netlink, self.number(&end.pair)?, change).await
            }
            Side::Task {
                namespace,
                interface,
            } => {
                let (namespace, netlink) = self.enter(namespace)?;
                if let EndChange::Sysctl(key, value) = change {
                    return namespace.run(|| set_end_sysctl(interface, key, value))?;
                }
                let number = netlink.link_number(interface).await?;
                let number = number.ok_or_else(|| ChangeError::NoLink(interface.clone()))?;
                configure(netlink, number, change).await
            }
        }
    }

    fn set_namespace_sysctl(
        &mut self,
        path: &Path,
        key: &str,
        value: &str,
    ) -> Result<(), ChangeError> {
        let (namespace, _) = self.enter(path)?;
        if let Some(before) = namespace.run(|| sysctl::read(key))?? {
            let namespace = namespace.clone();
            self.record.keep_in(path, key, &before)?;
            namespace.run(|| sysctl::write(key, value))??;
        }
        Ok(())
    }

    fn restore_namespace(&mut self, path: &PathBuf) -> Result<(), ChangeError> {
        if let Some(settings) = self.record.namespaces().get(path).cloned() {
            // A namespace that has gone took its settings with it.
            if let Ok(namespace) = Netns::open(path) {
                let restore = || settings.iter().try_for_each(|(k, v)| sysctl::write(k, v));
                namespace.run(restore)??;
            }
            self.record.forget_namespace(path)?;
        }
        Ok(())
    }
}

/// Without socket hooks everything is translated per packet.
fn drawback(error: &CgroupError) -> Problem {
    let problem = Problem::from_error(ProblemCode::SocketHooks, error);
    Problem {
        message: format!("{}; VIPs are translated per packet", problem.message),
        needed: error.needed().to_owned(),
        ..problem
    }
}

/// The pair that a change belongs to.
fn concerned(change: &Change) -> Option<&LinkName> {
    match change {
        Change::CreatePair { name, .. } => Some(name),
        Change::Configure { end, .. } => Some(&end.pair),
        Change::Attach {
            hook:
                Hook {
                    link: LinkRef::Named(name),
                    ..
                },
        } => Some(name),
        Change::SetSysctl { .. }
        | Change::RestoreSysctl { .. }
        | Change::CreateTunnel { .. }
        | Change::SetTunnelMtu { .. }
        | Change::SetTunnelUp { .. }
        | Change::DeleteLink { .. }
        | Change::AddRule { .. }
        | Change::RemoveRule { .. }
        | Change::SetNamespaceSysctl { .. }
        | Change::RestoreNamespace { .. }
        | Change::ReplaceFirewall { .. }
        | Change::DeleteFirewall { .. }
        | Change::Attach { .. }
        | Change::Detach { .. }
        | Change::AttachSockets { .. }
        | Change::DetachSocket { .. }
        | Change::Table(_) => None,
    }
}

fn missing_is_fine(result: Result<(), NetlinkError>) -> Result<(), ChangeError> {
    match result {
        Err(error) if !error.is_missing() => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn set_end_sysctl(link: &LinkName, key: &str, value: &str) -> Result<(), ChangeError> {
    let key = end_sysctl(link, key);
    if sysctl::read(&key)?.is_some() {
        sysctl::write(&key, value)?;
    }
    Ok(())
}

async fn configure(netlink: &Netlink, index: u32, change: &EndChange) -> Result<(), ChangeError> {
    match change {
        EndChange::Mac(mac) => netlink.set_mac(index, *mac).await?,
        EndChange::Mtu(mtu) => netlink.set_mtu(index, *mtu).await?,
        EndChange::Up => netlink.set_up(index).await?,
        // Settings are files, not messages: the callers write them.
        EndChange::Sysctl(..) => {}
        EndChange::AddAddress(address) => netlink.add_address(index, *address).await?,
        EndChange::RemoveAddress(address) => {
            missing_is_fine(netlink.remove_address(index, *address).await)?;
        }
        EndChange::AddRoute(route) => netlink.add_route(index, route).await?,
        EndChange::RemoveRoute(route) => {
            missing_is_fine(netlink.remove_route(index, route).await)?;
        }
        EndChange::AddNeighbour(address, mac) => {
            netlink.put_neighbour(index, *address, *mac).await?;
        }
        EndChange::RemoveNeighbour(address) => {
            missing_is_fine(netlink.remove_neighbour(index, *address).await)?;
        }
    }
    Ok(())
}
