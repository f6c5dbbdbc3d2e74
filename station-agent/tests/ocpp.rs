//! The OCPP server over real WebSockets: whole sessions by simulated chargers of both versions, those who must stay
//! outside, broken frames, and kill -9 in the middle of a charge.

#![allow(clippy::unwrap_used)]

use futures_util::{SinkExt, StreamExt};
use ohmesh_mesh::{Clock, SystemClock};
use ohmesh_ocpp::{
    ChargerName, Version,
    client::{Car, ChargePoint, ClientAction, ClientEvent, CurveStep, Model},
    session::{Command, Event, EvseState, Outcome, Outlet},
};
use ohmesh_units::{Energy, Power, Timestamp, ZoneId};
use station_agent::{
    charging::{
        ChargerStatus, Chargers, ChargingError, CommandFailed, FRAME_BYTES_MAX, Journal, PasswordHash,
        Registered, Server,
    },
    disk::{Disk, Folder, Memory},
    key_file, zone_file,
};
use std::{
    fmt::Debug,
    net::SocketAddr,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message, client::IntoClientRequest, http::StatusCode, protocol::frame::coding::CloseCode,
    },
};

/// Long enough for a machine that does ten other things; nothing here is measured in time.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long a socket is listened to before the simulated clock goes on.
const PAUSE: Duration = Duration::from_millis(20);

const PASSWORD: &str = "correct-horse-20char";
const RATED: Power = Power::from_w(22_000);
const ZONE: ZoneId = ZoneId([7; 32]);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A clock that goes only when a test says so.
#[derive(Debug)]
struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1_795_300_496_789)))
    }

    fn go_to(&self, at: Timestamp) {
        self.0.fetch_max(at.as_millis(), Ordering::SeqCst);
    }

    fn pass(&self, duration: Duration) {
        self.go_to(self.now().checked_add(duration).unwrap());
    }
}

fn name(text: &str) -> ChargerName {
    ChargerName::new(text).unwrap()
}

fn registered(text: &str) -> Registered {
    Registered {
        name: name(text),
        password: PasswordHash::of(&name(text), PASSWORD.as_bytes()),
        outlets: vec![Outlet { evse: 1, rated: RATED }],
        cards: vec!["CARD".to_owned()],
    }
}

async fn serve(disk: impl Disk, clock: Arc<TestClock>) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chargers = ["CP16", "CP201"].map(registered).to_vec();
    Server::builder(chargers, clock, [9; 32]).start(listener, disk, ZONE).unwrap()
}

/// Connects; the status, if it is not let in.
async fn enter(
    address: SocketAddr,
    path: &str,
    credentials: Option<&str>,
    protocol: Option<&str>,
) -> Result<Socket, (StatusCode, String)> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    if let Some(credentials) = credentials {
        let basic = format!("Basic {}", STANDARD.encode(credentials));
        request.headers_mut().insert("authorization", basic.parse().unwrap());
    }
    if let Some(protocol) = protocol {
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
    }
    match connect_async(request).await {
        Ok((socket, response)) => {
            let chosen =
                response.headers().get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
            assert_eq!(chosen, protocol.map(|_| if path.contains("201") { "ocpp2.0.1" } else { "ocpp1.6" }));
            Ok(socket)
        }
        Err(Error::Http(response)) => {
            let challenge = response.headers().get("www-authenticate").map(|value| value.to_str().unwrap());
            Err((response.status(), challenge.unwrap_or_default().to_owned()))
        }
        Err(error) => panic!("{error}"),
    }
}

async fn enter_as(address: SocketAddr, charger: &str, version: Version) -> Socket {
    let credentials = format!("{charger}:{PASSWORD}");
    let path = format!("/ocpp/{charger}");
    enter(address, &path, Some(&credentials), Some(version.subprotocol())).await.unwrap()
}

/// The next text on a socket; the code it was closed with, if it was.
async fn text(socket: &mut Socket) -> Result<String, Option<CloseCode>> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("an answer or an end") {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Close(frame))) => return Err(frame.map(|frame| frame.code)),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Err(None),
        }
    }
}

async fn say(socket: &mut Socket, text: impl Into<String>) {
    socket.send(Message::Text(text.into().into())).await.unwrap();
}

async fn heartbeat(socket: &mut Socket) {
    say(socket, r#"[2,"beat","Heartbeat",{}]"#).await;
    let answer = text(socket).await.unwrap();
    assert!(answer.starts_with(r#"[3,"beat",{"currentTime""#), "{answer}");
}

/// Waits until a charger's status is good.
async fn until(chargers: &Chargers, charger: &str, good: impl Fn(&ChargerStatus) -> bool) -> ChargerStatus {
    let mut status = chargers.watch(&name(charger)).unwrap();
    let waited = tokio::time::timeout(PATIENCE, status.wait_for(good)).await;
    match waited {
        Ok(status) => status.unwrap().clone(),
        Err(_) => panic!("{charger}: {:?}", chargers.status()[&name(charger)]),
    }
}

/// A simulated charger behind a real socket.
struct Sim {
    point: ChargePoint,
    socket: Socket,
    clock: Arc<dyn Clock>,
    /// Goes on by itself when nothing is on the way.
    jumps: Option<Arc<TestClock>>,
    timer: Option<Timestamp>,
    events: Vec<ClientEvent>,
}

fn charge_point(version: Version, rated: Power, meter_every: Duration) -> ChargePoint {
    let model = Model {
        vendor: "Ohm".into(),
        model: "Sim".into(),
        serial: "SIM-0001".into(),
        outlets: vec![(1, rated, Energy::from_wh(910_000))],
        meter_every,
    };
    ChargePoint::new(model, version).unwrap()
}

fn car(wants_wh: u64, power: Power) -> Car {
    Car {
        curve: vec![CurveStep { lasts: Duration::from_secs(24 * 3600), power }],
        wants: Energy::from_wh(wants_wh),
    }
}

impl Sim {
    async fn connect(server: &Server, charger: &str, version: Version, clock: &Arc<TestClock>) -> Self {
        let socket = enter_as(server.address(), charger, version).await;
        let point = charge_point(version, RATED, Duration::from_secs(60));
        let mut sim = Self {
            point,
            socket,
            clock: clock.clone(),
            jumps: Some(clock.clone()),
            timer: None,
            events: Vec::new(),
        };
        sim.on_connected().await;
        sim
    }

    async fn on_connected(&mut self) {
        let actions = self.point.on_connected(self.clock.now());
        self.perform(actions).await;
    }

    async fn perform(&mut self, actions: Vec<ClientAction>) {
        for action in actions {
            match action {
                ClientAction::Send(text) => self.socket.send(Message::Text(text.into())).await.unwrap(),
                ClientAction::SetTimer(at) => self.timer = Some(at),
                ClientAction::Event(event) => {
                    assert!(!matches!(event, ClientEvent::Fault(_)), "{event:?}");
                    self.events.push(event);
                }
                ClientAction::Reconnect => panic!("nobody asked for a restart"),
            }
        }
    }

    /// One message, or one step of time if none comes and none is waited for.
    async fn step(&mut self, time_goes_on: bool) {
        match tokio::time::timeout(PAUSE, self.socket.next()).await {
            Ok(Some(Ok(Message::Text(text)))) => {
                let actions = self.point.on_text(self.clock.now(), &text);
                self.perform(actions).await;
            }
            Ok(Some(Ok(_))) => {}
            Ok(end) => panic!("the connection ended: {end:?}"),
            Err(_) => {
                if let (Some(clock), Some(at), true) =
                    (&self.jumps, self.timer, time_goes_on && self.point.is_quiet())
                {
                    clock.go_to(at);
                }
                if self.timer.is_some_and(|at| at <= self.clock.now()) {
                    self.timer = None;
                    let actions = self.point.on_timer(self.clock.now());
                    self.perform(actions).await;
                }
            }
        }
    }

    async fn until(&mut self, what: &str, good: impl Fn(&mut Self) -> bool) {
        let start = Instant::now();
        while !good(self) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.events);
            self.step(true).await;
        }
    }

    /// Answers until something else is done; time stands.
    async fn while_waiting<T: Debug>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            tokio::select! {
                biased;
                done = &mut done => return done,
                () = self.step(false) => {}
            }
        }
    }

    async fn plug_in(&mut self, car: Car) {
        let actions = self.point.plug_in(self.clock.now(), 1, car).unwrap();
        self.perform(actions).await;
    }

    fn stopped(&self) -> Option<Energy> {
        self.events.iter().find_map(|event| match event {
            ClientEvent::Stopped { energy, .. } => Some(*energy),
            _ => None,
        })
    }

    fn acknowledged(&self) -> bool {
        self.events.contains(&ClientEvent::Acknowledged { evse: 1 })
    }
}

/// Reserve, remote start, meter values, limit, remote stop; then a card at the reader and a car that gets full.
async fn whole_sessions(charger: &str, version: Version) {
    let (clock, disk) = (TestClock::new(), Memory::default());
    let server = serve(disk.clone(), clock.clone()).await;
    let (chargers, me) = (server.chargers().clone(), name(charger));
    let mut events = chargers.events();
    let mut sim = Sim::connect(&server, charger, version, &clock).await;
    sim.until("accepted", |sim: &mut Sim| {
        sim.events.contains(&ClientEvent::Accepted) && sim.point.is_quiet()
    })
    .await;
    let free = |status: &ChargerStatus| status.evses[0].state == EvseState::Available;
    assert_eq!(until(&chargers, charger, free).await.connected, Some(version));

    let until_when = clock.now().checked_add(Duration::from_secs(900)).unwrap();
    let reserve = Command::Reserve { evse: 1, reservation: 7, token: "DRIVER".into(), until: until_when };
    assert_eq!(sim.while_waiting(chargers.command(&me, reserve)).await, Ok(Outcome::Accepted));
    sim.plug_in(car(40_000, Power::from_w(20_000))).await;
    let start = Command::Start { evse: 1, token: "DRIVER".into(), limit: Some(Power::from_w(11_000)) };
    assert_eq!(sim.while_waiting(chargers.command(&me, start)).await, Ok(Outcome::Accepted));
    let open = || chargers.status()[&me].open.first().cloned();
    let half = Energy::from_wh(500);
    sim.until("half a kilowatt-hour", |_| open().is_some_and(|open| open.energy >= half)).await;
    let open = open().unwrap();
    assert!(open.authorized && open.token.as_deref() == Some("DRIVER"), "{open:?}");

    let limit = Command::Limit { evse: 1, transaction: Some(open.key.clone()), power: Power::from_w(4_200) };
    assert_eq!(sim.while_waiting(chargers.command(&me, limit)).await, Ok(Outcome::Accepted));
    let stop = Command::Stop { transaction: open.key.clone() };
    assert_eq!(sim.while_waiting(chargers.command(&me, stop)).await, Ok(Outcome::Accepted));
    sim.until("stop acknowledged", |sim| sim.acknowledged()).await;
    let flowed = sim.stopped().unwrap();
    let ended = until(&chargers, charger, |status| status.ended.len() == 1).await.ended.remove(0);
    assert_eq!((ended.energy, ended.key, ended.authorized), (flowed, open.key, true));
    assert!(flowed >= half);
    let actions = sim.point.unplug(clock.now(), 1).unwrap();
    sim.perform(actions).await;
    sim.events.clear();

    sim.plug_in(car(1_000, Power::from_w(20_000))).await;
    let actions = sim.point.present(clock.now(), 1, "CARD").unwrap();
    sim.perform(actions).await;
    sim.until("full", |sim| sim.acknowledged()).await;
    let status = until(&chargers, charger, |status| status.ended.len() == 2).await;
    assert_eq!(sim.stopped(), Some(Energy::from_wh(1_000)));
    assert_eq!(status.ended[1].energy, Energy::from_wh(1_000));
    assert_eq!((status.deviations, status.open.len()), (0, 0));

    // Everything was told, in order, and everything was durable.
    let mut told = Vec::new();
    while told.iter().filter(|event| matches!(event, Event::TransactionStopped { .. })).count() < 2 {
        let (from, event) = events.next().await.unwrap().unwrap();
        assert_eq!(from, me);
        told.push(event);
    }
    assert!(matches!(told[0], Event::Online { .. }));
    assert!(told.iter().any(|event| matches!(event, Event::PluggedIn { evse: 1, .. })));
    assert!(told.iter().filter(|event| matches!(event, Event::Metered { .. })).count() > 2);
    disk.lose_unsynced();
    let (_, past) = Journal::open(disk, ZONE).unwrap();
    assert_eq!(Vec::from(past[&me].ended.clone()), status.ended);
    server.stop().await.unwrap();
}

#[tokio::test]
async fn whole_sessions_in_1_6() {
    whole_sessions("CP16", Version::V16).await;
}

#[tokio::test]
async fn whole_sessions_in_2_0_1() {
    whole_sessions("CP201", Version::V201).await;
}

#[tokio::test]
async fn strangers_stay_outside_before_the_upgrade() {
    let clock = TestClock::new();
    let server = serve(Memory::default(), clock.clone()).await;
    let address = server.address();
    let right = format!("CP16:{PASSWORD}");
    let unauthorized = || (StatusCode::UNAUTHORIZED, "Basic realm=\"ocpp\"".to_owned());
    let outside = async |path: &str, credentials: Option<&str>, protocol: Option<&str>| {
        enter(address, path, credentials, protocol).await.expect_err("outside")
    };
    let v16 = Some("ocpp1.6");
    assert_eq!(outside("/ocpp/CP16", None, v16).await, unauthorized(), "no password");
    assert_eq!(outside("/ocpp/CP16", Some("CP16:wrong"), v16).await, unauthorized(), "a wrong password");
    assert_eq!(outside("/ocpp/CP201", Some(&right), v16).await, unauthorized(), "another charger's path");
    let nobody = format!("CP9:{PASSWORD}");
    assert_eq!(outside("/ocpp/CP9", Some(&nobody), v16).await, unauthorized(), "not registered");
    let bad = |status| (status, String::new());
    assert_eq!(outside("/ocpp/a%2Fb", Some(&right), v16).await, bad(StatusCode::BAD_REQUEST), "no name");
    assert_eq!(outside("/ocpp/", Some(&right), v16).await, bad(StatusCode::NOT_FOUND), "no path");
    assert_eq!(outside("/ocpp/CP16", Some(&right), Some("ocpp1.5")).await, bad(StatusCode::BAD_REQUEST));
    // A wrong password is told before a wrong version is.
    assert_eq!(outside("/ocpp/CP16", Some("CP16:wrong"), Some("ocpp1.5")).await, unauthorized());
    assert!(server.chargers().status().values().all(|status| status.connected.is_none()), "nobody got in");

    // Old chargers name no version and get 1.6, without a header that they did not ask for; some end with a slash.
    let mut old = enter(address, "/ocpp/CP16/", Some(&right), None).await.unwrap();
    heartbeat(&mut old).await;
    until(server.chargers(), "CP16", |status| status.connected == Some(Version::V16)).await;
    server.stop().await.unwrap();
    assert_eq!(text(&mut old).await, Err(Some(CloseCode::Away)));
}

#[tokio::test]
async fn guessing_passwords_locks_the_guesser_out_for_a_while() {
    let clock = TestClock::new();
    let server = serve(Memory::default(), clock.clone()).await;
    let address = server.address();
    let right = format!("CP16:{PASSWORD}");
    let knock = async |credentials: &str| {
        enter(address, "/ocpp/CP16", Some(credentials), Some("ocpp1.6")).await.map_err(|(status, _)| status)
    };
    let mut inside = knock(&right).await.unwrap();
    for _ in 0..5 {
        assert_eq!(knock("CP16:guess").await.err(), Some(StatusCode::UNAUTHORIZED));
    }
    assert_eq!(knock(&right).await.err(), Some(StatusCode::TOO_MANY_REQUESTS), "even with the right one");
    heartbeat(&mut inside).await;
    heartbeat(&mut enter_as(address, "CP201", Version::V201).await).await;
    clock.pass(Duration::from_secs(60));
    heartbeat(&mut knock(&right).await.unwrap()).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn broken_frames_harm_nobody() {
    let clock = TestClock::new();
    let disk = Memory::default();
    let server = serve(disk.clone(), clock.clone()).await;
    let mut old = enter_as(server.address(), "CP16", Version::V16).await;
    let mut new = enter_as(server.address(), "CP201", Version::V201).await;

    // 1.6 has no answer to what cannot be read; 2.0.1 has.
    say(&mut old, r#"[2,"x","#).await;
    heartbeat(&mut old).await;
    say(&mut new, r#"[2,"x","#).await;
    assert!(text(&mut new).await.unwrap().starts_with(r#"[4,"-1","RpcFrameworkError""#));
    say(&mut old, r#"[2,"x","Dance",{}]"#).await;
    assert!(text(&mut old).await.unwrap().starts_with(r#"[4,"x","NotImplemented""#));
    say(&mut old, "").await;
    heartbeat(&mut old).await;
    let deep = "[".repeat(100_000);
    say(&mut old, deep.as_str()).await;
    heartbeat(&mut old).await;
    until(server.chargers(), "CP16", |status| status.deviations == 4).await;
    until(server.chargers(), "CP201", |status| status.deviations == 1).await;

    // Too large by one byte: that connection ends, and may come again; the others do not notice.
    let beat = |bytes: usize| {
        let rest = r#"[2,"beat","Heartbeat",{}]"#;
        " ".repeat(bytes - rest.len()) + rest
    };
    say(&mut old, beat(FRAME_BYTES_MAX)).await;
    assert!(text(&mut old).await.unwrap().starts_with(r#"[3,"beat""#));
    // The socket may be gone before all of it is written.
    let _ = old.send(Message::Text(beat(FRAME_BYTES_MAX + 1).into())).await;
    let end = text(&mut old).await;
    assert!(matches!(end, Err(Some(CloseCode::Size) | None)), "{end:?}");
    until(server.chargers(), "CP16", |status| status.connected.is_none()).await;
    heartbeat(&mut new).await;
    new.send(Message::Binary(vec![0; 10].into())).await.unwrap();
    assert_eq!(text(&mut new).await, Err(Some(CloseCode::Unsupported)));
    heartbeat(&mut enter_as(server.address(), "CP16", Version::V16).await).await;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_connection_displaces_the_first() {
    let clock = TestClock::new();
    let server = serve(Memory::default(), clock.clone()).await;
    let (chargers, me) = (server.chargers().clone(), name("CP16"));
    let mut first = enter_as(server.address(), "CP16", Version::V16).await;
    heartbeat(&mut first).await;
    let waiting = {
        let (chargers, me) = (chargers.clone(), me.clone());
        tokio::spawn(async move { chargers.command(&me, Command::Reset { hard: false }).await })
    };
    let reset = text(&mut first).await.unwrap();
    assert!(reset.contains("Reset"), "{reset}");
    let mut second = enter_as(server.address(), "CP16", Version::V16).await;
    assert_eq!(text(&mut first).await, Err(Some(CloseCode::Policy)));
    assert_eq!(waiting.await.unwrap(), Ok(Outcome::Disconnected), "what the first was asked has an end");
    heartbeat(&mut second).await;
    // The end of the first, which is heard late, does not take the second with it.
    drop(first);
    heartbeat(&mut second).await;
    assert_eq!(chargers.status()[&me].connected, Some(Version::V16));

    let unknown = chargers.command(&name("CP9"), Command::Reset { hard: false }).await;
    assert_eq!(unknown, Err(CommandFailed::UnknownCharger(name("CP9"))));
    let offline = chargers.command(&name("CP201"), Command::Reset { hard: false }).await;
    assert!(matches!(offline, Err(CommandFailed::NotTaken { .. })), "{offline:?}");
    server.stop().await.unwrap();
    let stopped = chargers.command(&me, Command::Reset { hard: false }).await;
    assert_eq!(stopped, Err(CommandFailed::Stopped(me)));
}

/// A disk that stops taking writes.
#[derive(Clone)]
struct Failing(Memory, Arc<AtomicBool>);

impl Disk for Failing {
    fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        self.0.read(name)
    }
    fn read_at(&self, name: &str, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        self.0.read_at(name, offset, length)
    }
    fn append(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.0.append(name, bytes)
    }
    fn sync(&mut self, name: &str) -> std::io::Result<()> {
        if self.1.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.0.sync(name)
    }
    fn truncate(&mut self, name: &str, length: u64) -> std::io::Result<()> {
        self.0.truncate(name, length)
    }
    fn replace(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.0.replace(name, bytes)
    }
}

#[tokio::test]
async fn nothing_is_acknowledged_that_is_not_durable() {
    let (clock, broken) = (TestClock::new(), Arc::new(AtomicBool::new(false)));
    let mut server = serve(Failing(Memory::default(), broken.clone()), clock.clone()).await;
    let mut socket = enter_as(server.address(), "CP16", Version::V16).await;
    let start = |id: &str, at: &str| {
        format!(
            r#"[2,"{id}","StartTransaction",{{"connectorId":1,"idTag":"CARD","meterStart":5,"timestamp":"{at}"}}]"#
        )
    };
    let at = clock.now().to_string();
    say(&mut socket, start("1", &at)).await;
    let answer = text(&mut socket).await.unwrap();
    assert!(answer.starts_with(r#"[3,"1","#) && answer.contains("Accepted"), "{answer}");
    broken.store(true, Ordering::SeqCst);
    say(&mut socket, r#"[2,"2","MeterValues",{"connectorId":1,"meterValue":[]}]"#).await;
    assert_eq!(text(&mut socket).await, Err(Some(CloseCode::Away)), "no answer, but the end");
    let failed = server.finished().await;
    assert!(matches!(failed, Err(ChargingError::Journal(_))), "{failed:?}");
    assert!(failed.unwrap_err().to_string().contains("charging.log"));
}

#[tokio::test]
async fn a_start_that_is_sent_again_after_a_power_cut_is_the_same_transaction() {
    let (clock, disk) = (TestClock::new(), Memory::default());
    let start = format!(
        r#"[2,"1","StartTransaction",{{"connectorId":1,"idTag":"CARD","meterStart":5,"timestamp":"{}"}}]"#,
        clock.now()
    );
    let mut answers = Vec::new();
    for _ in 0..2 {
        let server = serve(disk.clone(), clock.clone()).await;
        let mut socket = enter_as(server.address(), "CP16", Version::V16).await;
        say(&mut socket, start.as_str()).await;
        answers.push(text(&mut socket).await.unwrap());
        assert_eq!(server.chargers().status()[&name("CP16")].open.len(), 1);
        server.stop().await.unwrap();
        disk.lose_unsynced();
        clock.pass(Duration::from_secs(30));
    }
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn an_end_that_is_sent_again_after_a_power_cut_is_billed_once() {
    let (clock, disk) = (TestClock::new(), Memory::default());
    let event = |kind: &str, number: u8, register: u32, at: Timestamp| {
        format!(
            r#"[2,"{number}","TransactionEvent",{{"eventType":"{kind}","timestamp":"{at}","triggerReason":"Authorized","seqNo":{number},"transactionInfo":{{"transactionId":"abc"}},"evse":{{"id":1,"connectorId":1}},"idToken":{{"idToken":"CARD","type":"ISO14443"}},"meterValue":[{{"timestamp":"{at}","sampledValue":[{{"value":{register},"measurand":"Energy.Active.Import.Register","unitOfMeasure":{{"unit":"Wh"}}}}]}}]}}]"#
        )
    };
    let server = serve(disk.clone(), clock.clone()).await;
    let mut socket = enter_as(server.address(), "CP201", Version::V201).await;
    say(&mut socket, event("Started", 0, 1_000, clock.now())).await;
    text(&mut socket).await.unwrap();
    clock.pass(Duration::from_secs(360));
    let end = event("Ended", 1, 2_500, clock.now());
    say(&mut socket, end.as_str()).await;
    text(&mut socket).await.unwrap();
    server.stop().await.unwrap();

    let server = serve(disk.clone(), clock.clone()).await;
    let mut events = server.chargers().events();
    let mut socket = enter_as(server.address(), "CP201", Version::V201).await;
    say(&mut socket, end.as_str()).await;
    assert!(text(&mut socket).await.unwrap().starts_with(r#"[3,"1","#), "it is answered");
    heartbeat(&mut socket).await;
    let status = until(server.chargers(), "CP201", |status| status.deviations > 0).await;
    assert_eq!(status.ended.iter().map(|ended| ended.energy.as_wh()).collect::<Vec<_>>(), [1_500]);
    assert!(status.open.is_empty());
    server.stop().await.unwrap();
    while let Some((_, event)) = events.next().await.unwrap() {
        assert!(!matches!(event, Event::TransactionStopped { .. }), "{event:?}");
    }
}

/// A `station-agent run` in a folder, and where its chargers connect.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent(args: &[&str], folder: &Path) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_station-agent"))
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Process {
    async fn start(folder: &Path, log: &str) -> Self {
        let path = folder.join(log);
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_station-agent"))
            .arg("run")
            .current_dir(folder)
            .stderr(Stdio::from(std::fs::File::create(&path).unwrap()))
            .spawn()
            .unwrap();
        let mut process = Self { child, address: SocketAddr::from(([0, 0, 0, 0], 0)) };
        let start = Instant::now();
        loop {
            let text = std::fs::read_to_string(&path).unwrap();
            let found = text.split_once("ws://").and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
            if let Some(address) = found {
                process.address = address;
                return process;
            }
            assert!(start.elapsed() < PATIENCE && process.child.try_wait().unwrap().is_none(), "{text}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// An agent's folder: one validator, one charger `CP1` with an outlet of 300 kW.
fn one_agent(folder: &Path) -> String {
    agent(&["key", "new", "agent.key"], folder);
    let key = key_file::read(&folder.join("agent.key")).unwrap().public().to_string();
    let mut new = vec!["zone", "new", "zone.toml", "--name", "Yard", "--address", "127.0.0.1:1"];
    new.extend(["--treasurer", &key, "--distributor", &key]);
    new.extend(["--corner", "52.3,13.0", "--corner", "52.7,13.0", "--corner", "52.5,13.8"]);
    agent(&new, folder);
    let made: serde_json::Value =
        serde_json::from_str(&agent(&["charger", "password", "CP1", "--json"], folder)).unwrap();
    let config = format!(
        "listen = \"127.0.0.1:0\"\nocpp_listen = \"127.0.0.1:0\"\n[[charger]]\nname = \"CP1\"\n\
         password_hash = {}\noutlets = [{{ evse = 1, power_w = 300000 }}]\ncards = [\"CARD\"]\n",
        made["password_hash"]
    );
    std::fs::write(folder.join("agent.toml"), config).unwrap();
    agent(&["check-config"], folder);
    made["password"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_operator_reserves_starts_and_stops_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let password = one_agent(folder.path());
    let call = |args: &[&str]| {
        let (folder, args) =
            (folder.path().to_owned(), args.iter().map(|arg| (*arg).to_owned()).collect::<Vec<_>>());
        let done = tokio::task::spawn_blocking(move || {
            let mut agent = std::process::Command::new(env!("CARGO_BIN_EXE_station-agent"));
            let output = agent.arg("charger").args(&args).current_dir(folder).output().unwrap();
            (
                output.status.code(),
                String::from_utf8(if output.status.success() { output.stdout } else { output.stderr })
                    .unwrap(),
            )
        });
        async { done.await.unwrap() }
    };
    let (code, error) = call(&["list"]).await;
    assert!(code == Some(1) && error.contains("control.sock"), "no agent runs: {error}");
    let process = Process::start(folder.path(), "log").await;
    assert_eq!(call(&["list"]).await, (Some(0), "CP1  not connected\n  EVSE 1  Unknown\n".to_owned()));
    let socket = enter(process.address, "/ocpp/CP1", Some(&format!("CP1:{password}")), Some("ocpp1.6")).await;
    let mut sim = Sim {
        point: charge_point(Version::V16, Power::from_w(300_000), Duration::from_secs(1)),
        socket: socket.unwrap(),
        clock: Arc::new(SystemClock),
        jumps: None,
        timer: None,
        events: Vec::new(),
    };
    sim.on_connected().await;
    sim.until("quiet", |sim| sim.point.is_quiet()).await;
    let accepted = (Some(0), "Accepted\n".to_owned());
    let reserve = call(&["reserve", "CP1", "--evse", "1", "--token", "DRIVER"]);
    assert_eq!(sim.while_waiting(reserve).await, accepted);
    sim.plug_in(car(1_000_000, Power::from_w(150_000))).await;
    let start = call(&["start", "CP1", "--evse", "1", "--token", "DRIVER", "--limit-w", "100000"]);
    assert_eq!(sim.while_waiting(start).await, accepted);
    sim.until("started", |sim| {
        sim.events.contains(&ClientEvent::Started { evse: 1 }) && sim.point.is_quiet()
    })
    .await;
    let (_, listed) = sim.while_waiting(call(&["list", "--json"])).await;
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let open = &listed["CP1"]["open"][0];
    assert_eq!((&open["token"], &open["authorized"]), (&"DRIVER".into(), &true.into()), "{listed}");
    let key = open["key"].as_str().unwrap().to_owned();
    assert_eq!(sim.while_waiting(call(&["stop", "CP1", &key])).await, accepted);
    sim.until("stop acknowledged", |sim| sim.acknowledged()).await;

    for (args, named) in [
        (&["stop", "CP1", &key][..], "the charger does not do it"),
        (&["unlock", "CP9", "--evse", "1"], "no charger CP9"),
        (&["unlock", "CP1", "--evse", "5"], "no EVSE 5"),
        (&["start", "CP1", "--evse", "1", "--token", "far too long for a token of 1.6"], "unfit"),
    ] {
        let (code, error) = sim.while_waiting(call(args)).await;
        assert!(code == Some(1) && error.contains(named), "{args:?}: {error}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(folder.path().join("data/charging")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o700, "nobody else can call");
}

async fn killed_in_mid_charge(version: Version) {
    let folder = tempfile::tempdir().unwrap();
    let password = one_agent(folder.path());
    let first = Process::start(folder.path(), "first.log").await;
    let connect = async |address: SocketAddr| {
        let path = if version == Version::V16 { "/ocpp/CP1" } else { "/ocpp/CP1?201" };
        enter(address, path, Some(&format!("CP1:{password}")), Some(version.subprotocol())).await.unwrap()
    };
    let mut sim = Sim {
        point: charge_point(version, Power::from_w(300_000), Duration::from_secs(1)),
        socket: connect(first.address).await,
        clock: Arc::new(SystemClock),
        jumps: None,
        timer: None,
        events: Vec::new(),
    };
    sim.on_connected().await;
    sim.plug_in(car(1_000_000, Power::from_w(150_000))).await;
    let actions = sim.point.present(sim.clock.now(), 1, "CARD").unwrap();
    sim.perform(actions).await;
    let register = |sim: &mut Sim| sim.point.register(sim.clock.now(), 1).unwrap().as_wh() - 910_000;
    sim.until("some energy", |sim| register(sim) > 60 && sim.point.is_quiet()).await;

    first.kill_9();
    let actions = sim.point.on_disconnected(sim.clock.now());
    sim.perform(actions).await;
    let second = Process::start(folder.path(), "second.log").await;
    sim.socket = connect(second.address).await;
    sim.on_connected().await;
    let before = register(&mut sim);
    sim.until("more energy", |sim| register(sim) > before + 60 && sim.point.is_quiet()).await;
    let actions = sim.point.present(sim.clock.now(), 1, "CARD").unwrap();
    sim.perform(actions).await;
    sim.until("stop acknowledged", |sim| sim.acknowledged()).await;
    second.kill_9();

    // What was acknowledged is on the disk of an agent that had no time to say goodbye.
    let zone = zone_file::read(&folder.path().join("zone.toml")).unwrap().zone.id();
    let disk = Folder::open(&folder.path().join("data/charging")).unwrap();
    let (_, past) = Journal::open(disk, zone).unwrap();
    let past = &past[&name("CP1")];
    let starts = sim.events.iter().filter(|event| matches!(event, ClientEvent::Started { .. })).count();
    assert_eq!((starts, past.ended.len(), past.open.len()), (1, 1, 0), "one transaction, before and after");
    assert_eq!(Some(past.ended[0].energy), sim.stopped(), "billed is what flowed");
    assert!(past.ended[0].energy > Energy::from_wh(120) && past.ended[0].authorized);
    let log = std::fs::read_to_string(folder.path().join("second.log")).unwrap();
    assert!(log.contains("transaction goes on"), "{log}");
}

#[tokio::test]
async fn a_1_6_transaction_goes_on_after_kill_9() {
    killed_in_mid_charge(Version::V16).await;
}

#[tokio::test]
async fn a_2_0_1_transaction_goes_on_after_kill_9() {
    killed_in_mid_charge(Version::V201).await;
}
