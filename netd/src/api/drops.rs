use std::collections::BTreeMap;
use std::net::SocketAddr;

use api::{DropCount, DropSample};
use axum::Json;
use axum::extract::State;

use super::refusal::Refusal;
use super::snapshot::{Snapshot, protocol};
use crate::agent::{self, Handle};

pub(super) async fn list(State(agent): State<Handle>) -> Result<Json<Vec<DropCount>>, Refusal> {
    let snapshot = Snapshot::of(&agent)?;
    let networks = snapshot.network_names();
    let drops = agent.live.drops().await?;
    Ok(Json(
        drops.iter().map(|drop| count(&networks, drop)).collect(),
    ))
}

fn count(networks: &BTreeMap<u32, &str>, drop: &agent::Drop) -> DropCount {
    DropCount {
        reason: drop.reason.to_owned(),
        count: drop.count,
        description: drop.description.to_owned(),
        last_sample: drop.last.as_ref().map(|last| sample(networks, last)),
    }
}

fn sample(networks: &BTreeMap<u32, &str>, sample: &agent::Sample) -> DropSample {
    let network = networks.get(&sample.net).copied();
    DropSample {
        time: sample.time.into(),
        interface: sample.interface.clone(),
        network: network.unwrap_or_default().to_owned(),
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
