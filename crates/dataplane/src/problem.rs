//! What stands in the way, in words for the operator.

use std::fmt;

/// Something that keeps the data plane from doing its job, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The kind, for programs.
    pub code: ProblemCode,
    /// What is wrong, lowercase.
    pub message: String,
    /// What would be needed, lowercase; empty when the message says it.
    pub needed: String,
}

/// The kinds of [`Problem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemCode {
    /// A capability is missing.
    Privileges,
    /// The kernel is too old.
    Kernel,
    /// The kernel was built without something.
    Feature,
    /// A program that is needed is not installed.
    Tool,
    /// Another firewall drops what has to be forwarded or received.
    ForeignFirewall,
    /// A process of the node has bound a port that is netd's.
    PortTaken,
    /// No interface has the node's underlay address, or it cannot carry the tunnel.
    Underlay,
    /// A task's namespace does not exist, or is none.
    Namespace,
    /// The socket hooks cannot be attached: VIPs are translated per packet, published ports do not
    /// answer on loopback.
    SocketHooks,
    /// The underlay keeps a node from answering clients itself: replies return by this node.
    DirectReturn,
    /// The desired state contradicts itself or asks for more than the tables hold.
    Desired,
    /// The kernel refused a change, or to be observed.
    Refused,
    /// What runs has tables of another layout, with its flows in them.
    Layout,
    /// Another process drives the instance.
    Busy,
    /// What is recorded on disk cannot be read or written.
    Record,
}

impl Problem {
    pub(crate) fn new(code: ProblemCode, message: String, needed: impl Into<String>) -> Self {
        Self {
            code,
            message,
            needed: needed.into(),
        }
    }

    /// What runs has one of these layouts, named as their pins are.
    pub(crate) fn layout(others: &[String]) -> Self {
        let message = format!(
            "the data plane that runs has tables of layout {}, this netd knows layout v{}",
            others.join(" and "),
            abi::LAYOUT
        );
        let needed = "the netd that has made them; or --replace-layout, which starts with empty \
                      tables and loses the connections in the old ones";
        Self::new(ProblemCode::Layout, message, needed)
    }

    /// Describes an error with its causes.
    pub(crate) fn from_error(code: ProblemCode, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        Self::new(code, message, "")
    }
}

impl ProblemCode {
    /// The code's name in listings: lowercase words joined by hyphens.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Privileges => "privileges",
            Self::Kernel => "kernel",
            Self::Feature => "feature",
            Self::Tool => "tool",
            Self::ForeignFirewall => "foreign-firewall",
            Self::PortTaken => "port-taken",
            Self::Underlay => "underlay",
            Self::Namespace => "namespace",
            Self::SocketHooks => "socket-hooks",
            Self::DirectReturn => "direct-return",
            Self::Desired => "desired",
            Self::Refused => "refused",
            Self::Layout => "layout",
            Self::Busy => "busy",
            Self::Record => "record",
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.needed.is_empty() {
            write!(f, "; needed: {}", self.needed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_told_as_such() {
        let told = |needed: &str| {
            Problem::new(ProblemCode::Record, "lock /x: denied".to_owned(), needed).to_string()
        };
        assert_eq!(
            told("a directory that can be written"),
            "lock /x: denied; needed: a directory that can be written"
        );
        assert_eq!(told(""), "lock /x: denied");
    }
}
