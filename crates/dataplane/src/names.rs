//! Names of kernel objects. Each carries the instance, so that instances share a host.

use std::path::{Path, PathBuf};

use abi::hash::murmur3_32;
use abi::{Mac, NetId};

use crate::world::LinkName;

/// Derives every name from the instance's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    instance: String,
    tag: String,
}

/// What an interface is for, told by its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkRole {
    Tunnel,
    Attachment,
    Gateway,
    /// The near end of the node's own attachment.
    Node,
    /// Its far end.
    NodeFar,
}

impl Names {
    pub(crate) fn new(instance: &str) -> Self {
        let tag = format!("{:06x}", murmur3_32(instance.as_bytes(), 0) >> 8);
        Self {
            instance: instance.to_owned(),
            tag,
        }
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    pub(crate) fn tunnel(&self) -> LinkName {
        link(&format!("vx{}", self.tag))
    }

    /// The node's end of the attachment of the endpoint `name`.
    pub(crate) fn attachment(&self, name: &str) -> LinkName {
        link(&format!("nd{}{}", self.tag, suffix(name.as_bytes())))
    }

    /// The node's end of the gateway attachment of the task in `namespace`.
    pub(crate) fn gateway(&self, namespace: &Path) -> LinkName {
        let suffix = suffix(namespace.as_os_str().as_encoded_bytes());
        link(&format!("{}{suffix}", self.gateway_prefix()))
    }

    /// The near end of the node's own attachment, by which its packets come to the programs.
    pub(crate) fn node(&self) -> LinkName {
        link(&format!("nn{}", self.tag))
    }

    /// The far end of the node's own attachment, which has the addresses.
    pub(crate) fn node_far(&self) -> LinkName {
        link(&format!("ni{}", self.tag))
    }

    /// What the names of all gateway attachments begin with.
    pub(crate) fn gateway_prefix(&self) -> String {
        format!("ng{}", self.tag)
    }

    /// What `name` is for, if it is a name of this instance.
    pub(crate) fn role(&self, name: &str) -> Option<LinkRole> {
        let (role, tag) = parse(name)?;
        (tag == self.tag).then_some(role)
    }

    /// The nftables table.
    pub(crate) fn table(&self) -> String {
        format!("netd-{}", self.instance)
    }

    /// The directory of pins of the current layout.
    pub(crate) fn pins(&self, bpffs: &Path) -> PathBuf {
        self.pin_root(bpffs).join(format!("v{}", abi::LAYOUT))
    }

    /// The directory of everything pinned.
    pub(crate) fn pin_root(&self, bpffs: &Path) -> PathBuf {
        bpffs.join(format!("netd-{}", self.instance))
    }
}

/// What an interface of any instance is for, with the instance's tag.
pub(crate) fn parse(name: &str) -> Option<(LinkRole, &str)> {
    let (kind, rest) = name.split_at_checked(2)?;
    let (tag, suffix) = rest.split_at_checked(6)?;
    let hex = tag
        .bytes()
        .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let coded = suffix
        .bytes()
        .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    let role = match (kind, suffix.len()) {
        ("vx", 0) => LinkRole::Tunnel,
        ("nd", 7) => LinkRole::Attachment,
        ("ng", 7) => LinkRole::Gateway,
        ("nn", 0) => LinkRole::Node,
        ("ni", 0) => LinkRole::NodeFar,
        _ => return None,
    };
    (hex && coded).then_some((role, tag))
}

/// The Ethernet address of the task's end of an attachment. Locally administered, and the same
/// whenever the attachment is made again.
#[must_use]
pub fn mac_of(net: NetId, name: &str) -> Mac {
    let [_, a, b, c] = murmur3_32(name.as_bytes(), net.0).to_be_bytes();
    let [_, _, d, e] = murmur3_32(name.as_bytes(), !net.0).to_be_bytes();
    [0x0a, a, b, c, d, e]
}

fn link(name: &str) -> LinkName {
    LinkName::new(name).expect("generated names are short and plain")
}

/// Seven characters of base 36: 36 bits of the key's hash.
fn suffix(key: &[u8]) -> String {
    let mut rest = (u64::from(murmur3_32(key, 1)) << 32) | u64::from(murmur3_32(key, 2));
    let mut text = String::with_capacity(7);
    for _ in 0..7 {
        let digit = u32::try_from(rest % 36).expect("less than 36");
        text.push(char::from_digit(digit, 36).expect("less than 36"));
        rest /= 36;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_they_are_for() {
        let names = Names::new("n1");
        let other = Names::new("n2");
        for (name, role) in [
            (names.tunnel(), LinkRole::Tunnel),
            (names.node(), LinkRole::Node),
            (names.node_far(), LinkRole::NodeFar),
            (names.attachment("web-1"), LinkRole::Attachment),
            (
                names.gateway(Path::new("/run/netns/q-web-1")),
                LinkRole::Gateway,
            ),
        ] {
            assert_eq!(names.role(name.as_str()), Some(role), "{name}");
            assert_eq!(other.role(name.as_str()), None, "{name}");
        }
    }

    #[test]
    fn foreign_names_are_not_ours() {
        for name in [
            "eth0",
            "vx",
            "vxlan0",
            "nd012345",
            "ng012345ABCDEFG",
            "é",
            "ndé",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn macs_are_unicast_and_local() {
        assert_eq!(mac_of(NetId(7), "web-1")[0] & 3, 2);
        assert_ne!(mac_of(NetId(7), "web-1"), mac_of(NetId(8), "web-1"));
    }
}
