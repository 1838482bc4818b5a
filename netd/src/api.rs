//! The local API: what the agent knows and what the kernel counts, as JSON over a unix socket.
//!
//! One file for each noun makes its wire type from a [`snapshot::Snapshot`] of the agent and, where
//! something changes with every packet, from the agent's live answers. Nothing here is kept between
//! two requests, and no request changes anything but the probes', which have the programs note for a few
//! seconds what they do.

mod digest;
mod doctor;
mod drops;
mod endpoint;
mod flow;
mod lookup;
mod names;
mod network;
mod port;
mod probe;
mod refusal;
mod server;
mod share;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod trace;
mod vip;

pub(crate) use server::{BindError, Server};

use api::path;
use axum::Router;
use axum::routing::{get, post};

use crate::agent::Handle;

fn router(agent: Handle) -> Router {
    let one = |collection: &str| format!("{collection}/{{name}}");
    Router::new()
        .route(path::STATUS, get(status::show))
        .route(path::NETWORKS, get(network::list))
        .route(&one(path::NETWORKS), get(network::show))
        .route(path::ENDPOINTS, get(endpoint::list))
        .route(&one(path::ENDPOINTS), get(endpoint::show))
        .route(path::VIPS, get(vip::list))
        .route(&one(path::VIPS), get(vip::show))
        .route(path::PORTS, get(port::list))
        .route(path::FLOWS, get(flow::list))
        .route(path::DROPS, get(drops::list))
        .route(path::TRACE, get(trace::show))
        .route(path::PROBE_WATCH, post(probe::watch))
        .route(path::PROBE_SEND, post(probe::send))
        .route(path::PROBE_COLLECT, post(probe::collect))
        .route(path::DOCTOR, get(doctor::list))
        .fallback(refusal::no_page)
        .method_not_allowed_fallback(refusal::no_method)
        .with_state(agent)
}
