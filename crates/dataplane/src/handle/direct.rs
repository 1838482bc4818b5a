//! Which nodes can answer clients of this one themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::Dataplane;
use crate::desired::Desired;
use crate::kernel::straight;
use crate::lower::direct::{self, Proof};

impl Dataplane {
    /// Asks the nodes that are to answer clients themselves; who is silent stays what it was.
    pub(super) async fn ask_nodes(&mut self, desired: &Desired) -> BTreeMap<IpAddr, Proof> {
        let nodes = direct::nodes(desired);
        self.direct.retain(|node, _| nodes.contains(node));
        if nodes.is_empty() {
            return BTreeMap::new();
        }
        let own = desired.address;
        let asked = tokio::task::spawn_blocking(move || straight::ask(own, &nodes)).await;
        let answers = match asked {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => {
                tracing::warn!(%error, "nodes cannot be asked to answer clients straight");
                BTreeMap::new()
            }
            Err(_) => BTreeMap::new(),
        };
        for (node, proof) in answers {
            let kept = self.direct.entry(node).or_insert(proof);
            if proof != Proof::Silent {
                *kept = proof;
            }
        }
        self.direct.clone()
    }
}
