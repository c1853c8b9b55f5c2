//! Which addresses may be called.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Network;

use super::{OutboundError, Target};

/// Public addresses, and what the operator allows beside them.
pub(super) struct Reach {
    networks: Vec<Network>,
}

impl Reach {
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Self { networks }
    }

    /// The address to connect to. A name with one address that may not be called has none.
    pub(super) async fn resolve(&self, target: &Target) -> Result<SocketAddr, OutboundError> {
        let none = || OutboundError::Address(target.host.clone());
        let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|_| none())?.collect();
        if !found.iter().all(|address| self.allows(address.ip(), target.is_secure)) {
            return Err(none());
        }
        found.first().copied().ok_or_else(none)
    }

    pub(super) fn allows(&self, address: IpAddr, is_secure: bool) -> bool {
        let address = address.to_canonical();
        let is_listed = self.networks.iter().any(|network| network.contains(address));
        if is_secure { is_listed || is_public(address) } else { is_listed && address.is_loopback() }
    }
}

/// Whether an address belongs to the internet at large.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_of_protocols = (a, b, c) == (192, 0, 0) || (a, b, c) == (192, 88, 99);
    let is_benchmark = a == 198 && (b & 0xfe) == 18;
    !(a == 0
        || a >= 224
        || address.is_loopback()
        || address.is_private()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || is_of_protocols
        || is_benchmark)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, ..] = address.segments();
    // Global unicast is 2000::/3; what carries an address of version 4 is judged by that.
    let is_global = first & 0xe000 == 0x2000;
    let is_special = first == 0x2001 && (second < 0x200 || second == 0xdb8);
    let inner = (first == 0x2002).then(|| {
        let bytes = (u32::from(second) << 16) | u32::from(third);
        Ipv4Addr::from_bits(bytes)
    });
    is_global && !is_special && first != 0x3fff && inner.is_none_or(is_public_v4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_internet_are_public() {
        for (address, expected) in [
            ("1.1.1.1", true),
            ("93.184.216.34", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("127.255.0.1", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.32.0.1", true),
            ("192.0.0.1", false),
            ("192.0.2.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("2606:4700::1", true),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a00:1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("2002:a00:1::", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("ff02::1", false),
        ] {
            let parsed: IpAddr = address.parse().expect("an address");
            assert_eq!(is_public(parsed.to_canonical()), expected, "{address}");
        }
    }

    #[test]
    fn the_operator_may_allow_more() {
        let reach = Reach::new(vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.1".parse().unwrap()]);
        for (address, is_secure, expected) in [
            ("10.1.1.1", true, true),
            ("10.1.1.1", false, false),
            ("127.0.0.1", false, true),
            ("192.168.0.1", true, false),
            ("1.1.1.1", true, true),
            ("1.1.1.1", false, false),
        ] {
            let parsed = address.parse().unwrap();
            assert_eq!(reach.allows(parsed, is_secure), expected, "{address} {is_secure}");
        }
    }
}
