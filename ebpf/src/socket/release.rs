//! A process is done with a socket.

use abi::{Lead, Leads};
use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_socket_cookie, bpf_sk_storage_get},
    programs::SockContext,
};

use super::{ALLOW, lead};
use crate::maps::{CONNECTED, DATAGRAMS, UNCONNECTED};

/// Counts the end of everything that the socket was led to, whichever namespace it is in.
#[inline(always)]
pub(crate) fn run(context: &SockContext) -> i32 {
    let connected = (&raw const CONNECTED).cast_mut().cast();
    // SAFETY: the map is one of values of this type.
    if let Some(lead) = unsafe { storage::<Lead>(connected, context.sock) } {
        lead::end(lead);
        // SAFETY: the context is that of this run.
        let cookie = unsafe { bpf_get_socket_cookie(context.sock.cast()) };
        let _ = DATAGRAMS.remove(cookie);
    }
    let unconnected = (&raw const UNCONNECTED).cast_mut().cast();
    // SAFETY: as above.
    if let Some(leads) = unsafe { storage::<Leads>(unconnected, context.sock) } {
        let mut index = 0;
        while index < Leads::MOST {
            lead::end(&mut leads.leads[index]);
            index += 1;
        }
    }
    ALLOW
}

/// What `map` keeps for a socket. (aya has this for other kinds of programs only.)
///
/// # Safety
/// `map` keeps values of type `T`.
#[inline(always)]
unsafe fn storage<T>(map: *mut core::ffi::c_void, socket: *mut bpf_sock) -> Option<&'static mut T> {
    // SAFETY: the socket is that of this run; without the flag that creates no value is read.
    let value = unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), 0) };
    // SAFETY: the caller vouches for the type; nobody else has the socket any more.
    unsafe { value.cast::<T>().as_mut() }
}
