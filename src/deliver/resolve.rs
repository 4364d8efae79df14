//! From a web hook's host to the addresses that are spoken to.

use core::net::IpAddr;
use std::future::Future;
use std::io;
use std::pin::Pin;

use super::public::is_public;
use super::target::{Target, TargetHost};
use crate::key::address::Blocks;

/// Most addresses of one host that are looked at, and so the most that are tried.
const ADDRESSES_MAX: usize = 16;

/// An answer on its way.
pub type Resolving<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Looks up the addresses of a host. Tests have one that answers as they like.
pub trait Resolve: Send + Sync {
    /// All addresses of a name.
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a>;
}

/// The system's way of looking names up: its hosts file, its DNS.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// Why there is no address to speak to.
pub(super) enum Unresolved {
    /// The name could not be looked up, now.
    Later(String),
    /// An address is one that no web hook may be at.
    Forbidden(IpAddr),
}

/// The addresses of a target. Each of them must be public or allowed: a name that has one that is
/// not is refused as a whole, for whoever answers so is not to be spoken to. The caller connects to
/// what is returned here and looks nothing up again, so that no later answer can put another
/// address in its place.
pub(super) async fn addresses(
    target: &Target,
    resolver: &dyn Resolve,
    allowed: &Blocks,
) -> Result<Vec<IpAddr>, Unresolved> {
    let found = match &target.host {
        TargetHost::Address(address) => vec![*address],
        TargetHost::Name(name) => resolver
            .resolve(name)
            .await
            .map_err(|error| Unresolved::Later(format!("the name cannot be looked up: {error}")))?,
    };
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in found.iter().map(IpAddr::to_canonical) {
        if !is_public(address) && !allowed.have(address) {
            return Err(Unresolved::Forbidden(address));
        }
        // A resolver may tell an address once for each kind of socket.
        if addresses.len() < ADDRESSES_MAX && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(Unresolved::Later("the name has no address".to_owned()));
    }
    Ok(addresses)
}
