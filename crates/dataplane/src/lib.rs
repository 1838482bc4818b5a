//! From a desired network state to the kernel.
//!
//! [`Desired`] says what should be; the kernel modules observe what is; a pure planner decides what
//! has to change, in an order in which traffic never sees a half-made thing; applying the changes
//! is the only part that touches the world. Start-up, every change and every audit are the same
//! three steps.
#![deny(unsafe_code)]

mod apply;
mod cleanup;
mod desired;
mod doctor;
mod edit;
mod ended;
mod handle;
mod kernel;
mod known;
mod lock;
mod lower;
mod names;
mod observe;
mod picks;
mod plan;
mod ports;
pub mod probe;
mod problem;
mod read;
mod record;
mod repair;
mod slice;
mod status;
mod tables;
pub mod trace;
mod watch;
mod ways;
mod world;

pub use abi::{Algorithm, FlowState, Load, NetId};
pub use cleanup::{Cleaned, Cleanup, cleanup};
pub use desired::*;
pub use doctor::{Fill, Finding, Subject, Verdict, examine};
pub use edit::Edit;
pub use handle::{ApplyError, Dataplane, GARBAGE_INTERVAL, OpenError, Report, Settings};
pub use kernel::bpf::Attach;
pub use lower::Underlay;
pub use names::mac_of;
pub use problem::{Problem, ProblemCode};
pub use read::{Drop, Flow, ReadError, Sample};
pub use status::{Status, Way};
pub use watch::Events;
