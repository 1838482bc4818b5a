//! The kernel programs against an oracle: random packets over random tables, one by one through the
//! kernel, and what each makes of them compared with what it must do.
//!
//! `NETD_TEST_PACKETS` says how many packets of each kind, `NETD_TEST_SEED` which; a failure names
//! its seed. With `NETD_TEST_LONG` there are ten times as many, of another seed each time.

#![expect(
    clippy::unwrap_used,
    reason = "tests may, and so may what only they are made of"
)]

mod compare;
mod connection;
mod dice;
mod distribution;
mod explainer;
mod headers;
mod interleavings;
mod ledger;
mod oracle;
mod samples;
mod sketch;
mod spoil;
mod straight;
mod traffic;
mod trial;
mod watched;
mod world;

use anyhow::Result;

use traffic::Lane;

#[test]
fn tasks_in_networks_send_anything() -> Result<()> {
    trial::run(
        "network",
        Lane::Network,
        &[
            "sent renumbered",
            "told no-backend",
            "told no-flow",
            "told no-port",
            "told too-big",
            "sent an error",
            "to-gateway",
            "too-big",
            "no-endpoint",
        ],
    )
}

#[test]
fn tasks_at_their_gateways_send_anything() -> Result<()> {
    trial::run(
        "gateway",
        Lane::Gateway,
        &[
            "told no-backend",
            "told too-big",
            "sent an error",
            "no-flow",
            "cross-network",
            "vxlan-from-task",
        ],
    )
}

#[test]
fn the_stack_sends_anything_to_tasks() -> Result<()> {
    trial::run("to-task", Lane::ToTask, &["unsolicited", "passed"])
}

#[test]
fn other_nodes_send_anything() -> Result<()> {
    trial::run(
        "overlay",
        Lane::Overlay,
        &[
            "bad-mesh",
            "bad-reply",
            "sent an error",
            "sent renumbered",
            "told no-flow",
            "not-local",
            "spoofed-inner",
            "unknown-backend",
            "unknown-vni",
            "unknown-vtep",
        ],
    )
}

#[test]
fn other_nodes_send_anything_in_anything() -> Result<()> {
    trial::run(
        "wrapped",
        Lane::Wrapped,
        &[
            "bad-mesh",
            "not-local",
            "passed",
            "sent changed",
            "sent renumbered",
            "spoofed-inner",
            "unknown-vni",
            "unknown-vtep",
        ],
    )
}

#[test]
fn the_outside_sends_anything() -> Result<()> {
    trial::run(
        "uplink",
        Lane::Uplink,
        &[
            "told no-backend",
            "told no-flow",
            "told too-big",
            "sent an error",
            "martian",
            "passed",
        ],
    )
}
