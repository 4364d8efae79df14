//! Which addresses are out in the public internet. A web hook's URL is given by whoever may write a
//! record; without this rule it would be a way to speak to what stands behind the firewall.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that are not the public's, by their first address and their prefix: IANA's
/// registry of special-purpose addresses (RFC 6890), multicast and what is reserved.
const V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // carriers' NAT
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, where clouds tell machines their secrets
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // relays of 6to4
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 3),     // multicast, reserved, broadcast
];

/// All that is allotted to the public of IPv6 …
const V6_PUBLIC: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// … but for these.
const V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocols: Teredo, ORCHID, benchmarks
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4, which has an IPv4 address inside
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];
/// NAT64's well-known prefix (RFC 6052): behind it stands an IPv4 address, and that counts.
const NAT64: (Ipv6Addr, u32) = (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

/// Whether an address is the public's. One that has an IPv4 address inside (mapped, or behind
/// NAT64's well-known prefix) is judged by that.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) if within_v6(v6, NAT64) => {
            let [.., a, b, c, d] = v6.octets();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        IpAddr::V6(v6) => within_v6(v6, V6_PUBLIC) && !V6.iter().any(|block| within_v6(v6, *block)),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(first, prefix): &(Ipv4Addr, u32)| {
        (address.to_bits() ^ first.to_bits()).leading_zeros() >= *prefix
    };
    !V4.iter().any(within)
}

fn within_v6(address: Ipv6Addr, (first, prefix): (Ipv6Addr, u32)) -> bool {
    (address.to_bits() ^ first.to_bits()).leading_zeros() >= prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each block by its ends, and what stands before and behind it.
    #[test]
    fn blocks_begin_and_end_where_the_registry_says() {
        #[rustfmt::skip]
        let cases: &[(&str, bool)] = &[
            ("0.0.0.0", false), ("0.255.255.255", false), ("1.0.0.0", true),
            ("9.255.255.255", true), ("10.0.0.0", false), ("10.255.255.255", false), ("11.0.0.0", true),
            ("100.63.255.255", true), ("100.64.0.0", false), ("100.127.255.255", false), ("100.128.0.0", true),
            ("126.255.255.255", true), ("127.0.0.1", false), ("127.255.255.255", false), ("128.0.0.0", true),
            ("169.253.255.255", true), ("169.254.169.254", false), ("169.255.0.0", true),
            ("172.15.255.255", true), ("172.16.0.0", false), ("172.31.255.255", false), ("172.32.0.0", true),
            ("191.255.255.255", true), ("192.0.0.0", false), ("192.0.0.255", false), ("192.0.1.0", true),
            ("192.0.2.1", false), ("192.0.3.0", true),
            ("192.88.98.255", true), ("192.88.99.1", false), ("192.88.100.0", true),
            ("192.167.255.255", true), ("192.168.0.0", false), ("192.168.255.255", false), ("192.169.0.0", true),
            ("198.17.255.255", true), ("198.18.0.0", false), ("198.19.255.255", false), ("198.20.0.0", true),
            ("198.51.99.255", true), ("198.51.100.7", false), ("198.51.101.0", true),
            ("203.0.112.255", true), ("203.0.113.7", false), ("203.0.114.0", true),
            ("223.255.255.255", true), ("224.0.0.1", false), ("239.255.255.255", false), ("240.0.0.1", false), ("255.255.255.255", false),
            ("8.8.8.8", true), ("93.184.216.34", true),
            // IPv6: only what is allotted to the public.
            ("::", false), ("::1", false), ("::7f00:1", false), ("::808:808", false),
            ("1fff:ffff::", false), ("2000::", true), ("2606:4700::1111", true), ("2a00:1450:4001::200e", true), ("3ffe:ffff::", true),
            ("2001::1", false), ("2001:1ff:ffff::", false), ("2001:200::", true), ("2001:4860:4860::8888", true),
            ("2001:db7:ffff::", true), ("2001:db8::1", false), ("2001:db8:ffff::", false), ("2001:db9::", true),
            ("2002:808:808::1", false), ("2002:7f00:1::", false), ("2003::", true),
            ("3fff::1", false), ("3fff:fff:ffff::", false), ("3fff:1000::", true), ("4000::", false), ("5f00::1", false),
            ("100::1", false), ("fc00::1", false), ("fdff::1", false), ("fe80::1", false), ("fec0::1", false), ("ff02::1", false),
            // With an IPv4 address inside.
            ("::ffff:8.8.8.8", true), ("::ffff:127.0.0.1", false), ("::ffff:10.1.2.3", false), ("::ffff:169.254.169.254", false),
            ("64:ff9b::8.8.8.8", true), ("64:ff9b::10.0.0.1", false), ("64:ff9b::127.0.0.1", false),
            ("64:ff9b:1::8.8.8.8", false), ("64:ff9b::1:0:0", false),
        ];
        for (address, public) in cases {
            assert_eq!(is_public(address.parse().expect(address)), *public, "{address}");
        }
    }
}
