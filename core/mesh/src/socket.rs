//! The one socket under QUIC: UDP and every other link, told apart by address.
//!
//! QUIC sees IPv6 only: UDP addresses of version 4 are mapped (RFC 4291, 2.5.5.2), and each link has an address out of
//! [`LINK_PREFIX`], so that a connection cannot tell over what it runs.

use crate::{
    Link, LinkStats, LinkUp, MeshError,
    frame::DATAGRAM_BYTES_MAX,
    link::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, LinkState},
};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// The first 64 bits of every link's address: a unique local prefix (RFC 4193), `fd6f:686d:6c69:6e6b`.
pub const LINK_PREFIX: [u16; 4] = [0xfd6f, 0x686d, 0x6c69, 0x6e6b];
/// Links up at a time: 64; a phone's radio holds about ten.
pub const LINKS_MAX: usize = 64;
/// Datagrams from all links that wait for QUIC: 256; more are dropped, as any network does.
const INBOX_MAX: usize = 256;

/// UDP and links under one roof.
pub(crate) struct MeshSocket {
    udp: Option<Arc<dyn AsyncUdpSocket>>,
    is_udp_v4: bool,
    links: Mutex<Links>,
}

#[derive(Default)]
struct Links {
    up: BTreeMap<SocketAddr, LinkState>,
    ups: u64,
    inbox: VecDeque<(SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
    /// The link that last had no room. A connection learns of it in `poll_writable`, which QUIC calls right after
    /// `try_send`; should another connection take it first, that one waits needlessly for a moment, and the
    /// first is told again at its next try.
    blocked: Option<SocketAddr>,
    writers: BTreeMap<SocketAddr, Vec<Waker>>,
}

impl MeshSocket {
    pub(crate) fn new(udp: Option<Arc<dyn AsyncUdpSocket>>) -> Arc<Self> {
        let is_udp_v4 =
            udp.as_ref().and_then(|udp| udp.local_addr().ok()).is_some_and(|address| address.is_ipv4());
        Arc::new(Self { udp, is_udp_v4, links: Mutex::default() })
    }

    /// The address QUIC uses for `address`.
    pub(crate) fn to_quic(address: SocketAddr) -> SocketAddr {
        match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        }
    }

    /// The address that QUIC's `address` stands for.
    pub(crate) fn from_quic(address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
                Some(ip) => SocketAddr::new(ip.into(), v6.port()),
                None => address,
            },
            SocketAddr::V4(_) => address,
        }
    }

    /// Whether `address` is a link's.
    pub(crate) fn is_link(&self, address: SocketAddr) -> bool {
        matches!(address.ip(), IpAddr::V6(ip) if ip.segments()[..4] == LINK_PREFIX)
    }

    pub(crate) fn udp_address(&self) -> io::Result<SocketAddr> {
        self.udp.as_ref().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    pub(crate) fn link_up(this: &Arc<Self>, link: Arc<dyn Link>) -> Result<LinkUp, MeshError> {
        let mut links = this.links();
        links.ups += 1;
        let ip = Ipv6Addr::from_bits(u128::from(LINK_NET) << 64 | u128::from(links.ups));
        let address = SocketAddr::new(ip.into(), LINK_PORT);
        let frame_bytes = link.frame_bytes_max();
        let refused = |reason| Err(MeshError::Address { address, reason });
        if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame_bytes) {
            return refused(format!(
                "frames of {frame_bytes} bytes; a link carries {FRAME_BYTES_MIN} to {FRAME_BYTES_MAX}"
            ));
        }
        if links.up.len() >= LINKS_MAX {
            return refused(format!("{LINKS_MAX} links are up already"));
        }
        links.up.insert(address, LinkState::new(link));
        drop(links);
        Ok(LinkUp::new(this.clone(), address))
    }

    pub(crate) fn link_down(&self, address: SocketAddr) {
        let mut links = self.links();
        links.up.remove(&address);
        links.wake_writers(address);
    }

    pub(crate) fn on_frame(&self, address: SocketAddr, frame: &[u8]) {
        let mut links = self.links();
        let Links { up, inbox, reader, .. } = &mut *links;
        let Some(link) = up.get_mut(&address) else { return };
        for datagram in link.take(frame) {
            if inbox.len() < INBOX_MAX {
                inbox.push_back((address, datagram));
            } else {
                link.stats.datagrams_lost += 1;
            }
        }
        if !inbox.is_empty()
            && let Some(reader) = reader.take()
        {
            reader.wake();
        }
    }

    pub(crate) fn on_writable(&self, address: SocketAddr) {
        let mut links = self.links();
        let Some(link) = links.up.get_mut(&address) else { return };
        link.flush();
        if link.has_room() {
            links.wake_writers(address);
        }
    }

    pub(crate) fn link_stats(&self, address: SocketAddr) -> LinkStats {
        self.links().up.get(&address).map(|link| link.stats).unwrap_or_default()
    }

    fn links(&self) -> MutexGuard<'_, Links> {
        // A panic in a platform's `Link::send` leaves at worst a queued frame: the other links go on.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send_on_link(&self, address: SocketAddr, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut links = self.links();
        // A link that is down loses what is sent to it, as a cable would.
        let Some(link) = links.up.get_mut(&address) else { return Ok(()) };
        if !link.has_room() {
            links.blocked = Some(address);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let size = transmit.segment_size.unwrap_or(DATAGRAM_BYTES_MAX).max(1);
        transmit.contents.chunks(size).for_each(|datagram| link.send(datagram));
        Ok(())
    }
}

impl Links {
    fn wake_writers(&mut self, address: SocketAddr) {
        self.writers.remove(&address).into_iter().flatten().for_each(Waker::wake);
    }
}

impl AsyncUdpSocket for MeshSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let udp = self.udp.clone().map(AsyncUdpSocket::create_io_poller);
        Box::pin(Poller { udp, socket: self, waits_for: None })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.is_link(transmit.destination) {
            return self.send_on_link(transmit.destination, transmit);
        }
        // Without UDP, datagrams to UDP addresses are lost, as without a network.
        let Some(udp) = &self.udp else { return Ok(()) };
        if !self.is_udp_v4 {
            return udp.try_send(transmit);
        }
        udp.try_send(&Transmit {
            destination: Self::from_quic(transmit.destination),
            ecn: transmit.ecn,
            contents: transmit.contents,
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        })
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        {
            let mut links = self.links();
            while count < buffers.len().min(meta.len()) {
                let Some((from, datagram)) = links.inbox.pop_front() else { break };
                let length = datagram.len().min(buffers[count].len());
                buffers[count][..length].copy_from_slice(&datagram[..length]);
                meta[count] = RecvMeta { addr: from, len: length, stride: length, ecn: None, dst_ip: None };
                count += 1;
            }
            links.reader = Some(cx.waker().clone());
        }
        if count > 0 {
            return Poll::Ready(Ok(count));
        }
        let Some(udp) = &self.udp else { return Poll::Pending };
        let received = udp.poll_recv(cx, buffers, meta);
        if let Poll::Ready(Ok(count)) = received {
            meta[..count].iter_mut().for_each(|meta| meta.addr = Self::to_quic(meta.addr));
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.udp {
            Some(udp) => udp.local_addr().map(Self::to_quic),
            None => Ok(SocketAddr::new(Ipv6Addr::from_bits(u128::from(LINK_NET) << 64).into(), LINK_PORT)),
        }
    }

    fn max_transmit_segments(&self) -> usize {
        self.udp.as_ref().map_or(1, |udp| udp.max_transmit_segments())
    }

    fn max_receive_segments(&self) -> usize {
        self.udp.as_ref().map_or(1, |udp| udp.max_receive_segments())
    }

    fn may_fragment(&self) -> bool {
        self.udp.as_ref().is_none_or(|udp| udp.may_fragment())
    }
}

impl fmt::Debug for MeshSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeshSocket").field("udp", &self.udp).finish_non_exhaustive()
    }
}

/// Tells one connection when to try again: on the link that was full, else on UDP.
#[derive(Debug)]
struct Poller {
    udp: Option<Pin<Box<dyn UdpPoller>>>,
    socket: Arc<MeshSocket>,
    waits_for: Option<SocketAddr>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket = self.socket.clone();
        let mut links = socket.links();
        if let Some(blocked) = links.blocked.take() {
            self.waits_for = Some(blocked);
        }
        if let Some(address) = self.waits_for {
            if links.up.get(&address).is_some_and(|link| !link.has_room()) {
                let waiting = links.writers.entry(address).or_default();
                if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    waiting.push(cx.waker().clone());
                }
                return Poll::Pending;
            }
            self.waits_for = None;
        }
        drop(links);
        match &mut self.udp {
            Some(udp) => udp.as_mut().poll_writable(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}

/// [`LINK_PREFIX`] as one number.
const LINK_NET: u64 = 0xfd6f_686d_6c69_6e6b;
/// The port of every link's address; QUIC dials no port 0.
const LINK_PORT: u16 = 1;
