//! The endpoint: one socket, one key, many peers.

use crate::{
    Clock, Limits, MeshError, Peer, SystemClock,
    limits::{
        IDLE_MAX, KEEP_ALIVE, LINK_RTT_INITIAL, RECEIVE_WINDOW_BYTES, SEND_WINDOW_BYTES, STREAM_WINDOW_BYTES,
    },
    link::{Link, LinkUp},
    random::Randomness,
    socket::MeshSocket,
    timer::Timer,
    tls::{ALPN, ExpectedKey, SERVER_NAME, Time, Tls},
};
use ohmesh_units::{PublicKey, SigningKey};
use quinn::{
    AsyncUdpSocket, ConnectionError, EndpointConfig, IdleTimeout, Incoming, NoneTokenStore, Runtime,
    ServerConfig, TokioRuntime, TransportConfig, VarInt,
};
use std::{fmt, net::SocketAddr, sync::Arc};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

/// One QUIC endpoint with one identity. A handle: clones are the same endpoint. When the last one is dropped, every
/// connection is closed.
#[derive(Clone)]
pub struct Endpoint(Arc<Inner>);

struct Inner {
    key: PublicKey,
    quic: quinn::Endpoint,
    socket: Arc<MeshSocket>,
    tls: Tls,
    randomness: Arc<dyn Fn() -> quinn::ConnectionId + Send + Sync>,
    transport: Transport,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    callers: Mutex<mpsc::Receiver<Result<quinn::Connection, MeshError>>>,
}

/// What every peer of an endpoint needs of it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) runtime: Arc<dyn Runtime>,
}

impl Shared {
    pub(crate) fn timer(&self) -> Timer<'_> {
        Timer(&*self.runtime)
    }
}

impl Endpoint {
    /// An endpoint that will show `key`.
    pub fn builder(key: SigningKey) -> Builder {
        Builder {
            key,
            source: None,
            seed: None,
            clock: Arc::new(SystemClock),
            runtime: Arc::new(TokioRuntime),
            limits: Limits::default(),
            alpn: ALPN.to_vec(),
        }
    }

    /// The key this endpoint shows.
    pub fn key(&self) -> PublicKey {
        self.0.key
    }

    /// The clock the builder was given.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The bounds the builder was given.
    pub fn limits(&self) -> &Limits {
        &self.0.shared.limits
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// The address of the UDP socket: its port is the real one when port 0 was asked for.
    pub fn address(&self) -> Result<SocketAddr, MeshError> {
        self.0.socket.udp_address().map_err(|error| MeshError::Address {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            reason: error.to_string(),
        })
    }

    /// Calls `address` and goes on only if the owner of `expected` answers.
    ///
    /// Errors: [`MeshError::WrongKey`] when somebody else answers, [`MeshError::WrongProtocol`], and
    /// [`MeshError::Timeout`] or [`MeshError::Handshake`] when nobody does.
    pub async fn connect(&self, address: SocketAddr, expected: PublicKey) -> Result<Peer, MeshError> {
        let inner = &self.0;
        let unusable = |reason: String| MeshError::Address { address, reason };
        let expected = ExpectedKey::new(expected);
        let mut config = quinn::ClientConfig::new(inner.tls.client(&expected)?);
        config
            .initial_dst_cid_provider(inner.randomness.clone())
            .token_store(Arc::new(NoneTokenStore))
            .transport_config(inner.transport.of(&inner.socket, address));
        let connecting = inner
            .quic
            .connect_with(config, MeshSocket::to_quic(address), SERVER_NAME)
            .map_err(|e| unusable(e.to_string()))?;
        let stall_max = inner.shared.limits.stall_max;
        let connection = inner.shared.timer().within(stall_max, connecting).await?.map_err(|error| {
            expected.mismatch().unwrap_or_else(|| handshake_error(MeshSocket::from_quic(address), error))
        })?;
        Peer::new(connection, inner.shared.clone())
    }

    /// The next caller whose handshake is done, whatever its key: [`Peer::key`] tells. A failed handshake is an error
    /// of that caller alone. `None` after [`Endpoint::close`].
    pub async fn accept(&self) -> Option<Result<Peer, MeshError>> {
        let caller = self.0.callers.lock().await.recv().await?;
        Some(caller.and_then(|connection| Peer::new(connection, self.0.shared.clone())))
    }

    /// Brings up a link that is not UDP, such as a BLE connection. Its peer is dialled at [`LinkUp::address`]; frames
    /// that come in are given to [`LinkUp::on_frame`]. Dropping the answer takes the link down.
    pub fn link_up(&self, link: Arc<dyn Link>) -> Result<LinkUp, MeshError> {
        let up = MeshSocket::link_up(&self.0.socket, link)?;
        self.nudge();
        Ok(up)
    }

    /// Tells every connection that its path may have changed, so that it does not wait for its backed-off timers:
    /// after a link or a network interface came back.
    pub fn nudge(&self) {
        // The same socket again: QUIC pings on every connection at once. It fails only when the socket has no
        // address any more, and then the driver reports that itself.
        let _ = self.0.quic.rebind_abstract(self.0.socket.clone());
    }

    /// Open connections, handshakes included.
    pub fn connections(&self) -> usize {
        self.0.quic.open_connections()
    }

    /// Closes every connection and takes no more callers.
    pub fn close(&self, reason: &str) {
        self.0.quic.close(CLOSE_ENDPOINT, short(reason));
    }

    /// Waits until every peer has been told of its close, or is known to be gone.
    pub async fn idle(&self) {
        self.0.quic.wait_idle().await;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("key", &self.0.key).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.quic.close(CLOSE_ENDPOINT, b"endpoint dropped");
    }
}

/// What an endpoint is made of. Without a socket it can only be reached over links.
pub struct Builder {
    key: SigningKey,
    source: Option<SocketSource>,
    seed: Option<[u8; 32]>,
    clock: Arc<dyn Clock>,
    runtime: Arc<dyn Runtime>,
    limits: Limits,
    alpn: Vec<u8>,
}

enum SocketSource {
    Bind(SocketAddr),
    Given(Arc<dyn AsyncUdpSocket>),
}

impl Builder {
    /// A UDP socket of the operating system on `address`; port 0 takes a free one.
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.source = Some(SocketSource::Bind(address));
        self
    }

    /// A socket of the caller's, such as a simulated one.
    pub fn socket(mut self, socket: Arc<dyn AsyncUdpSocket>) -> Self {
        self.source = Some(SocketSource::Given(socket));
        self
    }

    /// Takes every random byte from `seed` instead of the system: for simulations, because two endpoints with one
    /// seed make the same session keys, and because the seeded source is never freed.
    pub fn seed(mut self, seed: [u8; 32]) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Wall time; the system's unless given.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Timers and tasks; tokio's unless given.
    pub fn runtime(mut self, runtime: Arc<dyn Runtime>) -> Self {
        self.runtime = runtime;
        self
    }

    /// Bounds; [`Limits::default`] unless given.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Speaks another protocol name than [`ALPN`]: what tests need to be the stranger.
    #[doc(hidden)]
    pub fn alpn(mut self, alpn: &[u8]) -> Self {
        self.alpn = alpn.to_vec();
        self
    }

    /// Opens the socket and starts. Must be called where the runtime runs (for tokio: inside it).
    pub fn start(self) -> Result<Endpoint, MeshError> {
        let randomness = match self.seed {
            Some(seed) => Randomness::from_seed(seed),
            None => Randomness::from_system()?,
        };
        let udp = match self.source {
            None => None,
            Some(SocketSource::Given(socket)) => Some(socket),
            Some(SocketSource::Bind(address)) => {
                let failed = |e: std::io::Error| MeshError::Socket { address, reason: e.to_string() };
                let socket = std::net::UdpSocket::bind(address).map_err(failed)?;
                Some(self.runtime.wrap_udp_socket(socket).map_err(failed)?)
            }
        };
        let socket = MeshSocket::new(udp);
        let tls = Tls::new(&self.key, randomness.crypto(), &self.clock, &self.alpn)?;
        let transport = Transport::new(&self.limits);

        // From the identity, so that it survives a restart: peers of the process that died learn at their next packet
        // that their connections are gone (RFC 9000, 10.3), and not after the idle timeout.
        let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_seed(&self.key).0);
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        config.rng_seed(randomness.quic_seed()).cid_generator(randomness.connection_ids());

        let token_key =
            ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&randomness.derive(b"tokn")[..]);
        let mut server = ServerConfig::new(tls.server(), Arc::new(token_key));
        // No NEW_TOKEN frames: a token would link this connection to the next.
        let mut tokens = quinn::ValidationTokenConfig::default();
        tokens.sent(0).log(Arc::new(quinn::NoneTokenLog));
        server
            .validation_token_config(tokens)
            .time_source(Arc::new(Time(self.clock.clone())))
            .max_incoming(self.limits.handshakes_max.saturating_mul(CALLERS_PER_HANDSHAKE))
            .incoming_buffer_size(CALLER_BYTES)
            .incoming_buffer_size_total(CALLERS_BYTES)
            .transport_config(transport.udp.clone());

        let quic = quinn::Endpoint::new_with_abstract_socket(
            config,
            Some(server.clone()),
            socket.clone(),
            self.runtime.clone(),
        )
        .map_err(|error| MeshError::Socket {
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
            reason: error.to_string(),
        })?;

        let shared = Arc::new(Shared { limits: self.limits, runtime: self.runtime });
        let (done, callers) = mpsc::channel(self.limits.handshakes_max.max(1));
        let door = Door {
            quic: quic.clone(),
            over_link: Arc::new({
                let mut over_link = server;
                over_link.transport_config(transport.link.clone());
                over_link
            }),
            socket: socket.clone(),
            shared: shared.clone(),
            done,
        };
        shared.runtime.spawn(Box::pin(door.open()));
        Ok(Endpoint(Arc::new(Inner {
            key: self.key.public(),
            quic,
            socket,
            tls,
            randomness: randomness.first_ids(),
            transport,
            shared,
            clock: self.clock,
            callers: Mutex::new(callers),
        })))
    }
}

/// Lets callers in: a bounded number of handshakes at a time, so that a slow one holds up nobody else.
struct Door {
    quic: quinn::Endpoint,
    over_link: Arc<ServerConfig>,
    socket: Arc<MeshSocket>,
    shared: Arc<Shared>,
    done: mpsc::Sender<Result<quinn::Connection, MeshError>>,
}

impl Door {
    async fn open(self) {
        let limits = self.shared.limits;
        let slots = Arc::new(Semaphore::new(limits.handshakes_max.max(1)));
        while let Some(caller) = self.quic.accept().await {
            if self.quic.open_connections() >= limits.peers_max {
                caller.refuse();
                continue;
            }
            let is_busy = slots.available_permits() <= limits.handshakes_max / 2;
            if is_busy && !caller.remote_address_validated() {
                // It fails only for a caller that has already been asked, which the line above rules out.
                let _ = caller.retry();
                continue;
            }
            let Ok(slot) = slots.clone().acquire_owned().await else { return };
            self.greet(caller, slot);
        }
    }

    fn greet(&self, caller: Incoming, slot: OwnedSemaphorePermit) {
        let address = MeshSocket::from_quic(caller.remote_address());
        let connecting = if self.socket.is_link(address) {
            caller.accept_with(self.over_link.clone())
        } else {
            caller.accept()
        };
        let (done, shared) = (self.done.clone(), self.shared.clone());
        self.shared.runtime.spawn(Box::pin(async move {
            let shaken = match connecting {
                Ok(connecting) => {
                    let shaken = shared.timer().within(shared.limits.stall_max, connecting).await;
                    shaken.and_then(|shaken| shaken.map_err(|error| handshake_error(address, error)))
                }
                Err(error) => Err(handshake_error(address, error)),
            };
            // The slot is held until `accept` has room: callers wait, memory does not grow. It fails only when
            // the endpoint is gone.
            let _ = done.send(shaken).await;
            drop(slot);
        }));
    }
}

/// QUIC's parameters by the kind of path.
struct Transport {
    udp: Arc<TransportConfig>,
    link: Arc<TransportConfig>,
}

impl Transport {
    fn new(limits: &Limits) -> Self {
        let common = || {
            let streams = VarInt::from_u32(limits.streams_max);
            let idle: IdleTimeout = IDLE_MAX.try_into().expect("60 s fits QUIC's 62-bit milliseconds");
            let mut config = TransportConfig::default();
            config
                .max_concurrent_uni_streams(streams)
                .max_concurrent_bidi_streams(streams)
                .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
                .receive_window(VarInt::from_u32(RECEIVE_WINDOW_BYTES))
                .send_window(SEND_WINDOW_BYTES)
                .datagram_receive_buffer_size(None)
                .max_idle_timeout(Some(idle))
                // Datagrams stay at the 1,200 bytes that every path carries (RFC 9000, 14). Probing for larger ones costs
                // 7 to 10 kB a connection, as much as all that a phone asks for after a week offline.
                .mtu_discovery_config(None)
                .keep_alive_interval(Some(KEEP_ALIVE));
            config
        };
        let mut link = common();
        link.initial_rtt(LINK_RTT_INITIAL);
        Self { udp: Arc::new(common()), link: Arc::new(link) }
    }

    fn of(&self, socket: &MeshSocket, address: SocketAddr) -> Arc<TransportConfig> {
        if socket.is_link(address) { self.link.clone() } else { self.udp.clone() }
    }
}

/// Callers that knock and have not been looked at, for each handshake in work; more are refused.
const CALLERS_PER_HANDSHAKE: usize = 4;
/// Bytes kept of one caller until it is looked at: 16 KiB, far more than a handshake's first flight.
const CALLER_BYTES: u64 = 16 << 10;
/// Bytes kept of all of them: 1 MiB.
const CALLERS_BYTES: u64 = 1 << 20;
/// At most this many bytes of a reason travel in a close: it must fit one packet.
const REASON_BYTES_MAX: usize = 200;
/// The close code of a whole endpoint.
const CLOSE_ENDPOINT: VarInt = VarInt::from_u32(0);
/// TLS alert 120 `no_application_protocol` (RFC 7301, 3.2), as QUIC reports it (RFC 9001, 4.8).
const NO_APPLICATION_PROTOCOL: u64 = 0x178;

pub(crate) fn short(reason: &str) -> &[u8] {
    &reason.as_bytes()[..reason.len().min(REASON_BYTES_MAX)]
}

fn handshake_error(address: SocketAddr, error: ConnectionError) -> MeshError {
    let code = match &error {
        ConnectionError::TransportError(error) => Some(u64::from(error.code)),
        ConnectionError::ConnectionClosed(close) => Some(u64::from(close.error_code)),
        _ => None,
    };
    if code == Some(NO_APPLICATION_PROTOCOL) {
        return MeshError::WrongProtocol(address);
    }
    MeshError::Handshake { address, reason: error.to_string() }
}

/// The secret from which stateless reset tokens are made.
fn reset_seed(key: &SigningKey) -> ohmesh_units::Hash {
    const RESET: ohmesh_units::Domain = ohmesh_units::Domain::new("ohmesh/1 stateless reset");
    RESET.hash(&[&key.seed()[..]])
}
