//! The signature base (RFC 9421, section 2.5), and the components that may stand in it (section 2).

use super::input::Component;
use super::request::Request;

/// The signature base of a request under these components and their parameters; `None` where the
/// request lacks one of them.
pub(super) fn signature_base(
    request: &Request<'_>,
    components: &[Component],
    params: &str,
) -> Option<String> {
    let mut base = String::with_capacity(512);
    for component in components {
        let name = component.name();
        base.push('"');
        base.push_str(name);
        base.push_str("\": ");
        let value = request.component(name)?;
        base.push_str(&value);
        base.push('\n');
    }
    base.push_str("\"@signature-params\": ");
    base.push_str(params);
    Some(base)
}

/// Whether a derived component of this name is known here. `@request-target`, `@query-param` and
/// `@status` are not: what a signer means by the first two depends on more than is stated.
pub(super) fn is_derived(name: &str) -> bool {
    matches!(name, "@method" | "@target-uri" | "@authority" | "@scheme" | "@path" | "@query")
}

impl Request<'_> {
    /// The value of a component; `None` where the request does not have it, or has one that no sound
    /// request has.
    pub(super) fn component(&self, name: &str) -> Option<String> {
        let value = match name {
            // Section 2.2.1: as it was sent, since methods tell cases apart.
            "@method" => self.method.map(str::to_owned),
            "@scheme" => self.scheme.map(str::to_ascii_lowercase),
            "@authority" => authority(self),
            "@path" => path(self).map(str::to_owned),
            // Section 2.2.7: with its question mark, which alone stands for no query.
            "@query" => Some(format!("?{}", self.query.unwrap_or_default())),
            "@target-uri" => target_uri(self),
            _ => self.field(name),
        }?;
        // A line end would let one component speak for the next.
        let sound = value.bytes().all(|byte| !byte.is_ascii_control() || byte == b'\t');
        sound.then_some(value)
    }
}

/// Section 2.2.3: the host in lower case, and without the port that the scheme has anyway.
fn authority(request: &Request<'_>) -> Option<String> {
    let mut authority = request.authority?.to_ascii_lowercase();
    // Not a host: in a target, what follows would pass for its path, or what precedes for its user.
    if authority.contains(['/', '?', '#', '@', '\\']) {
        return None;
    }
    let port = match request.scheme {
        Some(scheme) if scheme.eq_ignore_ascii_case("https") => ":443",
        Some(scheme) if scheme.eq_ignore_ascii_case("http") => ":80",
        _ => "",
    };
    if let Some(host) = authority.strip_suffix(port) {
        authority.truncate(host.len());
    }
    Some(authority)
}

/// Section 2.2.6: an empty path is a slash.
fn path<'a>(request: &Request<'a>) -> Option<&'a str> {
    let path = request.path?;
    // What begins a query is none of a path.
    let sound = path.is_empty() || path.starts_with('/');
    (sound && !path.contains(['?', '#'])).then_some(if path.is_empty() { "/" } else { path })
}

/// Section 2.2.2.
fn target_uri(request: &Request<'_>) -> Option<String> {
    let scheme = request.scheme?.to_ascii_lowercase();
    let (authority, path) = (authority(request)?, path(request)?);
    let query = request.query.map(|query| format!("?{query}")).unwrap_or_default();
    Some(format!("{scheme}://{authority}{path}{query}"))
}
