//! Where randomness comes from: the operating system, or, in a simulation, one seed for every byte.

use crate::MeshError;
use ohmesh_units::Domain;
use quinn::{ConnectionId, ConnectionIdGenerator};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use rustls::{
    NamedGroup, PeerMisbehaved,
    crypto::{
        ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
    },
};
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use zeroize::Zeroizing;

/// The randomness of one endpoint.
pub(crate) struct Randomness {
    root: Zeroizing<[u8; 32]>,
    is_seeded: bool,
}

impl Randomness {
    /// Fresh from the operating system.
    pub(crate) fn from_system() -> Result<Self, MeshError> {
        let mut root = Zeroizing::new([0; 32]);
        getrandom::fill(&mut root[..]).map_err(|error| MeshError::Random(error.to_string()))?;
        Ok(Self { root, is_seeded: false })
    }

    /// All of it from `seed`: two endpoints with one seed make the same keys.
    pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
        Self { root: Zeroizing::new(seed), is_seeded: true }
    }

    /// 32 bytes for one use.
    pub(crate) fn derive(&self, usage: &[u8; 4]) -> Zeroizing<[u8; 32]> {
        const USE: Domain = Domain::new("ohmesh/1 mesh randomness");
        Zeroizing::new(USE.hash(&[&self.root[..], usage]).0)
    }

    /// What QUIC draws packet-level randomness from; `None` lets it ask the system.
    pub(crate) fn quic_seed(&self) -> Option<[u8; 32]> {
        self.is_seeded.then(|| *self.derive(b"quic"))
    }

    /// Connection ids of 8 random bytes.
    pub(crate) fn connection_ids(
        &self,
    ) -> impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static {
        let seed = self.derive(b"cids");
        move || Box::new(ConnectionIds(ChaCha20Rng::from_seed(*seed)))
    }

    /// The first connection id a caller invents for the side it calls: 20 random bytes.
    pub(crate) fn first_ids(&self) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
        let source = Source::new(&self.derive(b"dcid"));
        Arc::new(move || {
            let mut id = [0; 20];
            source.fill_bytes(&mut id);
            ConnectionId::new(&id)
        })
    }

    /// TLS over ring with X25519 only. From the system it is ring as it comes; seeded, every random byte of TLS and
    /// the key exchange come from the seed. The seeded source is never freed (TLS wants it for ever): simulations only.
    pub(crate) fn crypto(&self) -> CryptoProvider {
        let mut provider = rustls::crypto::ring::default_provider();
        provider.kx_groups = vec![rustls::crypto::ring::kx_group::X25519];
        if self.is_seeded {
            let source: &'static Source = Box::leak(Box::new(Source::new(&self.derive(b"tls "))));
            provider.secure_random = source;
            provider.kx_groups = vec![Box::leak(Box::new(SeededX25519(source)))];
        }
        provider
    }
}

struct ConnectionIds(ChaCha20Rng);

impl ConnectionIdGenerator for ConnectionIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 8];
        self.0.fill_bytes(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// A shared ChaCha20 stream.
struct Source(Mutex<ChaCha20Rng>);

impl Source {
    fn new(seed: &[u8; 32]) -> Self {
        Self(Mutex::new(ChaCha20Rng::from_seed(*seed)))
    }

    fn fill_bytes(&self, out: &mut [u8]) {
        // A panic elsewhere cannot leave a ChaCha state half-written in a way that matters: go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(out);
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source(..)")
    }
}

impl SecureRandom for Source {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.fill_bytes(out);
        Ok(())
    }
}

/// X25519 (RFC 7748) whose secret comes from the seed.
#[derive(Debug)]
struct SeededX25519(&'static Source);

impl SupportedKxGroup for SeededX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        let mut secret = Zeroizing::new([0; 32]);
        self.0.fill_bytes(&mut secret[..]);
        let secret = x25519_dalek::StaticSecret::from(*secret);
        let public = x25519_dalek::PublicKey::from(&secret);
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: x25519_dalek::StaticSecret,
    public: x25519_dalek::PublicKey,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, rustls::Error> {
        let invalid = || rustls::Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        let peer: [u8; 32] = peer.try_into().map_err(|_| invalid())?;
        let shared = self.secret.diffie_hellman(&peer.into());
        // RFC 8446, 7.4.2: an all-zero result must end the handshake.
        if !shared.was_contributory() {
            return Err(invalid());
        }
        Ok(SharedSecret::from(&shared.as_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_every_use_and_uses_differ() {
        let (one, same) = (Randomness::from_seed([1; 32]), Randomness::from_seed([1; 32]));
        let uses = [b"quic", b"cids", b"dcid", b"tls ", b"rst ", b"tokn"];
        let derived: std::collections::BTreeSet<_> = uses.iter().map(|usage| *one.derive(usage)).collect();
        assert_eq!(derived.len(), uses.len());
        assert_eq!(one.connection_ids()().generate_cid(), same.connection_ids()().generate_cid());
        assert_eq!(one.first_ids()(), same.first_ids()());
        let system = [Randomness::from_system().unwrap(), Randomness::from_system().unwrap()];
        assert_ne!(*system[0].derive(b"cids"), *system[1].derive(b"cids"));
        assert_eq!(system[0].quic_seed(), None);
    }

    /// Attack: a key share of small order makes the shared secret known to everybody.
    #[test]
    fn a_key_share_of_small_order_is_refused() {
        let group = Randomness::from_seed([1; 32]).crypto().kx_groups[0];
        let complete = |share: &[u8]| group.start().unwrap().complete(share).map(drop);
        assert!(complete(&[0; 32]).is_err());
        assert!(complete(&[9; 31]).is_err());
        let mut base = [0; 32];
        base[0] = 9;
        assert!(complete(&base).is_ok());
    }
}
