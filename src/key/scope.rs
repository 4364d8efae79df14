//! Scopes: `resource:action`, with wildcards by segment (SPEC §6.3, "Scopes").
//!
//! Segments are separated by `:`. In a granted scope `*` as a segment stands for exactly one
//! segment, and as the last for one or more: `leads:*` grants `leads:read` and `leads:read:own`
//! but not `leads`; `*` grants everything.

use super::set::TextSet;

/// Granted scopes, compiled by what they need: plain ones, those that end in their only wildcard
/// (found by what stands before it, with one segment after the other taken off a demanded scope),
/// and the few others, which are tried one by one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scopes {
    plain: TextSet,
    /// `a:b:*`, without other wildcards.
    below: TextSet<1>,
    wild: Box<[Box<str>]>,
}

impl Scopes {
    /// Compiles granted scopes; duplicates fall together.
    pub fn new<'a>(granted: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut plain, mut below, mut wild) = (Vec::new(), Vec::new(), Vec::<Box<str>>::new());
        let has_wildcard = |scope: &str| scope.split(':').any(|segment| segment == "*");
        for scope in granted {
            match scope.strip_suffix('*').filter(|before| before.ends_with(':')) {
                _ if !has_wildcard(scope) => plain.push(scope.into()),
                Some(before) if !has_wildcard(before) => below.push(scope.into()),
                _ => wild.push(scope.into()),
            }
        }
        wild.sort_unstable();
        wild.dedup();
        Self { plain: TextSet::new(plain), below: TextSet::new(below), wild: wild.into() }
    }

    /// Whether the demanded scope is granted.
    #[must_use]
    pub fn grant(&self, demanded: &[u8]) -> bool {
        self.plain.has(demanded)
            || self.grant_below(demanded)
            || self.wild.iter().any(|scope| covers(scope.as_bytes(), demanded))
    }

    fn grant_below(&self, demanded: &[u8]) -> bool {
        let colons = demanded.iter().enumerate().filter(|(_, byte)| **byte == b':');
        !self.below.is_empty() && { colons }.any(|(at, _)| self.below.has(&demanded[..=at]))
    }

    /// All granted scopes, plain ones first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.plain.iter().chain(&*self.below).chain(&*self.wild).map(AsRef::as_ref)
    }
}

fn covers(granted: &[u8], demanded: &[u8]) -> bool {
    let mut wanted = demanded.split(|&byte| byte == b':');
    let mut segments = granted.split(|&byte| byte == b':').peekable();
    while let Some(segment) = segments.next() {
        let Some(want) = wanted.next() else { return false };
        if segment == b"*" {
            if segments.peek().is_none() {
                return true;
            }
        } else if segment != want {
            return false;
        }
    }
    wanted.next().is_none()
}

/// Says what is wrong with a scope that is to be granted, if anything.
///
/// # Errors
/// One line that shows the form.
pub fn check(scope: &str) -> Result<(), String> {
    use keygate_protocol::limits::SCOPE_BYTES_MAX;
    // RFC 6749 §3.3: printable ASCII without space, quote and backslash.
    let printable = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    if scope.is_empty() || scope.len() > SCOPE_BYTES_MAX || !scope.bytes().all(printable) {
        return Err(format!(
            "{scope:?} is not a scope: 1 to {SCOPE_BYTES_MAX} printable ASCII characters without \
             space, quote or backslash, such as \"leads:read\""
        ));
    }
    if scope
        .split(':')
        .any(|segment| segment.is_empty() || (segment.contains('*') && segment != "*"))
    {
        return Err(format!(
            "{scope:?} is not a scope: segments between ':' are not empty, and '*' stands for a \
             whole segment"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn wildcards_stand_for_segments() {
        for (granted, demanded, expected) in [
            ("leads:read", "leads:read", true),
            ("leads:read", "leads:write", false),
            ("leads:read", "leads", false),
            ("leads:read", "leads:read:own", false),
            ("leads:*", "leads:read", true),
            ("leads:*", "leads:read:own", true),
            ("leads:*", "leads", false),
            ("leads:*", "leadsx:read", false),
            ("*", "leads:read", true),
            ("*", "leads", true),
            ("*:read", "leads:read", true),
            ("*:read", "leads:write", false),
            ("*:read", "leads:sub:read", false),
            ("a:*:c", "a:b:c", true),
            ("a:*:c", "a:b:b:c", false),
            ("a:*:*", "a:b", false),
            ("a:*:*", "a:b:c", true),
        ] {
            let scopes = Scopes::new([granted]);
            assert_eq!(scopes.grant(demanded.as_bytes()), expected, "{granted} for {demanded}");
        }
    }

    #[test]
    fn order_and_duplicates_do_not_matter() {
        let a = Scopes::new(["b:x", "a:*", "a:x", "b:x"]);
        assert_eq!(a, Scopes::new(["a:*", "a:x", "b:x"]));
        assert_eq!(a.iter().collect::<Vec<_>>(), ["a:x", "b:x", "a:*"]);
        assert!(!Scopes::default().grant(b"a"));
    }

    proptest! {
        #[test]
        fn scopes_grant_what_one_of_them_covers(
            granted in vec(vec(select(vec!["a", "b", "ab", "*"]), 1..4), 0..12),
            demanded in vec(vec(select(vec!["a", "b", "ab", "*", ""]), 1..5), 1..12),
        ) {
            let granted: Vec<String> = granted.iter().map(|segments| segments.join(":")).collect();
            let scopes = Scopes::new(granted.iter().map(String::as_str));
            for demanded in demanded {
                let demanded = demanded.join(":");
                let one = |scope: &String| covers(scope.as_bytes(), demanded.as_bytes());
                let expected = granted.iter().any(one);
                prop_assert_eq!(scopes.grant(demanded.as_bytes()), expected, "{:?} {}", granted, demanded);
            }
        }
    }

    #[test]
    fn a_granted_scope_has_the_stated_form() {
        for good in ["leads:read", "*", "leads:*", "a", "urn/x:y.z-1"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        let long = "a".repeat(129);
        for bad in ["", "a b", "a\"b", "a:", ":a", "a::b", "le*ds:read", "ü", &long] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }
}
