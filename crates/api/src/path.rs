//! Where each noun lives.

/// Where netd listens unless told otherwise.
pub const SOCKET: &str = "/run/netd/netd.sock";

/// [`crate::Status`].
pub const STATUS: &str = "/netd/v1/status";
/// A list of [`crate::Network`]; with `/{name or id}` one [`crate::NetworkDetail`].
pub const NETWORKS: &str = "/netd/v1/networks";
/// A list of [`crate::Endpoint`]; with `/{name or id}` one of them.
pub const ENDPOINTS: &str = "/netd/v1/endpoints";
/// A list of [`crate::Vip`]; with `/{service or id}` one of them.
pub const VIPS: &str = "/netd/v1/vips";
/// A list of [`crate::Port`].
pub const PORTS: &str = "/netd/v1/ports";
/// A list of [`crate::Flow`].
pub const FLOWS: &str = "/netd/v1/flows";
/// A list of [`crate::DropCount`].
pub const DROPS: &str = "/netd/v1/drops";

/// A list of [`crate::Finding`]; looked for anew with every request, which takes a second or so.
pub const DOCTOR: &str = "/netd/v1/doctor";

/// A [`crate::Trace`]; asked with the fields of [`crate::TraceQuestion`].
pub const TRACE: &str = "/netd/v1/trace";

/// POST: has the node's programs note what they do with a probe; a [`crate::Watched`]. Asked with the
/// fields of [`crate::TraceQuestion`], as [`PROBE_SEND`], and `milliseconds`, how long an answer is waited
/// for.
pub const PROBE_WATCH: &str = "/netd/v1/probe/watch";
/// POST: sends a probe; a [`crate::ProbeSent`].
pub const PROBE_SEND: &str = "/netd/v1/probe/send";
/// POST: a list of [`crate::Sighting`]; nothing is noted any more.
pub const PROBE_COLLECT: &str = "/netd/v1/probe/collect";

/// The path of one object in `collection`, whatever characters `name` has.
pub(crate) fn of(collection: &str, name: &str) -> String {
    let mut path = String::from(collection);
    path.push('/');
    for byte in name.bytes() {
        escape(byte, &mut path);
    }
    path
}

/// The path with parameters, whatever characters their values have.
pub(crate) fn with(path: &str, parameters: &[(&str, &str)]) -> String {
    let mut path = String::from(path);
    for (index, (name, value)) in parameters.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(name);
        path.push('=');
        value.bytes().for_each(|byte| escape(byte, &mut path));
    }
    path
}

/// RFC 3986 §2.3, unreserved characters.
fn escape(byte: u8, path: &mut String) {
    if byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte) {
        path.push(char::from(byte));
    } else {
        path.push_str(&format!("%{byte:02X}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(of(VIPS, "web-1.a_b"), "/netd/v1/vips/web-1.a_b");
        let query = with(TRACE, &[("a", "x&y=1"), ("b", "[::]:1")]);
        assert_eq!(query, "/netd/v1/trace?a=x%26y%3D1&b=%5B%3A%3A%5D%3A1");
        assert_eq!(of(VIPS, "../x?y#ä"), "/netd/v1/vips/..%2Fx%3Fy%23%C3%A4");
    }
}
