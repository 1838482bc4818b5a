use std::net::SocketAddr;

use api::{DropCount, DropSample};
use axum::Json;
use axum::extract::State;

use super::names::{Names, protocol};
use super::refusal::Refusal;
use crate::agent::{self, Handle};

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<DropCount>>, Refusal> {
    let drops = agent.live.drops().await?;
    let topology = agent.state.borrow().topology.clone();
    let names = Names::new(topology.as_deref());
    Ok(Json(drops.iter().map(|drop| count(&names, drop)).collect()))
}

fn count(names: &Names<'_>, drop: &agent::Drop) -> DropCount {
    DropCount {
        id: drop.number.to_string(),
        name: drop.reason.to_owned(),
        reason: drop.reason.to_owned(),
        count: drop.count,
        description: drop.description.to_owned(),
        last_sample: drop.last.as_ref().map(|last| sample(names, last)),
    }
}

fn sample(names: &Names<'_>, sample: &agent::Sample) -> DropSample {
    DropSample {
        time: sample.time.into(),
        interface: sample.interface.clone(),
        network: match sample.net {
            0 => String::new(),
            vni => names.network(vni),
        },
        protocol: match sample.protocol {
            0 => String::new(),
            number => protocol(number),
        },
        source: place(sample.source),
        destination: place(sample.destination),
        length: sample.length,
    }
}

/// An address, with its port if there is one; empty if there is no address.
fn place(place: Option<SocketAddr>) -> String {
    match place {
        None => String::new(),
        Some(place) if place.port() == 0 => place.ip().to_string(),
        Some(place) => place.to_string(),
    }
}
