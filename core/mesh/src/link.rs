//! Links that are not UDP: a BLE connection, or a simulated one. A link carries small frames, reliably but not
//! always in order; QUIC's datagrams are cut into them and put together again.

use crate::{
    frame::{Assembler, Cutter},
    socket::MeshSocket,
};
use std::{fmt, net::SocketAddr, sync::Arc};

/// What a platform gives: a way to send one frame to the other end of one link.
///
/// Frames arrive whole or not at all, and at most [`REORDER_WINDOW`](crate::frame::REORDER_WINDOW) places early.
pub trait Link: Send + Sync + fmt::Debug + 'static {
    /// The longest frame, in bytes; between [`FRAME_BYTES_MIN`] and [`FRAME_BYTES_MAX`], and it does not change.
    fn frame_bytes_max(&self) -> usize;

    /// Takes a frame, or says why not; it never drops one that it accepted while the link is up. It must not call
    /// back into the endpoint from inside.
    fn send(&self, frame: &[u8]) -> Sent;
}

/// What became of a frame given to a [`Link`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The link has it.
    Accepted,
    /// No room; [`LinkUp::on_writable`] will tell when to try again.
    Busy,
    /// The link is down.
    Gone,
}

/// The shortest frame a link may offer: 20 bytes, a BLE 4.0 notification.
pub const FRAME_BYTES_MIN: usize = 20;
/// The longest frame a link may offer: 512 bytes, the longest BLE attribute.
pub const FRAME_BYTES_MAX: usize = 512;

/// A link that is up. Dropping it takes the link down; its connections then end by silence.
pub struct LinkUp {
    socket: Arc<MeshSocket>,
    address: SocketAddr,
}

impl LinkUp {
    pub(crate) fn new(socket: Arc<MeshSocket>, address: SocketAddr) -> Self {
        Self { socket, address }
    }

    /// The synthetic address of the other end: what to give to [`Endpoint::connect`](crate::Endpoint::connect). It
    /// means nothing outside this endpoint.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A frame came in.
    pub fn on_frame(&self, frame: &[u8]) {
        self.socket.on_frame(self.address, frame);
    }

    /// The link has room again after [`Sent::Busy`].
    pub fn on_writable(&self) {
        self.socket.on_writable(self.address);
    }

    /// What the link has carried and lost.
    pub fn stats(&self) -> LinkStats {
        self.socket.link_stats(self.address)
    }
}

impl fmt::Debug for LinkUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkUp").field("address", &self.address).finish()
    }
}

impl Drop for LinkUp {
    fn drop(&mut self) {
        self.socket.link_down(self.address);
    }
}

/// Counters of one link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Frames the link accepted.
    pub frames_out: u64,
    /// Frames that came in.
    pub frames_in: u64,
    /// Datagrams that came in whole.
    pub datagrams_in: u64,
    /// Datagrams that were given up: a frame missing, a wrong length, no room.
    pub datagrams_lost: u64,
}

/// One link inside the socket: frames that wait to go out, and the datagram that is coming in.
#[derive(Debug)]
pub(crate) struct LinkState {
    link: Arc<dyn Link>,
    cutter: Cutter,
    assembler: Assembler,
    pub(crate) stats: LinkStats,
    is_gone: bool,
}

impl LinkState {
    pub(crate) fn new(link: Arc<dyn Link>) -> Self {
        let frame_bytes = link.frame_bytes_max().min(FRAME_BYTES_MAX);
        let assembler = Assembler::default();
        Self {
            link,
            cutter: Cutter::new(frame_bytes),
            assembler,
            stats: LinkStats::default(),
            is_gone: false,
        }
    }

    /// Whether another datagram may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.is_gone || self.cutter.bytes() < LINK_QUEUE_BYTES
    }

    /// Queues a datagram and sends what the link takes.
    pub(crate) fn send(&mut self, datagram: &[u8]) {
        if self.is_gone {
            return;
        }
        self.cutter.push(datagram);
        self.flush();
    }

    /// Sends queued frames until the link is busy.
    pub(crate) fn flush(&mut self) {
        while let Some(frame) = self.cutter.front() {
            match self.link.send(frame) {
                Sent::Accepted => {
                    self.cutter.pop();
                    self.stats.frames_out += 1;
                }
                Sent::Busy => return,
                Sent::Gone => {
                    self.is_gone = true;
                    self.cutter.clear();
                }
            }
        }
    }

    /// Takes a frame; gives the datagrams that it completes.
    pub(crate) fn take(&mut self, frame: &[u8]) -> Vec<Vec<u8>> {
        self.stats.frames_in += 1;
        let whole = self.assembler.push(frame);
        self.stats.datagrams_in += whole.len() as u64;
        self.stats.datagrams_lost = self.assembler.lost();
        whole
    }
}

/// Bytes that wait for one link: 2,400, two datagrams. More only adds delay: measured, it adds no throughput.
const LINK_QUEUE_BYTES: usize = 2400;
