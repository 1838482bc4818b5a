//! From what was written to a topology that holds together.

use crate::{Problem, Topology, raw};

/// todo
pub fn validate(_raw: &raw::Topology) -> Result<Topology, Vec<Problem>> { Err(Vec::new()) }
