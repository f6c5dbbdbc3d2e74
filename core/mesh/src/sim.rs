//! A network in memory, on virtual time, by seed: loss, duplication, delay, reordering, partitions.
//!
//! Run it on tokio's current-thread runtime with paused time and give every endpoint a seed and a [`SimClock`]:
//! two runs with the same seeds then send the same bytes at the same instants, which [`SimNet::trace_hash`] shows.
//!
//! ```
//! # use ohmesh_mesh::{sim::{Faults, SimNet}, Endpoint};
//! # use ohmesh_units::SigningKey;
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let net = SimNet::new(7, Faults::default());
//! let socket = net.bind("10.0.0.1:4433".parse().unwrap());
//! let endpoint = Endpoint::builder(SigningKey::from_seed([1; 32])).seed([1; 32]).socket(socket).start().unwrap();
//! # drop(endpoint);
//! # });
//! ```

use crate::Clock;
use ohmesh_units::{Domain, Hash, Hasher, Timestamp};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// What goes wrong on the way. Chances are in thousandths of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults {
    /// Datagrams lost.
    pub loss_permille: u32,
    /// Datagrams that arrive twice.
    pub duplicate_permille: u32,
    /// Datagrams of which one bit is flipped.
    pub corrupt_permille: u32,
    /// The shortest way from end to end.
    pub latency_min: Duration,
    /// The longest; each datagram draws its own between the two, so they overtake each other.
    pub latency_max: Duration,
}

impl Default for Faults {
    /// A good network: nothing lost, nothing overtaken, 10 ms one way.
    fn default() -> Self {
        Self {
            loss_permille: 0,
            duplicate_permille: 0,
            corrupt_permille: 0,
            latency_min: Duration::from_millis(10),
            latency_max: Duration::from_millis(10),
        }
    }
}

impl Faults {
    /// A bad one: 10 % lost, 5 % twice, 1 % corrupt, 5 to 50 ms one way.
    pub fn harsh() -> Self {
        Self {
            loss_permille: 100,
            duplicate_permille: 50,
            corrupt_permille: 10,
            latency_min: Duration::from_millis(5),
            latency_max: Duration::from_millis(50),
        }
    }
}

/// A network. A handle: clones are the same network.
#[derive(Clone)]
pub struct SimNet(Arc<Mutex<Net>>);

struct Net {
    rng: ChaCha20Rng,
    faults: Faults,
    start: Instant,
    sequence: u64,
    hosts: BTreeMap<SocketAddr, Host>,
    cut: BTreeSet<(SocketAddr, SocketAddr)>,
    trace: Hasher,
    stats: SimStats,
}

/// What is on its way to one address, in the order of arrival.
#[derive(Default)]
struct Host {
    arriving: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
    generation: u64,
}

/// Counters of a simulated network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Datagrams given to the network.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lost by chance, by a partition, or because nobody listens.
    pub lost: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered with a bit flipped.
    pub corrupted: u64,
}

impl SimNet {
    /// An empty network. Its time begins now, so it is made inside the runtime.
    pub fn new(seed: u64, faults: Faults) -> Self {
        const TRACE: Domain = Domain::new("ohmesh/1 sim trace");
        Self(Arc::new(Mutex::new(Net {
            rng: ChaCha20Rng::seed_from_u64(seed),
            faults,
            start: Instant::now(),
            sequence: 0,
            hosts: BTreeMap::new(),
            cut: BTreeSet::new(),
            trace: TRACE.hasher(),
            stats: SimStats::default(),
        })))
    }

    /// A socket at `address`. Binding an address again takes it over, as a restarted process does: what was on its way
    /// to the old socket is lost.
    pub fn bind(&self, address: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let mut net = self.net();
        let generation = net.hosts.get(&address).map_or(0, |host| host.generation + 1);
        net.hosts.insert(address, Host { generation, ..Host::default() });
        drop(net);
        let alarm = Mutex::new(Box::pin(sleep_until(Instant::now())));
        Arc::new(SimSocket { net: self.clone(), address, generation, alarm })
    }

    /// From now on nothing passes between any of `left` and any of `right`, in either direction.
    pub fn partition(&self, left: &[SocketAddr], right: &[SocketAddr]) {
        for &a in left {
            for &b in right {
                self.cut(a, b);
                self.cut(b, a);
            }
        }
    }

    /// From now on nothing passes from `from` to `to`; the other direction stays.
    pub fn cut(&self, from: SocketAddr, to: SocketAddr) {
        self.net().cut.insert((from, to));
    }

    /// Ends every partition and cut.
    pub fn heal(&self) {
        self.net().cut.clear();
    }

    /// Changes what goes wrong, from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.net().faults = faults;
    }

    /// The hash of every datagram sent so far: when, from, to, its bytes and its fate.
    pub fn trace_hash(&self) -> Hash {
        self.net().trace.finish()
    }

    /// What has happened so far.
    pub fn stats(&self) -> SimStats {
        self.net().stats
    }

    fn net(&self) -> MutexGuard<'_, Net> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNet").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Net {
    fn send(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.stats.sent += 1;
        self.stats.bytes += datagram.len() as u64;
        // Every datagram draws the same number of times, so that one fault does not shift all later ones.
        let [loss, twice, corrupt] = std::array::from_fn(|_| self.rng.next_u32() % 1000);
        let flip = self.rng.next_u32();
        let delays = [self.delay(), self.delay()];
        let is_heard = self.hosts.contains_key(&to) && !self.cut.contains(&(from, to));
        let copies = match () {
            () if !is_heard || loss < self.faults.loss_permille => 0,
            () if twice < self.faults.duplicate_permille => 2,
            () => 1,
        };
        self.record(from, to, copies, datagram);
        if copies == 0 {
            self.stats.lost += 1;
            return;
        }
        let mut datagram = datagram.to_vec();
        if corrupt < self.faults.corrupt_permille && !datagram.is_empty() {
            let bit = usize::try_from(flip).unwrap_or(0) % (datagram.len() * 8);
            datagram[bit / 8] ^= 1 << (bit % 8);
            self.stats.corrupted += 1;
        }
        self.stats.duplicated += u64::from(copies == 2);
        for delay in &delays[..usize::from(copies)] {
            self.sequence += 1;
            let at = (Instant::now() + *delay, self.sequence);
            let Some(host) = self.hosts.get_mut(&to) else { return };
            if host.arriving.len() >= ARRIVING_MAX {
                self.stats.lost += 1;
                return;
            }
            host.arriving.insert(at, (from, datagram.clone()));
            if let Some(reader) = host.reader.take() {
                reader.wake();
            }
        }
    }

    fn delay(&mut self) -> Duration {
        let Faults { latency_min, latency_max, .. } = self.faults;
        let span = latency_max.saturating_sub(latency_min).as_micros();
        let drawn = u128::from(self.rng.next_u64()) % (span + 1);
        latency_min + Duration::from_micros(u64::try_from(drawn).unwrap_or(u64::MAX))
    }

    fn record(&mut self, from: SocketAddr, to: SocketAddr, copies: u8, datagram: &[u8]) {
        let elapsed = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let head = format!("{elapsed} {from} {to} {copies} {}\n", datagram.len());
        self.trace.update(head.as_bytes()).update(datagram);
    }
}

/// One address on a [`SimNet`].
struct SimSocket {
    net: SimNet,
    address: SocketAddr,
    generation: u64,
    alarm: Mutex<Pin<Box<Sleep>>>,
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut net = self.net.net();
        // A socket that was taken over says nothing more.
        if net.hosts.get(&self.address).is_some_and(|host| host.generation == self.generation) {
            let size = transmit.segment_size.unwrap_or(usize::MAX).max(1);
            for datagram in transmit.contents.chunks(size) {
                net.send(self.address, transmit.destination, datagram);
            }
        }
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut alarm = self.alarm.lock().unwrap_or_else(PoisonError::into_inner);
        let mut net = self.net.net();
        let Some(host) = net.hosts.get_mut(&self.address) else { return Poll::Pending };
        if host.generation != self.generation {
            return Poll::Pending;
        }
        loop {
            let now = Instant::now();
            let mut count = 0;
            while count < buffers.len().min(meta.len()) {
                let Some(next) = host.arriving.first_entry().filter(|next| next.key().0 <= now) else {
                    break;
                };
                let (from, datagram) = next.remove();
                let length = datagram.len().min(buffers[count].len());
                buffers[count][..length].copy_from_slice(&datagram[..length]);
                meta[count] = RecvMeta { addr: from, len: length, stride: length, ecn: None, dst_ip: None };
                count += 1;
            }
            if count > 0 {
                return Poll::Ready(Ok(count));
            }
            host.reader = Some(cx.waker().clone());
            let Some(((at, _), _)) = host.arriving.first_key_value() else { return Poll::Pending };
            alarm.as_mut().reset(*at);
            if alarm.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSocket").field("address", &self.address).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Wall time that follows virtual time, and jumps when told to, as real clocks do.
#[derive(Debug)]
pub struct SimClock {
    wall_start: Timestamp,
    start: Instant,
    skew_ms: AtomicI64,
}

impl SimClock {
    /// A clock that shows `wall_start` now. Made inside the runtime.
    pub fn new(wall_start: Timestamp) -> Arc<Self> {
        Arc::new(Self { wall_start, start: Instant::now(), skew_ms: AtomicI64::new(0) })
    }

    /// Sets the clock ahead by `skew_ms`, or back if it is negative.
    pub fn jump(&self, skew_ms: i64) {
        self.skew_ms.fetch_add(skew_ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let true_time = self.wall_start.as_millis().saturating_add(elapsed);
        Timestamp::from_millis(true_time.saturating_add_signed(self.skew_ms.load(Ordering::Relaxed)))
    }
}

/// Datagrams on their way to one address: 8,192, about 10 MB; more are lost.
const ARRIVING_MAX: usize = 8192;
