//! Places for handshakes: so many of a plane, and no more than a share of them for one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

/// One address may have a quarter of the places, and one at the least.
const SHARE: usize = 4;

/// The places of one plane.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    /// Held to count, and with no other lock.
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, as long as it is held.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    address: IpAddr,
}

impl Places {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { max, taken: Mutex::default() })
    }

    /// A place for who comes from there, if there is one.
    pub(super) fn take(self: &Arc<Self>, from: IpAddr) -> Option<Place> {
        let address = subscriber(from);
        let mut taken = self.taken.lock();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        if taken.all >= self.max || own >= (self.max / SHARE).max(1) {
            return None;
        }
        taken.all += 1;
        taken.by_address.insert(address, own + 1);
        Some(Place { of: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock();
        taken.all -= 1;
        match taken.by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_address.remove(&self.address)),
        }
    }
}

/// Whoever has an IPv6 network has all its addresses.
fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn one_address_has_a_share_and_all_have_the_whole() {
        let places = Places::new(8);
        let held: Vec<_> = (0..4).map_while(|_| places.take(from("192.0.2.1"))).collect();
        assert_eq!(held.len(), 2);
        assert!(places.take(from("::ffff:192.0.2.1")).is_none(), "the same address");
        let six = ["2001:db8::1", "2001:db8::2", "2001:db8::3"];
        let network: Vec<_> = six.iter().map_while(|it| places.take(from(it))).collect();
        assert_eq!(network.len(), 2, "one network");
        let others: Vec<_> =
            (1..9_u8).map_while(|last| places.take([198, 51, 100, last].into())).collect();
        assert_eq!(others.len(), 4);
        drop(held);
        assert!(places.take(from("192.0.2.1")).is_some(), "given back");
        drop((network, others));
        let taken = places.taken.lock();
        assert_eq!((taken.all, taken.by_address.len()), (0, 0));
    }

    #[test]
    fn few_places_have_a_share_too() {
        let places = Places::new(1);
        let one = places.take(from("192.0.2.1")).expect("one");
        assert!(places.take(from("192.0.2.2")).is_none());
        drop(one);
        assert!(places.take(from("192.0.2.2")).is_some());
    }
}
