//! The kernel programs: one file for each hook, and one for each thing that hooks do to a packet.
//!
//! A hook on an interface decides by `Result<Verdict, DropReason>`; [`action`] alone turns that into what
//! the kernel understands. What was dropped is counted and sampled, there and where packets are answered
//! and sockets refused. Nothing here allocates, logs or loops without a bound.
#![no_std]
#![no_main]
#![feature(core_intrinsics)]
#![expect(internal_features, reason = "atomic read-modify-write; see `atomic`")]

mod action;
mod answer;
mod atomic;
mod balance;
mod carrier;
mod deliver;
mod direct;
mod drops;
mod flows;
mod fragments;
mod from_overlay;
mod from_task;
mod from_uplink;
mod icmp;
mod loads;
mod maps;
mod mesh;
mod node;
mod rewrite;
mod route;
mod sight;
mod size;
mod skb;
mod socket;
mod test_run;
mod to_task;
mod vip;

use abi::{DropReason, Observer};
use aya_ebpf::{
    bindings::TC_ACT_SHOT,
    macros::{cgroup_sock, cgroup_sock_addr, classifier},
    programs::{SockAddrContext, SockContext, TcContext},
};

use crate::{
    carrier::{Origin, Taken},
    skb::Skb,
    socket::Dial,
};

/// Host's end of a task's veth, ingress: whatever a task sends.
#[classifier]
pub(crate) fn from_task(context: TcContext) -> i32 {
    action::run(Skb::new(&context), Observer::FromTask, from_task::run)
}

/// Host's end of a gateway attachment, egress: whatever the node's own stack sends to a task.
#[classifier]
pub(crate) fn to_task(context: TcContext) -> i32 {
    action::run(Skb::new(&context), Observer::ToTask, to_task::run)
}

/// The VXLAN device, ingress: whatever other nodes send.
#[classifier]
pub(crate) fn from_overlay(context: TcContext) -> i32 {
    action::run(Skb::new(&context), Observer::FromOverlay, from_overlay::run)
}

/// An uplink, ingress: whatever arrives from outside, other nodes' packets among it.
#[classifier]
pub(crate) fn from_uplink(context: TcContext) -> i32 {
    let skb = Skb::new(&context);
    let mut origin = Origin::default();
    let taken = carrier::take(skb, &mut origin);
    let observer = match taken {
        Taken::Yes => Observer::FromOverlay,
        Taken::No | Taken::Broken => Observer::FromUplink,
    };
    let Some((header, parsed)) = action::begin(skb) else {
        return TC_ACT_SHOT;
    };
    let verdict = match taken {
        Taken::No => from_uplink::run(skb, header, parsed),
        Taken::Yes => from_overlay::receive(skb, &origin, header, parsed),
        Taken::Broken => Err(DropReason::Rewrite),
    };
    action::end(skb, observer, verdict)
}

/// [`from_overlay`] for test runs, which cannot bring tunnel metadata along. Never attached.
#[classifier]
pub(crate) fn from_overlay_test(context: TcContext) -> i32 {
    action::run(Skb::new(&context), Observer::FromOverlay, test_run::run)
}

/// Adds to the counts of `LOADS` what user space has found out, in a test run. Never attached.
#[classifier]
pub(crate) fn correct(context: TcContext) -> i32 {
    loads::correct(&context)
}

/// A process connects a socket to an IPv4 address.
#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(context: SockAddrContext) -> i32 {
    socket::connect::run(Dial::v4(&context))
}

/// A process connects a socket to an IPv6 address, perhaps a mapped one.
#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(context: SockAddrContext) -> i32 {
    socket::connect::run(Dial::v6(&context))
}

/// A process sends a datagram to an IPv4 address that it names.
#[cgroup_sock_addr(sendmsg4)]
pub(crate) fn sendmsg4(context: SockAddrContext) -> i32 {
    socket::send::run(Dial::v4(&context))
}

/// A process sends a datagram to an IPv6 address that it names.
#[cgroup_sock_addr(sendmsg6)]
pub(crate) fn sendmsg6(context: SockAddrContext) -> i32 {
    socket::send::run(Dial::v6(&context))
}

/// A process learns from which IPv4 address a datagram came.
#[cgroup_sock_addr(recvmsg4)]
pub(crate) fn recvmsg4(context: SockAddrContext) -> i32 {
    socket::receive::run(Dial::v4(&context))
}

/// A process learns from which IPv6 address a datagram came, perhaps a mapped one.
#[cgroup_sock_addr(recvmsg6)]
pub(crate) fn recvmsg6(context: SockAddrContext) -> i32 {
    socket::receive::run(Dial::v6(&context))
}

/// A process asks for the IPv4 address of a socket's other end.
#[cgroup_sock_addr(getpeername4)]
pub(crate) fn getpeername4(context: SockAddrContext) -> i32 {
    socket::name::run(Dial::v4(&context))
}

/// A process asks for the IPv6 address of a socket's other end, perhaps a mapped one.
#[cgroup_sock_addr(getpeername6)]
pub(crate) fn getpeername6(context: SockAddrContext) -> i32 {
    socket::name::run(Dial::v6(&context))
}

/// A process binds a socket to an IPv4 address.
#[cgroup_sock_addr(bind4)]
pub(crate) fn bind4(context: SockAddrContext) -> i32 {
    socket::bind::run(Dial::v4(&context))
}

/// A process binds a socket to an IPv6 address.
#[cgroup_sock_addr(bind6)]
pub(crate) fn bind6(context: SockAddrContext) -> i32 {
    socket::bind::run(Dial::v6(&context))
}

/// A process is done with a socket.
#[cgroup_sock(sock_release)]
pub(crate) fn sock_release(context: SockContext) -> i32 {
    socket::release::run(&context)
}

/// Wraps and unwraps a frame, to show that the kernel can. Never attached.
#[classifier]
pub(crate) fn carrier_probe(context: TcContext) -> i32 {
    carrier::probe::run(Skb::new(&context))
}

/// License the kernel reads: GPL-only helpers need one that it takes for GPL-compatible.
// SAFETY: the section is read by the loader alone and no other symbol is placed in it.
#[unsafe(link_section = "license")]
// SAFETY: no other symbol of the object has this name.
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
