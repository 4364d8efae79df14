//! Domains: the hosts that a request may come from (SPEC §6.3, "Domains").
//!
//! Names are compared in their ASCII form, lowercase and without the dot that may end them; an IP
//! address as a host is compared as an address. A name that is ASCII already is judged in place;
//! one that is not goes through UTS 46, which may allocate.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::set::TextSet;

/// Longest name and longest label of the DNS, in bytes (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A set of hosts, compiled. A wildcard is kept as what stands behind its `*.`, and found by taking
/// one label after the other off the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Domains {
    names: TextSet,
    addresses: Box<[IpAddr]>,
    suffixes: TextSet,
}

impl Domains {
    /// Compiles hosts and wildcards. What is neither covers no host: it came from a record that was
    /// written before they were checked, and must not open anything.
    pub fn new<'a>(entries: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut names, mut addresses, mut suffixes) = (Vec::new(), Vec::new(), Vec::new());
        for rule in entries.into_iter().filter_map(|entry| Rule::parse(entry).ok()) {
            match rule {
                Rule::Host(Host::Name(name)) => names.push(name),
                Rule::Host(Host::Address(address)) => addresses.push(address),
                Rule::Below(name) => suffixes.push(name),
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        Self { names: set(names), addresses: addresses.into(), suffixes: set(suffixes) }
    }

    /// Whether the host of an origin, or the host itself, is in the set.
    #[must_use]
    pub fn have(&self, origin: &[u8]) -> bool {
        match host_of(origin) {
            None => false,
            Some(Host::Address(address)) => self.addresses.binary_search(&address).is_ok(),
            Some(Host::Name(name)) => self.names.has(&name) || self.covers(&name),
        }
    }

    fn covers(&self, name: &[u8]) -> bool {
        // What a dot ends is at least one label, so the name itself is not covered.
        let dots = name.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        !self.suffixes.is_empty() && { dots }.any(|(at, _)| self.suffixes.has(&name[at + 1..]))
    }
}

fn set(names: Vec<Name>) -> TextSet {
    let text = |name: Name| name.iter().copied().map(char::from).collect::<String>();
    TextSet::new(names.into_iter().map(|name| text(name).into()).collect())
}

/// A name in the form in which names are compared: ASCII, lowercase, without a last dot.
type Name = ArrayVec<u8, NAME_BYTES_MAX>;

#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "on the stack for one look; a box would allocate")]
enum Host {
    Name(Name),
    /// Never an IPv4-mapped one.
    Address(IpAddr),
}

/// The host of `scheme://host:port`, `host:port` or `host`. `None` for what no rule may match: an
/// opaque origin, a URL that is no origin, a name that cannot be.
fn host_of(origin: &[u8]) -> Option<Host> {
    let after_scheme = origin.windows(3).position(|three| three == b"://");
    let authority = match after_scheme {
        Some(at) if is_scheme(&origin[..at]) => &origin[at + 3..],
        Some(_) => return None,
        None => origin,
    };
    if authority == b"null" && after_scheme.is_none() {
        return None;
    }
    if authority.first() == Some(&b'[') {
        let end = authority.iter().position(|byte| *byte == b']')?;
        return is_port(&authority[end + 1..]).then(|| address_v6(&authority[1..end]))?;
    }
    match authority.iter().position(|byte| *byte == b':') {
        None => host(authority),
        // Two colons without brackets: an IPv6 address, and no port.
        Some(at) if authority[at + 1..].contains(&b':') => address_v6(authority),
        Some(at) => is_port(&authority[at..]).then(|| host(&authority[..at]))?,
    }
}

/// RFC 3986 §3.1.
fn is_scheme(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte))
}

/// Nothing, or a colon and 1 to 5 digits.
fn is_port(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [b':', digits @ ..] => {
            (1..=5).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn address_v6(bytes: &[u8]) -> Option<Host> {
    let address: Ipv6Addr = str::from_utf8(bytes).ok()?.parse().ok()?;
    Some(Host::Address(IpAddr::V6(address).to_canonical()))
}

/// A host without a port.
fn host(bytes: &[u8]) -> Option<Host> {
    if bytes.is_ascii() {
        return ascii_host(bytes);
    }
    // UTS 46 also folds case, full-width letters and other dots; what it leaves is judged as any.
    let ascii = idna::domain_to_ascii(str::from_utf8(bytes).ok()?).ok()?;
    ascii_host(ascii.as_bytes())
}

fn ascii_host(bytes: &[u8]) -> Option<Host> {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    let mut name = Name::new();
    name.try_extend_from_slice(bytes).ok()?;
    name.make_ascii_lowercase();
    if !name.split(|byte| *byte == b'.').all(is_label) {
        return None;
    }
    let last = name.rsplit(|byte| *byte == b'.').next()?;
    if is_number(last) {
        // A browser reads such a host as an IPv4 address, in forms that are not ours to guess.
        let address: Ipv4Addr = str::from_utf8(&name).ok()?.parse().ok()?;
        return Some(Host::Address(address.into()));
    }
    Some(Host::Name(name))
}

/// Letters, digits, hyphens, and underscores, which the DNS has and host names should not.
fn is_label(label: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.iter().all(plain)
}

/// Whether a last label makes the host a number: decimal digits, or `0x` and hexadecimal ones.
fn is_number(label: &[u8]) -> bool {
    label.iter().all(u8::is_ascii_digit)
        || label.strip_prefix(b"0x").is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
}

/// One entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Rule {
    Host(Host),
    /// Every host below this name, and not the name itself.
    Below(Name),
}

impl Rule {
    fn parse(entry: &str) -> Result<Self, String> {
        if let Some(mends) = mistaken(entry) {
            return Err(format!("{entry:?} {mends}"));
        }
        let not_a_host = || {
            format!(
                "{entry:?} is not a host: labels of 1 to {LABEL_BYTES_MAX} letters, digits and \
                 hyphens with dots between them, at most {NAME_BYTES_MAX} bytes in ASCII form, \
                 such as \"app.example.com\" or \"*.example.org\""
            )
        };
        match entry.strip_prefix("*.") {
            Some(name) => match checked_host(name).ok_or_else(not_a_host)? {
                Host::Name(name) => Ok(Self::Below(name)),
                Host::Address(_) => {
                    Err(format!("{entry:?} cannot be: an IP address has nothing below it"))
                }
            },
            None => checked_host(entry).map(Self::Host).ok_or_else(not_a_host),
        }
    }
}

/// A host of a rule. Beyond what a fact must be, its punycode must be sound: the fact of a browser
/// always is, so another could never match.
fn checked_host(text: &str) -> Option<Host> {
    match host_of(text.as_bytes())? {
        Host::Name(name) => {
            let ascii = str::from_utf8(&name).ok()?;
            (idna::domain_to_ascii(ascii).ok()? == ascii).then_some(Host::Name(name))
        }
        address => Some(address),
    }
}

/// What people write who think of another thing than a host, and what mends it.
fn mistaken(entry: &str) -> Option<&'static str> {
    let bare_v6 = entry.matches(':').count() > 1 && !entry.contains(['[', '/']);
    if entry.eq_ignore_ascii_case("null") {
        Some("is what a browser sends for an origin that it does not tell; it cannot be allowed")
    } else if entry.contains("://") {
        Some("is a URL: write the host alone, without scheme and port")
    } else if entry.contains('@') {
        Some("has a user: write the host alone")
    } else if entry.contains(['/', '?', '#', '\\']) {
        Some("has a path: write the host alone")
    } else if !bare_v6 && entry.rsplit(']').next().is_some_and(|end| end.contains(':')) {
        Some("has a port: ports are not compared, so leave it out")
    } else if entry == "*" {
        Some("covers nothing: an empty list allows every domain")
    } else if entry.strip_prefix("*.").unwrap_or(entry).contains('*') {
        Some("has a '*' elsewhere: a wildcard is \"*.\" and a host")
    } else {
        None
    }
}

/// Says what is wrong with a host or wildcard that is to be allowed, if anything.
///
/// # Errors
/// One line that shows the form, or what to leave out.
pub fn check(entry: &str) -> Result<(), String> {
    Rule::parse(entry).map(drop)
}

/// Whether a text is the name of a host, as the domain of a mail address is.
#[must_use]
pub fn is_name(text: &str) -> bool {
    matches!(checked_host(text), Some(Host::Name(_))) && mistaken(text).is_none()
}

#[cfg(test)]
mod tests;
