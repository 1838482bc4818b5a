//! How many ICMP errors a CPU sends (RFC 1812 §4.3.2.8, RFC 4443 §2.4 f): a flood of packets that go
//! nowhere is not answered by a flood of errors.

use crate::{
    drops::now_ns,
    maps::{ERRORS, SETTINGS, slot},
};

/// Whether one more may be sent now; it is counted as sent.
#[inline(never)]
pub(super) fn admits() -> bool {
    // What is refused is refused before the tunnel is there, too.
    let (Some(settings), Ok(credit)) = (SETTINGS.get(0), slot(&ERRORS)) else {
        return false;
    };
    credit.take(settings.errors_per_second, now_ns())
}
