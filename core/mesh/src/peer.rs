//! A peer: somebody at the other end whose key is known.

use crate::{
    Closed, MeshError, Refusal,
    endpoint::{Shared, short},
    message::{self, Outgoing, read_body, read_length},
    socket::MeshSocket,
    tls::key_in,
};
use ohmesh_units::PublicKey;
use quinn::{Connection, RecvStream, SendStream, VarInt, crypto::rustls::HandshakeData};
use rustls::pki_types::CertificateDer;
use std::{fmt, net::SocketAddr, sync::Arc};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, mpsc};

/// An open connection to the owner of a key. A handle: clones are the same connection. When the last one is dropped,
/// the connection is closed.
#[derive(Clone)]
pub struct Peer(Arc<Inner>);

struct Inner {
    key: PublicKey,
    connection: Connection,
    shared: Arc<Shared>,
    inbox: Mutex<mpsc::Receiver<Waiting>>,
    budget: Arc<Budget>,
}

/// What a peer sent.
#[derive(Debug)]
pub enum Inbound {
    /// A message that wants no answer.
    Message(Vec<u8>),
    /// A request; it is refused with [`Refusal::NoReply`] if the reply is dropped.
    Request {
        /// What is asked.
        bytes: Vec<u8>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// One message or request was refused, for instance with [`MeshError::TooLarge`]; the peer goes on.
    Refused(MeshError),
}

impl Peer {
    pub(crate) fn new(connection: Connection, shared: Arc<Shared>) -> Result<Self, MeshError> {
        let address = MeshSocket::from_quic(connection.remote_address());
        let key = match key_of(&connection) {
            Some(key) => key,
            None => {
                connection.close(CLOSE_PEER, b"no key");
                return Err(MeshError::NoKey(address));
            }
        };
        let budget = Arc::new(Budget::new(&shared));
        let (inbox, waiting) = mpsc::channel(INBOX);
        let intake = Intake { connection: connection.clone(), shared: shared.clone(), budget, inbox };
        let budget = intake.budget.clone();
        shared.runtime.spawn(Box::pin(intake.clone().take_messages()));
        shared.runtime.spawn(Box::pin(intake.take_requests()));
        Ok(Self(Arc::new(Inner { key, connection, shared, inbox: Mutex::new(waiting), budget })))
    }

    /// The key the peer has proven to own.
    pub fn key(&self) -> PublicKey {
        self.0.key
    }

    /// Where the peer is now; a link's is synthetic.
    pub fn address(&self) -> SocketAddr {
        MeshSocket::from_quic(self.0.connection.remote_address())
    }

    /// 32 bytes that only the two ends of this connection know (RFC 8446, 7.5): what is signed over them cannot be
    /// relayed to another connection.
    pub fn exporter(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0
            .connection
            .export_keying_material(&mut bytes, EXPORTER_LABEL, b"")
            .expect("32 bytes are within the 255 hashes that TLS 1.3 can export, and the handshake is done");
        bytes
    }

    /// Sends a message that wants no answer. `Ok` means it is on its way, in no order with other messages; it waits
    /// while the peer takes no more.
    ///
    /// Errors: [`MeshError::TooLarge`] before anything is sent, [`MeshError::Refused`] when the peer stops it half-way,
    /// [`MeshError::Timeout`], [`MeshError::Closed`].
    pub async fn send(&self, bytes: &[u8]) -> Result<(), MeshError> {
        self.push(bytes).await.map(drop)
    }

    /// Sends a message and waits until the peer's endpoint holds all of it: before a close.
    pub async fn deliver(&self, bytes: &[u8]) -> Result<(), MeshError> {
        let limit = self.0.shared.limits.time_max(bytes.len());
        let mut outgoing = self.push(bytes).await?;
        self.0.shared.timer().within(limit, outgoing.taken()).await?
    }

    /// Asks, and waits for the answer.
    ///
    /// Errors: [`MeshError::TooLarge`] when the request is too long for this side (nothing is sent) or the answer is
    /// (it is not read), [`MeshError::Refused`] by the peer, [`MeshError::Timeout`], [`MeshError::Closed`].
    pub async fn request(&self, bytes: &[u8]) -> Result<Vec<u8>, MeshError> {
        let Inner { connection, shared, .. } = &*self.0;
        message::check(bytes, shared.limits.request_bytes_max)?;
        let (send, mut answer) =
            shared.timer().within(shared.limits.stall_max, connection.open_bi()).await??;
        let mut send = Outgoing::new(send, Refusal::GivenUp);
        send.write(bytes, shared).await?;
        let length = read_length(&mut answer, shared.limits.reply_bytes_max, shared).await?;
        read_body(&mut answer, length, shared).await
    }

    /// The next message or request, in the order in which they became whole. At most the bounds of
    /// [`Limits`](crate::Limits) wait here; then the peer waits.
    ///
    /// An error is the end of the connection, told after everything that was read whole. Cancel-safe.
    pub async fn next(&self) -> Result<Inbound, MeshError> {
        let Some(waiting) = self.0.inbox.lock().await.recv().await else {
            return Err(self.0.connection.closed().await.into());
        };
        Ok(match waiting {
            Waiting::Message(bytes, _room) => Inbound::Message(bytes),
            Waiting::Request(bytes, stream, slot, _room) => {
                let stream = Outgoing::new(stream, Refusal::NoReply);
                Inbound::Request { bytes, reply: Reply { stream, peer: self.clone(), _slot: slot } }
            }
            Waiting::Refused(error, _room) => Inbound::Refused(error),
        })
    }

    /// Closes the connection. The peer is told `reason` (at most 200 bytes of it); what is on its way is lost.
    pub fn close(&self, reason: &str) {
        self.0.connection.close(CLOSE_PEER, short(reason));
    }

    /// Waits until the connection is over, and says how.
    pub async fn closed(&self) -> Closed {
        self.0.connection.closed().await.into()
    }

    /// How the connection ended, if it has.
    pub fn close_reason(&self) -> Option<Closed> {
        self.0.connection.close_reason().map(Closed::from)
    }

    /// The server name the caller sent, as the answering side saw it: always [`SERVER_NAME`](crate::SERVER_NAME).
    /// `None` on the calling side.
    pub fn server_name(&self) -> Option<String> {
        let data = self.0.connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
        data.server_name
    }

    /// A number no other open connection of this process has.
    pub(crate) fn connection_id(&self) -> usize {
        self.0.connection.stable_id()
    }

    async fn push(&self, bytes: &[u8]) -> Result<Outgoing, MeshError> {
        let Inner { connection, shared, .. } = &*self.0;
        message::check(bytes, shared.limits.message_bytes_max)?;
        let limit = shared.limits.time_max(bytes.len());
        let stream = shared.timer().within(limit, connection.open_uni()).await??;
        let mut outgoing = Outgoing::new(stream, Refusal::GivenUp);
        outgoing.write(bytes, shared).await?;
        Ok(outgoing)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("key", &self.key()).field("address", &self.address()).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.budget.close();
        self.connection.close(CLOSE_PEER, b"");
    }
}

/// Where the answer to a request goes. It keeps the connection open. Dropped unused, the request is refused.
#[derive(Debug)]
pub struct Reply {
    stream: Outgoing,
    peer: Peer,
    _slot: OwnedSemaphorePermit,
}

impl Reply {
    /// Who asked.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Answers. Errors as [`Peer::send`]; an answer over the bound is refused at the asker with
    /// [`Refusal::TooLarge`].
    pub async fn send(mut self, bytes: &[u8]) -> Result<(), MeshError> {
        let shared = &self.peer.0.shared;
        if let Err(error) = message::check(bytes, shared.limits.reply_bytes_max) {
            self.stream.refuse(Refusal::TooLarge);
            return Err(error);
        }
        self.stream.write(bytes, shared).await
    }

    /// Refuses with a reason.
    pub fn refuse(mut self, why: Refusal) {
        self.stream.refuse(why);
    }
}

/// What is whole and waits to be taken, with the room it holds.
enum Waiting {
    Message(Vec<u8>, Room),
    Request(Vec<u8>, SendStream, OwnedSemaphorePermit, OwnedSemaphorePermit),
    Refused(MeshError, OwnedSemaphorePermit),
}

/// A stream's slot and the bytes of its message.
struct Room {
    _slot: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

/// What one peer may have in memory here.
struct Budget {
    messages: Arc<Semaphore>,
    requests: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Budget {
    fn new(shared: &Shared) -> Self {
        let streams = usize::try_from(shared.limits.streams_max).unwrap_or(usize::MAX).max(1);
        let bytes = shared.limits.inbound_bytes().min(Semaphore::MAX_PERMITS);
        Self {
            messages: Arc::new(Semaphore::new(streams)),
            requests: Arc::new(Semaphore::new(streams)),
            bytes: Arc::new(Semaphore::new(bytes)),
        }
    }

    /// Ends the tasks that wait for room.
    fn close(&self) {
        self.messages.close();
        self.requests.close();
        self.bytes.close();
    }
}

/// Takes streams as long as there is room, and reads each in its own task: a slow one holds up nobody but itself.
#[derive(Clone)]
struct Intake {
    connection: Connection,
    shared: Arc<Shared>,
    budget: Arc<Budget>,
    inbox: mpsc::Sender<Waiting>,
}

impl Intake {
    async fn take_messages(self) {
        while let Some(slot) = self.slot(&self.budget.messages).await {
            let Ok(stream) = self.connection.accept_uni().await else { return };
            let intake = self.clone();
            self.shared.runtime.spawn(Box::pin(async move {
                let max = intake.shared.limits.message_bytes_max;
                let waiting = match intake.read(stream, max).await {
                    Ok((bytes, held)) => Waiting::Message(bytes, Room { _slot: slot, _bytes: held }),
                    Err(error) if message::refusal_of(&error).is_some() => Waiting::Refused(error, slot),
                    Err(_) => return,
                };
                // It fails only when the peer's last handle is gone.
                let _ = intake.inbox.send(waiting).await;
            }));
        }
    }

    async fn take_requests(self) {
        while let Some(slot) = self.slot(&self.budget.requests).await {
            let Ok((send, stream)) = self.connection.accept_bi().await else { return };
            let intake = self.clone();
            self.shared.runtime.spawn(Box::pin(async move {
                let max = intake.shared.limits.request_bytes_max;
                let waiting = match intake.read(stream, max).await {
                    Ok((bytes, held)) => Waiting::Request(bytes, send, slot, held),
                    Err(error) => {
                        let Some(why) = message::refusal_of(&error) else { return };
                        Outgoing::new(send, why).refuse(why);
                        Waiting::Refused(error, slot)
                    }
                };
                // It fails only when the peer's last handle is gone; the request is then refused by its drop.
                let _ = intake.inbox.send(waiting).await;
            }));
        }
    }

    /// A free slot; `None` once the connection is over, even while the application holds every slot.
    async fn slot(&self, slots: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
        tokio::select! {
            biased;
            slot = slots.clone().acquire_owned() => slot.ok(),
            _ = self.connection.closed() => None,
        }
    }

    /// Reads one message once there is room for all of it.
    async fn read(
        &self,
        mut stream: RecvStream,
        max: usize,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), MeshError> {
        let length = read_length(&mut stream, max, &self.shared).await?;
        let bytes = u32::try_from(length).expect("lengths are read from a u32");
        let room = self.budget.bytes.clone().acquire_many_owned(bytes).await;
        let room = room.map_err(|_| MeshError::Closed(Closed::Here))?;
        Ok((read_body(&mut stream, length, &self.shared).await?, room))
    }
}

/// The key a finished handshake has proven.
fn key_of(connection: &Connection) -> Option<PublicKey> {
    let spki = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_in(spki.first()?)
}

/// Messages that are whole and wait; those behind them wait in their tasks, which hold their room as well.
const INBOX: usize = 16;
/// The close code of one peer.
const CLOSE_PEER: VarInt = VarInt::from_u32(1);
/// The label of the exporter (RFC 5705, 4).
const EXPORTER_LABEL: &[u8] = b"EXPORTER-ohmesh/1";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        Endpoint, Limits,
        sim::{Faults, SimNet},
    };
    use ohmesh_units::SigningKey;
    use std::{future::Future, time::Duration};

    fn simulate(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(test);
    }

    /// Two endpoints and the two ends of one connection, whose inside the tests reach.
    async fn pair() -> ([Endpoint; 2], Peer, Peer) {
        let net = SimNet::new(1, Faults::default());
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 4433));
        let endpoint = |n| {
            let builder = Endpoint::builder(SigningKey::from_seed([n; 32])).seed([n; 32]);
            builder.socket(net.bind(address(n))).start().unwrap()
        };
        let (one, two) = (endpoint(1), endpoint(2));
        let (called, caller) = tokio::join!(one.connect(address(2), two.key()), two.accept());
        ([one, two], called.unwrap(), caller.unwrap().unwrap())
    }

    /// The counters of QUIC itself: no address token is given to the caller.
    #[test]
    fn no_address_token_is_sent() {
        simulate(async {
            let (_endpoints, called, caller) = pair().await;
            called.deliver(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let (received, sent) =
                (called.0.connection.stats().frame_rx, caller.0.connection.stats().frame_tx);
            assert_eq!((received.new_token, sent.new_token), (0, 0));
            assert_eq!(received.handshake_done, 1, "the counters count");
        });
    }

    async fn refused(peer: &Peer) -> MeshError {
        match peer.next().await.unwrap() {
            Inbound::Refused(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Attack: announce a message and stand still. It is given up; others pass it meanwhile.
    #[test]
    fn a_stream_that_stands_still_is_given_up() {
        simulate(async {
            let (_endpoints, called, caller) = pair().await;
            let mut stream = called.0.connection.open_uni().await.unwrap();
            stream.write_all(&[0, 0, 4, 0, 9, 9]).await.unwrap();
            called.send(b"passes").await.unwrap();
            assert!(matches!(caller.next().await.unwrap(), Inbound::Message(bytes) if bytes == b"passes"));
            let stall_max = Limits::default().stall_max;
            assert_eq!(refused(&caller).await, MeshError::Timeout(stall_max));
            assert_eq!(stream.stopped().await.unwrap(), Some(Refusal::TooSlow.code()));
        });
    }

    /// Attack: trickle. Every piece comes before the stall ends, but the whole takes too long.
    #[test]
    fn a_stream_that_trickles_is_given_up() {
        simulate(async {
            let (_endpoints, called, caller) = pair().await;
            let mut stream = called.0.connection.open_uni().await.unwrap();
            stream.write_all(&[0, 0, 64, 0]).await.unwrap();
            let trickle = async {
                while stream.write_all(&[1]).await.is_ok() {
                    tokio::time::sleep(Duration::from_secs(5)).await
                }
            };
            let (error, ()) = tokio::join!(refused(&caller), trickle);
            // 16 KiB at 2 KiB/s, and the stall.
            assert_eq!(error, MeshError::Timeout(Duration::from_secs(38)));
        });
    }

    /// Attack: a length that the bytes do not have, either way.
    #[test]
    fn a_length_that_lies_is_malformed() {
        simulate(async {
            let (_endpoints, called, caller) = pair().await;
            for (sent, expected) in
                [(&[0u8, 0, 0, 2, 1][..], 2), (&[0, 0, 0, 1, 1, 2], 1), (&[0, 0], 4), (&[], 4)]
            {
                let mut stream = called.0.connection.open_uni().await.unwrap();
                stream.write_all(sent).await.unwrap();
                stream.finish().unwrap();
                assert_eq!(refused(&caller).await, MeshError::Malformed { expected });
            }
            let huge = [0xff, 0xff, 0xff, 0xff, 0];
            let (mut stream, mut answer) = called.0.connection.open_bi().await.unwrap();
            stream.write_all(&huge).await.unwrap();
            let max = Limits::default().request_bytes_max;
            assert_eq!(refused(&caller).await, MeshError::TooLarge { max, found: 0xffff_ffff });
            let told = answer.read(&mut [0]).await.unwrap_err();
            assert_eq!(told, quinn::ReadError::Reset(Refusal::TooLarge.code()));
            called.deliver(b"and goes on").await.unwrap();
        });
    }
}
