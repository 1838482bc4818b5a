//! Ports that netd takes packets for, and that a process of the node has bound before.

use std::collections::BTreeSet;
use std::net::IpAddr;

use abi::protocol;

use crate::desired::{Desired, Published};
use crate::kernel::sockets::{self, Bound, Holder};
use crate::problem::{Problem, ProblemCode};

/// The ports of a node that are netd's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    /// UDP port of VXLAN.
    pub(crate) data_path: Option<u16>,
    pub(crate) published: BTreeSet<Published>,
}

/// A port of ours that a process has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) bound: Bound,
    /// Whether it is the port of VXLAN; a published one otherwise.
    pub(crate) is_data_path: bool,
    /// `None` when the process hides, or is in another namespace of processes.
    pub(crate) holder: Option<Holder>,
}

impl Claims {
    pub(crate) fn of(desired: &Desired) -> Self {
        Self {
            data_path: Some(desired.data_path_port),
            published: desired.published.keys().cloned().collect(),
        }
    }

    /// Every port.
    pub(crate) fn ports(&self) -> BTreeSet<u16> {
        let published = self.published.iter().map(|published| published.port);
        published.chain(self.data_path).collect()
    }

    /// Every socket that is in the way.
    pub(crate) fn clashes(&self) -> std::io::Result<Vec<Clash>> {
        let mut clashes: Vec<Clash> = Vec::new();
        for bound in sockets::bound()? {
            let Some(is_data_path) = self.claim(&bound) else {
                continue;
            };
            let holder = sockets::holder(bound.inode);
            let is_own = match &holder {
                Some(holder) => holder.pid == std::process::id(),
                // The tunnel's own sockets are the kernel's, held by no process.
                None => is_data_path,
            };
            if is_own {
                continue;
            }
            let same = |clash: &&Clash| {
                let (a, b) = (clash.bound, bound);
                clash.holder == holder && (a.protocol, a.port) == (b.protocol, b.port)
            };
            // One server often has a socket for each family, or for each of its threads.
            if clashes.iter().find(same).is_none() {
                clashes.push(Clash {
                    bound,
                    is_data_path,
                    holder,
                });
            }
        }
        Ok(clashes)
    }

    /// Whether the socket has a port of ours: that of VXLAN, or a published one.
    fn claim(&self, bound: &Bound) -> Option<bool> {
        if bound.protocol == protocol::UDP && self.data_path == Some(bound.port) {
            return Some(true);
        }
        let published = |it: &Published| {
            (it.protocol, it.port) == (bound.protocol, bound.port)
                && meet(it.address, bound.address)
        };
        self.published.iter().any(published).then_some(false)
    }
}

/// Whether there are packets for both.
fn meet(published: IpAddr, bound: IpAddr) -> bool {
    // A socket bound to `::` usually takes IPv4 as well.
    let takes_both = bound.is_ipv6() && bound.is_unspecified();
    let any = published.is_unspecified() || bound.is_unspecified();
    (published.is_ipv4() == bound.is_ipv4() || takes_both) && (any || published == bound)
}

impl Clash {
    /// What is wrong, in one sentence.
    pub(crate) fn message(&self) -> String {
        let Bound {
            protocol,
            address,
            port,
            ..
        } = self.bound;
        let protocol = if protocol == protocol::TCP {
            "tcp"
        } else {
            "udp"
        };
        let process = self.holder.as_ref().map_or_else(
            || "a process that cannot be seen from here".to_owned(),
            |it| format!("{} (pid {})", it.name, it.pid),
        );
        let at = match address {
            address if address.is_unspecified() => "on every address".to_owned(),
            address => format!("on {address}"),
        };
        if self.is_data_path {
            format!("{process} has bound the data-path port {port}/{protocol} {at}")
        } else {
            format!(
                "{process} has bound the published port {port}/{protocol} {at}: clients reach the service, not the process"
            )
        }
    }

    /// What would help.
    pub(crate) const fn needed(&self) -> &'static str {
        if self.is_data_path {
            "end that process, or choose another data_path_port on every node"
        } else {
            "end that process, have it use another port, or publish the service on another one"
        }
    }
}

/// What keeps netd's ports from being netd's.
pub(crate) fn taken(desired: &Desired) -> Vec<Problem> {
    match Claims::of(desired).clashes() {
        Ok(clashes) => {
            let problem = |clash: &Clash| {
                Problem::new(ProblemCode::PortTaken, clash.message(), clash.needed())
            };
            clashes.iter().map(problem).collect()
        }
        Err(error) => {
            tracing::debug!(%error, "bound ports cannot be read");
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn published(address: &str, port: u16) -> Published {
        Published {
            address: address.parse().unwrap(),
            port,
            protocol: protocol::TCP,
        }
    }

    #[test]
    fn sockets_meet_published_ports_of_their_address_and_family() {
        let meets = |a: &str, b: &str| meet(a.parse().unwrap(), b.parse().unwrap());
        assert!(meets("0.0.0.0", "127.0.0.1"));
        assert!(meets("0.0.0.0", "::"), "it takes IPv4 as well");
        assert!(meets("192.0.2.1", "0.0.0.0"));
        assert!(meets("::", "fd00::1"));
        assert!(!meets("0.0.0.0", "fd00::1"));
        assert!(!meets("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn ports_clash_by_their_protocol() {
        let claims = Claims {
            data_path: Some(4789),
            published: BTreeSet::from([published("0.0.0.0", 80)]),
        };
        let bound = |protocol, port| Bound {
            protocol,
            address: "0.0.0.0".parse().unwrap(),
            port,
            inode: 1,
        };
        assert_eq!(claims.claim(&bound(protocol::TCP, 80)), Some(false));
        assert_eq!(claims.claim(&bound(protocol::UDP, 80)), None);
        assert_eq!(claims.claim(&bound(protocol::TCP, 4789)), None);
        assert_eq!(claims.claim(&bound(protocol::UDP, 4789)), Some(true));
    }

    #[test]
    fn netds_own_sockets_are_not_in_its_way() {
        let own = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = own.local_addr().unwrap().port();
        let claims = Claims {
            data_path: None,
            published: BTreeSet::from([published("0.0.0.0", port)]),
        };
        assert_eq!(claims.clashes().unwrap(), []);
    }

    #[test]
    fn a_clash_names_the_process() {
        let clash = Clash {
            bound: Bound {
                protocol: protocol::TCP,
                address: "0.0.0.0".parse().unwrap(),
                port: 8080,
                inode: 1,
            },
            is_data_path: false,
            holder: Some(Holder {
                pid: 17,
                name: "nginx".to_owned(),
            }),
        };
        let message = clash.message();
        assert!(
            message.starts_with("nginx (pid 17) has bound the published port 8080/tcp on every"),
            "{message}"
        );
    }
}
