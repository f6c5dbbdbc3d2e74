//! Every bound of the mesh, by name.

use std::time::Duration;

/// What one endpoint grants its peers and itself. The defaults fit a station agent; a phone takes less.
///
/// Memory that a hostile peer can hold: `inbound_bytes_max` of whole messages and `RECEIVE_WINDOW_BYTES` of unread
/// stream data, times `peers_max` for all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest one-way message, in bytes, either way. 4 MiB: a full block with its certificate.
    pub message_bytes_max: usize,
    /// The longest request, in bytes, either way. 320 KiB: the longest transaction, a validator's release of 256 bids.
    pub request_bytes_max: usize,
    /// The longest reply, in bytes, either way. 4 MiB: a full block or a snapshot chunk.
    pub reply_bytes_max: usize,
    /// Bytes of whole messages of one peer that wait for [`Peer::next`](crate::Peer::next), at least the longest
    /// message. 8 MiB: two blocks.
    pub inbound_bytes_max: usize,
    /// Requests of one peer in work at a time, and one-way messages of one peer on their way. 64: four committees
    /// of votes; more wait at the sender.
    pub streams_max: u32,
    /// Handshakes of callers in work at a time; at half of it callers must first prove their address (QUIC Retry).
    /// 64: one costs about 0.3 ms of CPU, so the queue is at most 20 ms deep.
    pub handshakes_max: usize,
    /// Open connections; further callers are refused. 256: 2.5 GiB if every one is hostile at its bound, and as many
    /// as gossip serves.
    pub peers_max: usize,
    /// How long a stream may stand still: to open, between two pieces, until the answer begins. 30 s: longer than a BLE
    /// dropout of 20 s and its recovery.
    pub stall_max: Duration,
    /// The slowest a whole message may flow, in bytes a second, on top of `stall_max`. 2 KiB/s: half of the slowest BLE
    /// link measured.
    pub rate_min_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 4 << 20,
            request_bytes_max: 320 << 10,
            reply_bytes_max: 4 << 20,
            inbound_bytes_max: 8 << 20,
            streams_max: 64,
            handshakes_max: 64,
            peers_max: 256,
            stall_max: Duration::from_secs(30),
            rate_min_bytes: 2 << 10,
        }
    }
}

impl Limits {
    /// Bounds for a phone: messages and requests of at most 256 KiB (the longest transaction has 200), replies of at most
    /// 1 MiB (the longest object, an auction of 256 bids, has half of that), 16 streams, 32 peers.
    pub fn phone() -> Self {
        Self {
            message_bytes_max: 256 << 10,
            request_bytes_max: 256 << 10,
            reply_bytes_max: 1 << 20,
            inbound_bytes_max: 1 << 20,
            streams_max: 16,
            handshakes_max: 8,
            peers_max: 32,
            ..Self::default()
        }
    }

    /// How long a message of `bytes` may take from end to end.
    pub(crate) fn time_max(&self, bytes: usize) -> Duration {
        let seconds = bytes / self.rate_min_bytes.max(1);
        self.stall_max.saturating_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX)))
    }

    /// The byte budget of one peer: at least one message of each kind fits.
    pub(crate) fn inbound_bytes(&self) -> usize {
        self.inbound_bytes_max.max(self.message_bytes_max).max(self.request_bytes_max)
    }
}

/// Silence after which a connection is over: 60 s, so that a phone may sleep through two keep-alives.
pub const IDLE_MAX: Duration = Duration::from_secs(60);
/// How often an idle connection says that it lives: 20 s, below the 30 s of common address translators.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// The first guess of a BLE link's round trip: 300 ms; QUIC's own guess for anything else.
pub const LINK_RTT_INITIAL: Duration = Duration::from_millis(300);
/// Unread bytes of one peer that QUIC buffers: 2 MiB, 100 Mbit/s at 160 ms.
pub const RECEIVE_WINDOW_BYTES: u32 = 2 << 20;
/// Unread bytes of one stream: 1 MiB, so that one stream alone cannot take the connection's whole window.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes to one peer that wait for their acknowledgement: 2 MiB; a sender then waits.
pub const SEND_WINDOW_BYTES: u64 = 2 << 20;
