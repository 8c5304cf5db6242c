//! Who is at the other end of a connection.

use core::net::{IpAddr, Ipv4Addr};

/// The other end of a connection, as limits and checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// It is in `limits.trusted_networks`: rate limits, lock-outs and checks do not apply to it.
    pub trusted: bool,
}

impl Peer {
    /// A program on this host that is trusted.
    pub const LOCAL: Self = Self {
        address: IpAddr::V4(Ipv4Addr::LOCALHOST),
        trusted: true,
    };
}
