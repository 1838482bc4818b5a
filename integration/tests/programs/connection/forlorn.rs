//! A client whose SYN nobody has answered asks again.

use std::collections::BTreeSet;

use super::*;
use crate::trial::TABLES;

impl Node {
    /// Time passes, in seconds, for every flow.
    pub(crate) fn rest(&mut self, seconds: u64) -> Result<()> {
        for table in TABLES {
            for (key, entry) in self.oracle.flows.table(table).iter_mut() {
                let flow = self
                    .kernel
                    .tables
                    .flow(table, key)
                    .context("a flow is gone")?;
                let last_ns = flow.last_ns.checked_sub(seconds * 1_000_000_000);
                let last_ns = last_ns.context("the machine has just started")?;
                let flow = abi::Flow { last_ns, ..flow };
                self.kernel.tables.set_flow(table, key, &flow)?;
                entry.idle += seconds;
            }
        }
        Ok(())
    }

    /// The backend that the one flow leads to.
    fn backend(&self) -> Result<u32> {
        let flows = self.kernel.tables.flows(FlowTable::Opening)?;
        let backends: BTreeSet<u32> = flows.values().map(|flow| flow.backend).collect();
        ensure!(backends.len() == 1, "one flow, but {flows:?}");
        backends.first().copied().context("no flow")
    }

    /// Gives every frontend the backends of its kind, or the first alone.
    fn fill(&mut self, alone: bool) -> Result<()> {
        let contents = &mut self.oracle.contents;
        let services = contents.services.values_mut();
        for service in services.chain(contents.published.values_mut()) {
            // One here, one elsewhere: neighbours that begin with an odd number.
            let first = (service.inline[0] - 1) / 2 * 2 + 1;
            service.inline[..2].copy_from_slice(&[first, first + 1]);
            service.pick_length = if alone { 1 } else { 2 };
            contents.cursors.insert(service.id, 0);
        }
        self.kernel.tables.fill(&self.oracle.contents)
    }
}

#[test]
fn who_is_not_answered_asks_another_backend() -> Result<()> {
    on_every_road("forlorn", TCP, |node, road| {
        if road.client.program == Program::FromOverlay {
            return Ok(());
        }
        node.fill(false)?;
        node.send(&road.client, TCP, SYN)?;
        let first = node.backend()?;
        node.send(&road.client, TCP, SYN)?;
        ensure!(node.backend()? == first, "a packet was doubled on the way");
        let (mut last, mut given_up) = (first, 0);
        for _ in 0..3 {
            node.rest(1)?;
            node.send(&road.client, TCP, SYN)?;
            let next = node.backend()?;
            // Of each pair the second is elsewhere, and through the mesh its answer may be on its way.
            let stays = road.client.program == Program::FromUplink && last % 2 == 0;
            ensure!((next == last) == stays, "from backend {last} to {next}");
            given_up += u64::from(last == first && next != first);
            last = next;
        }
        let failed = node.kernel.tables.loads()?[&first].failed;
        ensure!(failed == given_up, "{failed} of {given_up} are counted");
        Ok(())
    })
}

#[test]
fn the_only_backend_is_asked_again() -> Result<()> {
    on_every_road("alone", TCP, |node, road| {
        if road.client.program == Program::FromOverlay {
            return Ok(());
        }
        node.fill(true)?;
        node.send(&road.client, TCP, SYN)?;
        let first = node.backend()?;
        node.rest(1)?;
        node.send(&road.client, TCP, SYN)?;
        ensure!(node.backend()? == first);
        Ok(())
    })
}

#[test]
fn who_was_answered_stays() -> Result<()> {
    on_every_road("answered", TCP, |node, road| {
        node.send(&road.client, TCP, SYN)?;
        node.send(&road.server, TCP, SYN_ACK)?;
        node.rest(1)?;
        node.send(&road.client, TCP, SYN)?;
        expect(node, road, (true, FlowState::Established), (1, 0))
    })
}
