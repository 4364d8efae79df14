//! TLS of the daemon: what is in force, who may shake hands, and who came in by a certificate.
//!
//! TLS 1.3 alone: whoever speaks keygate's protocol has it, and below it a client's certificate would
//! cross the network in the clear. No session is resumed: a certificate that was revoked since would
//! go on counting. Both cost a full handshake a connection, which clients keep.

mod material;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

pub(super) use material::{Material, TlsError};
use parking_lot::{Mutex, RwLock};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::places::{Place, Places};
use crate::audit::Sampler;
use crate::clock::Clock;

/// Messages about strangers in a second.
const TOLD_PER_SECOND_MAX: u32 = 1;
/// All are sampled together.
const TOGETHER: u8 = 0;

/// Whose handshake it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Data,
    Admin,
}

/// What became of handshakes since the start.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    pub(super) done: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) timed_out: AtomicU64,
    /// Not begun, because as many were under way as may be.
    pub(super) refused: AtomicU64,
}

/// TLS as it is in force. One for the whole daemon.
pub(super) struct Tls {
    /// Protects the material; held to clone or to replace an [`Arc`].
    material: RwLock<Material>,
    data: Arc<Places>,
    admin: Arc<Places>,
    pub(super) handshakes: Handshakes,
    /// Who came in by a certificate, by number. Held with no other lock.
    guests: Mutex<HashMap<u64, Known>>,
    next_guest: AtomicU64,
    told: Sampler,
    clock: Arc<dyn Clock>,
}

/// A certificate with those between it and its authority, and what ends its connection.
#[derive(Clone)]
struct Known {
    chain: Arc<[CertificateDer<'static>]>,
    end: CancellationToken,
}

/// A handshake that may begin: its terms, and its place among those under way.
pub(super) struct Handshake {
    side: Side,
    config: Arc<ServerConfig>,
    tls: Arc<Tls>,
    _place: Place,
}

impl Tls {
    /// At most so many handshakes of either plane at a time.
    pub(super) fn new(material: Material, handshakes_max: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            material: RwLock::new(material),
            data: Places::new(handshakes_max),
            admin: Places::new(handshakes_max),
            handshakes: Handshakes::default(),
            guests: Mutex::default(),
            next_guest: AtomicU64::new(0),
            told: Sampler::new(TOLD_PER_SECOND_MAX),
            clock,
        }
    }

    /// From the next handshake on. Open connections whose certificate would not be taken any more are
    /// ended; how many. It verifies a signature or two for each that came in by a certificate.
    pub(super) fn set(&self, material: Material) -> usize {
        let judge = material.judge.clone();
        *self.material.write() = material;
        let Some(judge) = judge else { return 0 };
        let guests: Vec<Known> = self.guests.lock().values().cloned().collect();
        let over = guests.iter().filter(|guest| self.is_over(&*judge, guest));
        let ended = over.inspect(|guest| guest.end.cancel()).count();
        if ended > 0 {
            tracing::warn!(ended, "connections were closed: their certificates are not taken now");
        }
        ended
    }

    /// Whether a certificate that was taken would not be now. A list of revocations that is out of its
    /// time says nothing of it: that keeps newcomers out, and drops nobody.
    fn is_over(&self, judge: &dyn ClientCertVerifier, guest: &Known) -> bool {
        use rustls::CertificateError::{ExpiredRevocationList, ExpiredRevocationListContext};
        let since_1970 = u64::try_from(self.clock.now().wall_us).unwrap_or(0);
        let now = UnixTime::since_unix_epoch(Duration::from_micros(since_1970));
        let Some((own, between)) = guest.chain.split_first() else { return false };
        match judge.verify_client_cert(own, between, now) {
            Ok(_)
            | Err(rustls::Error::InvalidCertificate(
                ExpiredRevocationList | ExpiredRevocationListContext { .. },
            )) => false,
            Err(_) => true,
        }
    }

    /// A handshake, if one more may be under way, of the plane and of the address.
    pub(super) fn begin(self: &Arc<Self>, side: Side, from: SocketAddr) -> Option<Handshake> {
        let config = self.config(side)?;
        let places = match side {
            Side::Data => &self.data,
            Side::Admin => &self.admin,
        };
        let Some(place) = places.take(from.ip()) else {
            self.handshakes.refused.fetch_add(1, Relaxed);
            self.tell(from, &"too many are under way, of this address or at all");
            return None;
        };
        Some(Handshake { side, config, tls: Arc::clone(self), _place: place })
    }

    fn config(&self, side: Side) -> Option<Arc<ServerConfig>> {
        let material = self.material.read();
        match side {
            Side::Data => Some(Arc::clone(&material.data)),
            Side::Admin => material.admin.clone(),
        }
    }

    /// Logs why a handshake came to nothing, within a rate: anybody can have one fail.
    fn tell(&self, from: SocketAddr, why: &dyn fmt::Display) {
        if self.told.admit(TOGETHER, self.clock.now().mono_ns) {
            let others: u64 = self.told.take().map(|(_, count)| count).sum();
            tracing::warn!(%from, %why, others, "a TLS handshake came to nothing");
        }
    }
}

impl Handshake {
    pub(super) const fn side(&self) -> Side {
        self.side
    }

    /// Shakes hands. Takes as long as the peer does: whoever waits for it has the deadline, and says
    /// so by [`Handshake::timed_out`].
    ///
    /// # Errors
    /// The peer speaks no TLS, or has not shown what it must; the peer is told by TLS.
    pub(super) async fn shake<S>(&self, stream: S) -> std::io::Result<Box<TlsStream<S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let shaken = TlsAcceptor::from(Arc::clone(&self.config)).accept(stream).await?;
        self.tls.handshakes.done.fetch_add(1, Relaxed);
        Ok(Box::new(shaken))
    }

    /// It came to nothing.
    pub(super) fn failed(self, from: SocketAddr, error: &std::io::Error) {
        self.tls.handshakes.failed.fetch_add(1, Relaxed);
        // Whoever only looks whether the port is open is nobody's concern.
        if error.kind() == std::io::ErrorKind::InvalidData {
            self.tls.tell(from, error);
        } else {
            tracing::debug!(%from, %error, "a TLS handshake failed");
        }
    }

    /// The peer took too long.
    pub(super) fn timed_out(self, from: SocketAddr) {
        self.tls.handshakes.timed_out.fetch_add(1, Relaxed);
        self.tls.tell(from, &"it took too long");
    }

    /// Takes note of who has come in, until `stop` or until its certificate is not taken any more.
    pub(super) fn enter<S>(self, stream: &TlsStream<S>, stop: &CancellationToken) -> Guest {
        let (_, connection) = stream.get_ref();
        let end = stop.child_token();
        let Some(chain) = connection.peer_certificates() else {
            return Guest { end, entry: None };
        };
        let chain = chain.iter().map(|it| it.clone().into_owned()).collect();
        let known = Known { chain, end: end.clone() };
        let number = self.tls.next_guest.fetch_add(1, Relaxed);
        self.tls.guests.lock().insert(number, known.clone());
        // A reload while it shook hands has not seen it among the guests.
        let is_same = self.tls.config(self.side).is_some_and(|it| Arc::ptr_eq(&it, &self.config));
        if !is_same {
            let judge = self.tls.material.read().judge.clone();
            if judge.is_some_and(|judge| self.tls.is_over(&*judge, &known)) {
                known.end.cancel();
            }
        }
        Guest { end, entry: Some((self.tls, number)) }
    }
}

/// A connection that has shaken hands, as long as it stands.
pub(super) struct Guest {
    end: CancellationToken,
    /// Where it is known, if it came in by a certificate.
    entry: Option<(Arc<Tls>, u64)>,
}

impl Guest {
    /// The order to end it.
    pub(super) fn end(&self) -> CancellationToken {
        self.end.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some((tls, number)) = &self.entry {
            tls.guests.lock().remove(number);
        }
    }
}

/// The SHA-256 of the certificate that the peer has shown, which is one of an authority's, is in its
/// time and is not revoked as far as is known; `None` where it was let in without.
pub(super) fn certificate_of<S>(stream: &TlsStream<S>) -> Option<[u8; 32]> {
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates()?.first()?;
    Some(Sha256::digest(shown).into())
}
