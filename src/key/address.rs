//! Client addresses: single ones and blocks in CIDR notation (SPEC §6.3, "Addresses").
//!
//! An IPv4-mapped IPv6 address is its IPv4 address, everywhere. So `::/0` has no IPv4 address, and
//! a mapped block of /96 or longer is an IPv4 block.

// An address is a value; the rest of `std::net` is sockets, which the core does not name.
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits that stand before the IPv4 address in an IPv4-mapped one.
const MAPPED_BITS: u8 = 96;

/// A set of addresses, compiled: sorted ranges that do not touch, each from its first address to
/// its last, for a binary search.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Blocks {
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Blocks {
    /// Compiles addresses and blocks. What is neither holds no address: it came from a record that
    /// was written before they were checked, and must not open anything.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for block in entries.into_iter().filter_map(|entry| Block::parse(entry).ok()) {
            match block {
                Block::V4(first, last) => v4.push((first, last)),
                Block::V6(first, last) => v6.push((first, last)),
            }
        }
        Self {
            v4: joined(v4, |number| number.checked_add(1)),
            v6: joined(v6, |number| number.checked_add(1)),
        }
    }

    /// Whether the address is in the set.
    #[must_use]
    pub fn have(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => within(&self.v4, v4.to_bits()),
            IpAddr::V6(v6) => within(&self.v6, v6.to_bits()),
        }
    }
}

/// Sorted ranges, with those that overlap or touch made one: equal sets compile to equal ones.
fn joined<T: Ord + Copy>(mut ranges: Vec<(T, T)>, after: impl Fn(T) -> Option<T>) -> Box<[(T, T)]> {
    ranges.sort_unstable();
    let mut joined: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match joined.last_mut() {
            // The last address of all is followed by none, and touches whatever comes.
            Some(before) if after(before.1).is_none_or(|next| first <= next) => {
                before.1 = before.1.max(last);
            }
            _ => joined.push((first, last)),
        }
    }
    joined.into()
}

fn within<T: Ord + Copy>(ranges: &[(T, T)], number: T) -> bool {
    let begun = ranges.partition_point(|(first, _)| *first <= number);
    begun > 0 && number <= ranges[begun - 1].1
}

/// One entry of a list: its first address and its last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    V4(u32, u32),
    V6(u128, u128),
}

impl Block {
    fn parse(entry: &str) -> Result<Self, String> {
        let (address, bits) = match entry.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (entry, None),
        };
        let address = parse(address)?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => bits_max,
            Some(digits) => prefix_length(digits, bits_max).ok_or_else(|| {
                format!("{entry:?} is not a block: behind the '/' stands 0 to {bits_max}")
            })?,
        };
        let network = network(address, bits);
        if network != address {
            return Err(format!(
                "{entry:?} has bits set beyond its prefix: the block is {network}/{bits}, the \
                 address alone {address}"
            ));
        }
        Ok(match address {
            IpAddr::V4(v4) => Self::v4(v4, bits),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped().zip(bits.checked_sub(MAPPED_BITS)) {
                Some((v4, bits)) => Self::v4(v4, bits),
                None => Self::V6(v6.to_bits(), v6.to_bits() | !mask_v6(bits)),
            },
        })
    }

    fn v4(network: Ipv4Addr, bits: u8) -> Self {
        Self::V4(network.to_bits(), network.to_bits() | !mask_v4(bits))
    }
}

/// An address by itself, with words for those who wrote another thing.
fn parse(text: &str) -> Result<IpAddr, String> {
    if text.contains('%') {
        return Err(format!(
            "{text:?} has a zone id, which names an interface of one machine; leave it out"
        ));
    }
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not an address or a block, such as \"203.0.113.7\", \"203.0.113.0/24\" \
             or \"2001:db8::/32\""
        )
    })
}

/// Decimal digits without a sign or leading zeros, up to `max`.
fn prefix_length(digits: &str, max: u8) -> Option<u8> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    let leading = digits.len() > 1 && digits.starts_with('0');
    digits.parse().ok().filter(|bits| plain && !leading && *bits <= max)
}

fn network(address: IpAddr, bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & mask_v4(bits)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & mask_v6(bits)).into(),
    }
}

/// The first `bits` bits set.
fn mask_v4(bits: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0)
}

fn mask_v6(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

/// Says what is wrong with an address or block that is to be allowed, if anything.
///
/// # Errors
/// One line that shows the form, or the block that was meant.
pub fn check(entry: &str) -> Result<(), String> {
    Block::parse(entry).map(drop)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect(text)
    }

    #[test]
    fn blocks_hold_the_addresses_that_the_specification_says() {
        for (entry, client, expected) in [
            ("203.0.113.0/24", "203.0.113.0", true),
            ("203.0.113.0/24", "203.0.113.255", true),
            ("203.0.113.0/24", "203.0.114.0", false),
            ("203.0.113.0/24", "203.0.112.255", false),
            ("203.0.113.0/24", "::ffff:203.0.113.7", true),
            ("203.0.113.0/24", "::203.0.113.7", false),
            ("203.0.113.7", "203.0.113.7", true),
            ("203.0.113.7", "203.0.113.8", false),
            ("203.0.113.7/32", "203.0.113.7", true),
            ("203.0.113.6/31", "203.0.113.7", true),
            ("::ffff:203.0.113.0/120", "203.0.113.7", true),
            ("::ffff:203.0.113.0/120", "::ffff:203.0.113.7", true),
            ("::ffff:203.0.113.7", "203.0.113.7", true),
            ("::ffff:0:0/96", "203.0.113.7", true),
            ("::ffff:0:0/96", "2001:db8::1", false),
            // Shorter than the mapping, it is a block of IPv6 addresses.
            ("::/80", "203.0.113.7", false),
            ("::/80", "::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("2001:DB8::/32", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1/128", "2001:db8::2", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", true),
            ("::/0", "203.0.113.7", false),
            ("::/0", "::ffff:203.0.113.7", false),
            ("nonsense", "203.0.113.7", false),
        ] {
            let blocks = Blocks::new([entry]);
            assert_eq!(blocks.have(address(client)), expected, "{entry} for {client}");
        }
    }

    #[test]
    fn what_is_no_block_is_refused_with_what_mends_it() {
        for (entry, says) in [
            ("203.0.113.7/24", "203.0.113.0/24"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:203.0.113.7/120", "::ffff:203.0.113.0/120"),
            ("10.0.0.1/0", "0.0.0.0/0"),
            ("fe80::1%eth0", "zone id"),
            ("fe80::%1/64", "zone id"),
            ("10.0.0.0/33", "0 to 32"),
            ("2001:db8::/129", "0 to 128"),
            ("10.0.0.0/-1", "0 to 32"),
            ("10.0.0.0/+8", "0 to 32"),
            ("10.0.0.0/08", "0 to 32"),
            ("10.0.0.0/", "0 to 32"),
            ("10.0.0.0/8/8", "0 to 32"),
            ("10.0.0.0/255.0.0.0", "0 to 32"),
            ("10.0.0", "not an address"),
            ("010.0.0.1", "not an address"),
            ("10.0.0.1:80", "not an address"),
            ("[2001:db8::1]", "not an address"),
            (" 10.0.0.1", "not an address"),
            ("10.0.0.*", "not an address"),
            ("", "not an address"),
            ("localhost", "not an address"),
        ] {
            let refused = check(entry).expect_err(entry);
            assert!(refused.contains(says), "{entry}: {refused}");
            assert_eq!(Blocks::new([entry]), Blocks::default(), "{entry}");
        }
    }

    #[test]
    fn equal_sets_compile_to_equal_ranges() {
        let whole = Blocks::new(["10.0.0.0/8", "2001:db8::/32"]);
        for same in [
            &["2001:db8::/32", "10.0.0.0/8", "10.0.0.0/8"][..],
            &["10.0.0.0/9", "10.128.0.0/9", "10.1.2.3", "2001:db8::/33", "2001:db8:8000::/33"],
            &["::ffff:10.0.0.0/104", "10.9.0.0/16", "2001:db8::/32", "2001:db8::7"],
        ] {
            assert_eq!(Blocks::new(same.iter().copied()), whole, "{same:?}");
        }
        let all = Blocks::new(["255.255.255.255", "0.0.0.0/0", "255.0.0.0/8"]);
        assert_eq!(all, Blocks::new(["0.0.0.0/0"]));
    }

    /// A few small networks, so that blocks and addresses meet.
    fn near() -> impl Strategy<Value = IpAddr> {
        let v4 = any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits & 0xC000_0013).into());
        let v6 = any::<u128>();
        let v6 = v6.prop_map(|bits| Ipv6Addr::from_bits(bits & (3 << 126 | 0x13)).into());
        let mapped = any::<u32>()
            .prop_map(|bits| Ipv4Addr::from_bits(bits & 0xC000_0013).to_ipv6_mapped().into());
        prop_oneof![v4, v6, mapped]
    }

    /// The rule, bit by bit.
    fn naive(block: (IpAddr, u8), address: IpAddr) -> bool {
        let bits = |address: IpAddr| -> Vec<bool> {
            let octets = match address {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let bit = |at: usize| octets[at / 8] & (0x80 >> (at % 8)) != 0;
            (0..octets.len() * 8).map(bit).collect()
        };
        let (network, mut length) = block;
        let address = address.to_canonical();
        let mut network = network;
        if network.to_canonical() != network && length >= 96 {
            network = network.to_canonical();
            length -= 96;
        }
        let same_family = network.is_ipv4() == address.is_ipv4();
        same_family && bits(network)[..length.into()] == bits(address)[..length.into()]
    }

    proptest! {
        #[test]
        fn a_set_has_what_one_of_its_blocks_has(
            blocks in vec((near(), any::<u8>()), 0..12),
            addresses in vec(near(), 1..12),
        ) {
            let blocks: Vec<(IpAddr, u8)> = blocks.into_iter().map(|(address, bits)| {
                let bits = bits % if address.is_ipv4() { 33 } else { 129 };
                (network(address, bits), bits)
            }).collect();
            let entries: Vec<String> =
                blocks.iter().map(|(network, bits)| format!("{network}/{bits}")).collect();
            for entry in &entries {
                prop_assert_eq!(check(entry), Ok(()));
            }
            let set = Blocks::new(entries.iter().map(String::as_str));
            for address in addresses {
                let expected = blocks.iter().any(|block| naive(*block, address));
                prop_assert_eq!(set.have(address), expected, "{:?} {}", entries, address);
            }
        }

        #[test]
        fn no_text_makes_a_check_panic(entry in "\\PC{0,30}|[0-9a-f:./%]{0,40}") {
            let _ = check(&entry);
        }
    }
}
