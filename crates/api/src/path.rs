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

/// The path of one object in `collection`, whatever characters `name` has.
pub(crate) fn of(collection: &str, name: &str) -> String {
    let mut path = String::from(collection);
    path.push('/');
    for byte in name.bytes() {
        // RFC 3986 §2.3, unreserved characters.
        if byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_segment() {
        assert_eq!(of(VIPS, "web-1.a_b"), "/netd/v1/vips/web-1.a_b");
        assert_eq!(of(VIPS, "../x?y#ä"), "/netd/v1/vips/..%2Fx%3Fy%23%C3%A4");
    }
}
