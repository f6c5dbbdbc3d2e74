//! TLS 1.3 with raw Ed25519 keys on both sides (RFC 7250): a key is an identity, there is no certificate.

use crate::{Clock, MeshError};
use ohmesh_units::{PublicKey, SigningKey};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError, ServerConfig,
    SignatureScheme,
    client::{
        ResolvesClientCert, Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        ClientHello, NoServerSessionStorage, ResolvesServerCert,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
    time_provider::TimeProvider,
};
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};
use zeroize::Zeroizing;

/// The name of the protocol in the handshake (RFC 7301).
pub const ALPN: &[u8] = b"ohm/1";
/// The server name every caller sends: a constant, because anybody on the path can read it.
pub const SERVER_NAME: &str = "ohm";

/// The two TLS sides of one identity.
pub(crate) struct Tls {
    server: Arc<QuicServerConfig>,
    client: ClientConfig,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Tls {
    pub(crate) fn new(
        key: &SigningKey,
        provider: CryptoProvider,
        clock: &Arc<dyn Clock>,
        alpn: &[u8],
    ) -> Result<Self, MeshError> {
        let algorithms = provider.signature_verification_algorithms;
        let details = Details {
            provider: Arc::new(provider),
            identity: Arc::new(Identity(certified(key)?)),
            time: Arc::new(Time(clock.clone())),
            alpn,
        };
        let (server, client) = (details.server()?, details.client()?);
        let server = Arc::new(QuicServerConfig::try_from(server).map_err(|e| MeshError::Tls(e.to_string()))?);
        Ok(Self { server, client, algorithms })
    }

    /// The answering side: any key is let in, the caller of `accept` reads which.
    pub(crate) fn server(&self) -> Arc<QuicServerConfig> {
        self.server.clone()
    }

    /// The calling side, which goes on only with the key that `expected` holds; what was found is written there.
    pub(crate) fn client(&self, expected: &Arc<ExpectedKey>) -> Result<Arc<QuicClientConfig>, MeshError> {
        let mut client = self.client.clone();
        let verifier = OneKey { expected: expected.clone(), any: AnyKey(self.algorithms) };
        client.dangerous().set_certificate_verifier(Arc::new(verifier));
        Ok(Arc::new(QuicClientConfig::try_from(client).map_err(|e| MeshError::Tls(e.to_string()))?))
    }
}

/// What both sides are built from.
struct Details<'a> {
    provider: Arc<CryptoProvider>,
    identity: Arc<Identity>,
    time: Arc<Time>,
    alpn: &'a [u8],
}

impl Details<'_> {
    fn any_key(&self) -> Arc<AnyKey> {
        Arc::new(AnyKey(self.provider.signature_verification_algorithms))
    }

    fn server(&self) -> Result<ServerConfig, MeshError> {
        let mut server = ServerConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(self.any_key())
            .with_cert_resolver(self.identity.clone());
        server.alpn_protocols = vec![self.alpn.to_vec()];
        // Nothing that would let an observer link two connections: no tickets, no sessions, no early data.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.max_early_data_size = 0;
        Ok(server)
    }

    fn client(&self) -> Result<ClientConfig, MeshError> {
        let mut client = ClientConfig::builder_with_details(self.provider.clone(), self.time.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(self.any_key())
            .with_client_cert_resolver(self.identity.clone());
        client.alpn_protocols = vec![self.alpn.to_vec()];
        client.resumption = Resumption::disabled();
        client.enable_early_data = false;
        Ok(client)
    }
}

/// The key a caller wants, and the one it met.
#[derive(Debug)]
pub(crate) struct ExpectedKey {
    pub(crate) expected: PublicKey,
    pub(crate) found: OnceLock<PublicKey>,
}

impl ExpectedKey {
    pub(crate) fn new(expected: PublicKey) -> Arc<Self> {
        Arc::new(Self { expected, found: OnceLock::new() })
    }

    /// The error, if another key was met than the expected one.
    pub(crate) fn mismatch(&self) -> Option<MeshError> {
        let found = *self.found.get()?;
        (found != self.expected).then_some(MeshError::WrongKey { expected: self.expected, found })
    }
}

/// The Ed25519 key in a SubjectPublicKeyInfo (RFC 8410), if it is one.
pub(crate) fn key_in(spki: &[u8]) -> Option<PublicKey> {
    let key = spki.strip_prefix(&SPKI_PREFIX)?;
    Some(PublicKey::from_bytes(key.try_into().ok()?))
}

fn refused(error: rustls::Error) -> MeshError {
    MeshError::Tls(error.to_string())
}

fn certified(key: &SigningKey) -> Result<Arc<CertifiedKey>, MeshError> {
    let pkcs8 = Zeroizing::new([&PKCS8_PREFIX[..], &key.seed()[..]].concat());
    let signer =
        rustls::crypto::ring::sign::any_eddsa_type(&PrivatePkcs8KeyDer::from(&pkcs8[..])).map_err(refused)?;
    let spki = [&SPKI_PREFIX[..], &key.public().to_bytes()].concat();
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer)))
}

/// Shows the one key of this endpoint.
#[derive(Debug)]
struct Identity(Arc<CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ResolvesServerCert for Identity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

/// Lets in every Ed25519 key that only its owner can sign for, and checks that the peer is the owner.
#[derive(Debug)]
struct AnyKey(WebPkiSupportedAlgorithms);

impl AnyKey {
    fn key(&self, spki: &CertificateDer<'_>) -> Result<PublicKey, rustls::Error> {
        let key = key_in(spki).ok_or(CertificateError::BadEncoding)?;
        key.is_registrable().map_err(|error| CertificateError::Other(OtherError(Arc::new(error))))?;
        Ok(key)
    }

    fn signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signature, &self.0)
    }
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        spki: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.key(spki).map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, spki, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        spki: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.key(spki).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOffered))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(message, spki, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// Goes on with one key only.
#[derive(Debug)]
struct OneKey {
    expected: Arc<ExpectedKey>,
    any: AnyKey,
}

impl ServerCertVerifier for OneKey {
    fn verify_server_cert(
        &self,
        spki: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = self.any.key(spki)?;
        let found = self.expected.found.get_or_init(|| key);
        if key != self.expected.expected || *found != key {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        ServerCertVerifier::verify_tls12_signature(&self.any, message, spki, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.any.signature(message, spki, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

/// The builder's clock, as TLS and as QUIC want it.
#[derive(Debug)]
pub(crate) struct Time(pub(crate) Arc<dyn Clock>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_millis(self.0.now().as_millis())))
    }
}

impl quinn::TimeSource for Time {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.now().as_millis())
    }
}

/// What precedes the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410, 4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What precedes the 32 bytes of an Ed25519 seed in PKCS #8 (RFC 8410, 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemClock, random::Randomness};
    use ohmesh_units::KeyError;
    use rustls::{
        client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue},
        quic::{ClientConnection, ServerConnection, Version},
    };
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts what a server gives a client to remember.
    #[derive(Debug, Default)]
    struct Recorder(AtomicUsize);

    impl ClientSessionStore for Recorder {
        fn set_kx_hint(&self, _: ServerName<'static>, _: rustls::NamedGroup) {}

        fn kx_hint(&self, _: &ServerName<'_>) -> Option<rustls::NamedGroup> {
            None
        }

        fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
            None
        }

        fn remove_tls12_session(&self, _: &ServerName<'static>) {}

        fn insert_tls13_ticket(&self, _: ServerName<'static>, _: Tls13ClientSessionValue) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
            None
        }
    }

    fn details(seed: u8) -> Details<'static> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        Details {
            provider: Arc::new(Randomness::from_seed([seed; 32]).crypto()),
            identity: Arc::new(Identity(certified(&SigningKey::from_seed([seed; 32])).unwrap())),
            time: Arc::new(Time(clock)),
            alpn: ALPN,
        }
    }

    /// Shakes hands in memory; the tickets the client was given.
    fn tickets(server: ServerConfig) -> usize {
        let recorder = Arc::new(Recorder::default());
        let mut client = details(1).client().unwrap();
        client.resumption = Resumption::store(recorder.clone());
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut client = ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server), Version::V1, Vec::new()).unwrap();
        for _ in 0..20 {
            let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
            let _ = client.write_hs(&mut to_server);
            server.read_hs(&to_server).unwrap();
            let _ = server.write_hs(&mut to_client);
            client.read_hs(&to_client).unwrap();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        recorder.0.load(Ordering::Relaxed)
    }

    #[test]
    fn no_session_ticket_is_sent() {
        assert_eq!(tickets(details(2).server().unwrap()), 0);
        // The recorder would have seen one: the same server, told to send tickets.
        let mut chatty = details(2).server().unwrap();
        chatty.send_tls13_tickets = 1;
        chatty.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
        assert_eq!(tickets(chatty), 1);
    }

    #[test]
    fn keys_anybody_could_sign_for_are_refused() {
        let any = details(1).any_key();
        let verify = |spki: Vec<u8>| {
            let name = ServerName::try_from(SERVER_NAME).unwrap();
            let shown = CertificateDer::from(spki);
            let now = UnixTime::since_unix_epoch(Duration::ZERO);
            let by_client = any.verify_server_cert(&shown, &[], &name, &[], now).map(drop);
            let by_server = any.verify_client_cert(&shown, &[], now).map(drop);
            assert_eq!(format!("{by_client:?}"), format!("{by_server:?}"));
            by_client
        };
        let spki = |key: [u8; 32]| [&SPKI_PREFIX[..], &key].concat();
        let good = SigningKey::from_seed([1; 32]).public();
        assert_eq!(verify(spki(good.to_bytes())), Ok(()));
        let mut identity = [0; 32];
        identity[0] = 1;
        let error = verify(spki(identity)).unwrap_err();
        let small = KeyError::SmallOrder(PublicKey::from_bytes(identity)).to_string();
        assert!(
            matches!(&error, rustls::Error::InvalidCertificate(CertificateError::Other(o)) if o.0.to_string() == small)
        );
        assert!(verify(spki([2; 32])).is_err(), "not a point");
        let malformed = Err(CertificateError::BadEncoding.into());
        assert_eq!(verify(vec![]), malformed);
        assert_eq!(verify(good.to_bytes().to_vec()), malformed);
        assert_eq!(verify([&spki(good.to_bytes())[..], &[0]].concat()), malformed);
    }
}
