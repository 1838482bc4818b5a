//! Static mode: one file describes the cluster, every node takes its part from it.
//!
//! [`load`] reads and checks the file, [`desired`] is this node's part of it, [`Watch`] says when it
//! has been edited. What is right and what is decided is `model`'s business; here are only the file,
//! its syntax and its place among the kernel's namespaces.

mod desired;
mod load;
mod newcomers;
mod parse;
mod watch;

pub(crate) use desired::desired;
pub(crate) use load::{LoadError, Loaded, load, unfit};
pub(crate) use newcomers::Newcomers;
pub(crate) use watch::Watch;
