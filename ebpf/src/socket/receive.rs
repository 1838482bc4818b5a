//! A process learns who sent a datagram.

use abi::{EndpointKind, Header, Lead, Leads, Netns, netns};

use super::{ALLOW, Dial, connect, frontend, lead, send};
use crate::deliver;

/// Gives a backend's datagram the source that the process sent to.
#[inline(always)]
pub(crate) fn run(dial: Dial) -> i32 {
    let Some(netns) = super::netns(dial) else {
        return ALLOW;
    };
    if let Some(lead) = connect::existing(dial)
        && lead::is_to(lead, dial)
    {
        answer(dial, netns, lead);
        return ALLOW;
    }
    let Some(leads) = send::existing(dial) else {
        return ALLOW;
    };
    let mut index = 0;
    while index < Leads::MOST {
        let lead = &leads.leads[index];
        if lead::is_to(lead, dial) {
            answer(dial, netns, lead);
            return ALLOW;
        }
        index += 1;
    }
    ALLOW
}

/// The process hears of a service only as long as that exists.
#[inline(always)]
fn answer(dial: Dial, namespace: &Netns, lead: &Lead) {
    let exists = if namespace.flags & netns::NODE != 0 {
        let header = Header {
            destination: lead.frontend,
            destination_port: lead.frontend_port,
            ..dial.header()
        };
        frontend::published(&header).is_some()
    } else {
        deliver::endpoint(lead.net, &lead.frontend)
            .is_some_and(|it| EndpointKind::from_u8(it.kind) == Some(EndpointKind::Vip))
    };
    if exists {
        dial.set(&lead.frontend, lead.frontend_port);
    }
}
