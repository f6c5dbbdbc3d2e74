//! Simulated chargers: genuine OCPP WebSocket clients over TCP, one task each.
//!
//! The WebSocket is driven on a socket that does not block: when it has nothing to read, the task waits for the socket, the
//! charger's timer or a car, whichever comes first.

use super::clock::FastClock;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use eyre::{Context, Result, bail, eyre};
use ohmesh_mesh::Clock;
use ohmesh_ocpp::{
    ChargerName,
    client::{Car, ChargePoint, ClientAction, ClientEvent},
};
use ohmesh_units::{Energy, Timestamp};
use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tokio_tungstenite::tungstenite::{
    Error, HandshakeError, Message, WebSocket, client::IntoClientRequest, client::client,
};

/// A charger that is connected. Dropping it pulls its plug.
pub(super) struct Charger {
    orders: mpsc::Sender<Order>,
    task: AbortHandle,
}

/// What people do at a charger.
enum Order {
    /// Plug a car in; answered with what its session has counted when it is full.
    PlugIn { evse: u16, car: Car, counted: oneshot::Sender<Energy> },
    /// Take the car away.
    Unplug { evse: u16 },
}

impl Charger {
    /// Connects as a charger would: `ws://ADDRESS/ocpp/NAME`, with its password and its version of OCPP.
    pub(super) async fn connect(
        address: SocketAddr,
        name: &ChargerName,
        password: &str,
        point: ChargePoint,
        clock: Arc<FastClock>,
    ) -> Result<Self> {
        let basic = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
        let mut request = format!("ws://{address}/ocpp/{name}").into_client_request()?;
        request.headers_mut().insert("authorization", basic.parse()?);
        request.headers_mut().insert("sec-websocket-protocol", point.version().subprotocol().parse()?);
        let stream = Arc::new(TcpStream::connect(address).await?);
        stream.set_nodelay(true)?;
        let mut shaking = client(request, Unblocked(stream.clone()));
        let socket = loop {
            match shaking {
                Ok((socket, _)) => break socket,
                Err(HandshakeError::Failure(error)) => return Err(error).context(format!("charger {name}")),
                Err(HandshakeError::Interrupted(middle)) => {
                    stream.readable().await?;
                    shaking = middle.handshake();
                }
            }
        };
        let (orders, waiting) = mpsc::channel(ORDERS);
        let site = Site { point, socket, stream, clock, timer: None, cars: BTreeMap::new() };
        let task = tokio::spawn(site.run(waiting)).abort_handle();
        Ok(Self { orders, task })
    }

    /// Plugs a car in, lets it charge and takes it away; what the charger's meter has counted.
    pub(super) async fn charge(&self, evse: u16, car: Car) -> Result<Energy> {
        let (counted, energy) = oneshot::channel();
        let gone = || eyre!("the charger has gone");
        self.orders.send(Order::PlugIn { evse, car, counted }).await.map_err(|_| gone())?;
        energy.await.map_err(|_| gone())
    }

    /// Takes a car away that does not charge.
    pub(super) async fn unplug(&self, evse: u16) {
        // A charger that has gone has no car.
        let _ = self.orders.send(Order::Unplug { evse }).await;
    }
}

impl Drop for Charger {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Site {
    point: ChargePoint,
    socket: WebSocket<Unblocked>,
    stream: Arc<TcpStream>,
    clock: Arc<FastClock>,
    timer: Option<Timestamp>,
    /// Who waits for the car at which outlet.
    cars: BTreeMap<u16, oneshot::Sender<Energy>>,
}

impl Site {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        if let Err(error) = self.work(&mut orders).await {
            tracing::warn!(%error, "a simulated charger stops");
        }
    }

    async fn work(&mut self, orders: &mut mpsc::Receiver<Order>) -> Result<()> {
        let actions = self.point.on_connected(self.clock.now());
        self.perform(actions).await?;
        loop {
            while let Some(text) = self.read()? {
                let actions = self.point.on_text(self.clock.now(), &text);
                self.perform(actions).await?;
            }
            let wait = self.timer.map_or(FAR, |at| self.clock.until(at));
            tokio::select! {
                ready = self.stream.readable() => ready?,
                () = tokio::time::sleep(wait) => {
                    self.timer = None;
                    let actions = self.point.on_timer(self.clock.now());
                    self.perform(actions).await?;
                }
                order = orders.recv() => match order {
                    Some(Order::PlugIn { evse, car, counted }) => {
                        self.cars.insert(evse, counted);
                        let actions = self.point.plug_in(self.clock.now(), evse, car)?;
                        self.perform(actions).await?;
                    }
                    Some(Order::Unplug { evse }) => {
                        if self.cars.remove(&evse).is_some() {
                            let actions = self.point.unplug(self.clock.now(), evse)?;
                            self.perform(actions).await?;
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// The next text, if one has come.
    fn read(&mut self) -> Result<Option<String>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text.to_string())),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn perform(&mut self, actions: Vec<ClientAction>) -> Result<()> {
        let mut waiting = std::collections::VecDeque::from(actions);
        while let Some(action) = waiting.pop_front() {
            match action {
                ClientAction::Send(text) => self.send(text).await?,
                ClientAction::SetTimer(at) => self.timer = Some(at),
                ClientAction::Reconnect => bail!("it is told to restart"),
                ClientAction::Event(ClientEvent::Fault(fault)) => {
                    bail!("its agent departs from OCPP: {fault}")
                }
                // The car is full, and its driver takes it away.
                ClientAction::Event(ClientEvent::Stopped { evse, energy }) => {
                    if let Some(counted) = self.cars.remove(&evse) {
                        // A driver that has given up asks no more.
                        let _ = counted.send(energy);
                        waiting.extend(self.point.unplug(self.clock.now(), evse)?);
                    }
                }
                ClientAction::Event(_) => {}
            }
        }
        Ok(())
    }

    async fn send(&mut self, text: String) -> Result<()> {
        let mut sent = self.socket.send(Message::Text(text.into()));
        loop {
            match sent {
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                    sent = self.socket.flush();
                }
                sent => return Ok(sent?),
            }
        }
    }
}

/// A socket that says so when it would have to wait.
struct Unblocked(Arc<TcpStream>);

impl Read for Unblocked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Unblocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Orders that wait for a charger: one for each outlet and some.
const ORDERS: usize = 16;
/// When no timer is set.
const FAR: Duration = Duration::from_secs(3600);
