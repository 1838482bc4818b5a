//! The kernel programs.

#![no_std]
#![no_main]

use aya_ebpf::{bindings::TC_ACT_OK, macros::classifier, programs::TcContext};

/// Passes every packet.
#[classifier]
fn from_task(_ctx: TcContext) -> i32 {
    TC_ACT_OK
}

/// License the kernel reads: GPL-only helpers need one that it takes for GPL-compatible.
// SAFETY: the section is read by the loader alone and no other symbol is placed in it.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
