//! What can go wrong between two nodes.

use ohmesh_units::{KeyError, PublicKey};
use quinn::{ConnectionError, VarInt};
use std::{net::SocketAddr, time::Duration};

/// Why a mesh operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeshError {
    /// The socket could not be opened, or the operating system refused something about it.
    #[error("socket {address}: {reason}")]
    Socket {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system says.
        reason: String,
    },
    /// The operating system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(String),
    /// The TLS library refused the configuration; it never does for a valid key.
    #[error("TLS configuration: {0}")]
    Tls(String),
    /// The address cannot be connected to: port 0, or a link that is not up.
    #[error("{address} cannot be dialled: {reason}")]
    Address {
        /// The address that was dialled.
        address: SocketAddr,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else answers at the address: the handshake was refused before anything was said.
    #[error("expected key {expected}, found {found}")]
    WrongKey {
        /// The key that was asked for.
        expected: PublicKey,
        /// The key that was shown.
        found: PublicKey,
    },
    /// The peer showed something that is not an Ed25519 key.
    #[error("the peer at {0} shows no raw Ed25519 key")]
    NoKey(SocketAddr),
    /// The peer showed a key anybody could sign for.
    #[error(transparent)]
    BadKey(#[from] KeyError),
    /// The other side speaks another protocol than [`ALPN`](crate::ALPN).
    #[error("{0} does not speak ohm/1")]
    WrongProtocol(SocketAddr),
    /// The handshake failed in another way.
    #[error("handshake with {address}: {reason}")]
    Handshake {
        /// Who was dialled, or who dialled.
        address: SocketAddr,
        /// What QUIC or TLS says.
        reason: String,
    },
    /// A message is larger than its bound: of this side when `found` was to be sent, of this side when it came in.
    #[error("message of {found} bytes, at most {max} are allowed")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
        /// What was to be sent, or what the peer announced, in bytes.
        found: usize,
    },
    /// A message did not end where its length said.
    #[error("the stream does not hold one message of {expected} bytes")]
    Malformed {
        /// The length the stream began with.
        expected: usize,
    },
    /// The peer refused this one stream; the connection goes on.
    #[error("refused by the peer: {0}")]
    Refused(Refusal),
    /// The peer did not take or give the bytes in time.
    #[error("no progress within {0:?}")]
    Timeout(Duration),
    /// The connection is over.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// Why one side gave up a single stream; the code on the wire, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Code 1: longer than its bound.
    #[error("message too large")]
    TooLarge,
    /// Code 2: too slow.
    #[error("too slow")]
    TooSlow,
    /// Code 3: not one message.
    #[error("malformed message")]
    Malformed,
    /// Code 4: the request was dropped without an answer.
    #[error("not answered")]
    NoReply,
    /// Code 5: the sender changed its mind half-way.
    #[error("given up by the sender")]
    GivenUp,
    /// Any other code.
    #[error("code {0}")]
    Other(u64),
}

impl Refusal {
    pub(crate) fn code(self) -> VarInt {
        let code = match self {
            Self::TooLarge => 1,
            Self::TooSlow => 2,
            Self::Malformed => 3,
            Self::NoReply => 4,
            Self::GivenUp => 5,
            Self::Other(code) => code,
        };
        VarInt::from_u64(code).unwrap_or(VarInt::MAX)
    }
}

impl From<VarInt> for Refusal {
    fn from(code: VarInt) -> Self {
        match code.into_inner() {
            1 => Self::TooLarge,
            2 => Self::TooSlow,
            3 => Self::Malformed,
            4 => Self::NoReply,
            5 => Self::GivenUp,
            other => Self::Other(other),
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// This side closed it.
    #[error("closed here")]
    Here,
    /// The peer closed it and gave a reason.
    #[error("closed by the peer: {0:?}")]
    ByPeer(String),
    /// Nothing was heard for the idle timeout.
    #[error("the peer fell silent")]
    Silent,
    /// The transport broke: the peer restarted, or broke the protocol.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl From<ConnectionError> for Closed {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::LocallyClosed => Self::Here,
            ConnectionError::ApplicationClosed(close) => {
                Self::ByPeer(String::from_utf8_lossy(&close.reason).into_owned())
            }
            ConnectionError::TimedOut => Self::Silent,
            other => Self::Lost(other.to_string()),
        }
    }
}

impl From<ConnectionError> for MeshError {
    fn from(error: ConnectionError) -> Self {
        Self::Closed(error.into())
    }
}
