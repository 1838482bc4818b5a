//! What `netctl doctor` says: findings about the node's host, one for each thing looked at.
//!
//! netd judges and words them; whoever reads decides by the verdict alone. Nothing is changed by
//! asking, and a finding is not kept: each request looks again.

use serde::{Deserialize, Serialize};

/// What one check of `doctor` found about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    /// Its place in the list, from 1.
    #[serde(rename = "ID")]
    pub id: String,
    /// The check's name, words joined by hyphens: `mtu`.
    pub name: String,
    /// What was looked at: an interface, a node, a table; empty for the host as a whole.
    pub about: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, one sentence without full stop.
    pub message: String,
    /// What to do; empty when nothing is to be done.
    pub advice: String,
}

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, but slowly or not for everything, or not for long.
    Warn,
    /// Something does not work.
    Fail,
}

impl Verdict {
    /// The name on the wire: `ok`, `warn` or `fail`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}
