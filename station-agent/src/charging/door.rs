//! The door: who connects, in which version, and who does not. Everything is decided before the upgrade.
//!
//! | what is wrong | answer |
//! |---|---|
//! | the path names no valid charger | 400 |
//! | too many wrong passwords from there | 429 with `Retry-After` |
//! | no password, a wrong one, another charger's, a charger that is not registered | 401 with `WWW-Authenticate` |
//! | no WebSocket upgrade | 426, or 400 for a broken one |
//! | no subprotocol that is spoken here | 400 |

use super::{Chargers, PasswordHash, lockout::Lockout, password, socket};
use axum::{
    Extension, Router,
    extract::{State, WebSocketUpgrade, ws::rejection::WebSocketUpgradeRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::any,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use ohmesh_mesh::Clock;
use ohmesh_ocpp::{ChargerName, UpgradeError, negotiate};
use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
};

/// Lets chargers in.
#[derive(Clone)]
pub(super) struct Door(Arc<Inner>);

struct Inner {
    chargers: Chargers,
    passwords: BTreeMap<ChargerName, PasswordHash>,
    lockout: Mutex<Lockout>,
    clock: Arc<dyn Clock>,
}

/// Who knocks, and its place among the connections, which it keeps for as long as it is connected.
#[derive(Clone)]
struct Caller {
    address: IpAddr,
    place: Arc<OwnedSemaphorePermit>,
}

impl Door {
    pub(super) fn new(
        chargers: Chargers,
        passwords: BTreeMap<ChargerName, PasswordHash>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Inner { chargers, passwords, lockout: Mutex::default(), clock }))
    }

    /// Takes connections until it is dropped.
    pub(super) async fn accept(self, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let router = Router::new()
            .route("/ocpp/{name}", any(enter))
            .route("/ocpp/{name}/", any(enter))
            .with_state(self);
        let mut callers = JoinSet::new();
        loop {
            let place = places.clone().acquire_owned().await.expect("nobody closes this semaphore");
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // The system has run out of something; what is connected goes on.
                    tracing::warn!(%error, "cannot take a charger's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // Frames are small and answers are waited for.
            let _ = stream.set_nodelay(true);
            let caller = Caller { address: address.ip(), place: Arc::new(place) };
            let service = TowerToHyperService::new(router.clone().layer(Extension(caller)));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_WITHIN)
                .max_headers(HEADERS_MAX)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            callers.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection did not come to an upgrade");
                }
            });
            while callers.try_join_next().is_some() {}
        }
    }

    /// The charger that may enter, or what it is told.
    fn admit(&self, caller: &Caller, uri: &Uri, headers: &HeaderMap) -> Result<ChargerName, Refused> {
        let path = uri.path();
        let segment = path.strip_prefix("/ocpp/").ok_or(UpgradeError::BadName)?;
        let name = ChargerName::from_path(segment.strip_suffix('/').unwrap_or(segment))?;
        let now = self.0.clock.now();
        if let Some(wait) = self.lockout().wait(now, caller.address, &name) {
            return Err(Refused::Wait(wait));
        }
        // A header that is no text is no Basic header.
        let given = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap_or_default());
        let checked = password::check(given, &name, self.0.passwords.get(&name));
        match &checked {
            Ok(()) => self.lockout().right(caller.address, &name),
            Err(UpgradeError::NoCredentials) => {}
            Err(error) => {
                tracing::warn!(address = %caller.address, charger = %name, %error, "charger refused");
                self.lockout().wrong(now, caller.address, &name);
            }
        }
        checked?;
        Ok(name)
    }

    fn lockout(&self) -> std::sync::MutexGuard<'_, Lockout> {
        self.0.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn enter(
    State(door): State<Door>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let name = match door.admit(&caller, &uri, &headers) {
        Ok(name) => name,
        Err(refused) => return refused.into_response(),
    };
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let offered: Vec<&str> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .map(|value| value.to_str().unwrap_or("unreadable"))
        .collect();
    let negotiated = match negotiate(&offered) {
        Ok(negotiated) => negotiated,
        Err(error) => {
            tracing::warn!(charger = %name, %error, "charger refused");
            return Refused::from(error).into_response();
        }
    };
    let Some(post) = door.0.chargers.post(&name) else {
        return Refused::from(UpgradeError::WrongCredentials).into_response();
    };
    let inbox = post.inbox.clone();
    let mut upgrade = socket::bounded(upgrade);
    if let Some(protocol) = negotiated.header {
        upgrade.set_selected_protocol(HeaderValue::from_static(protocol));
    }
    upgrade.on_upgrade(move |socket| async move {
        socket::serve(socket, negotiated.version, inbox).await;
        drop(caller.place);
    })
}

/// Why somebody stays outside.
enum Refused {
    Upgrade(UpgradeError),
    Wait(Duration),
}

impl From<UpgradeError> for Refused {
    fn from(error: UpgradeError) -> Self {
        Self::Upgrade(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = match self {
            Self::Wait(wait) => {
                let seconds = [(header::RETRY_AFTER, (wait.as_secs() + 1).to_string())];
                (StatusCode::TOO_MANY_REQUESTS, seconds, "too many wrong passwords\n").into_response()
            }
            Self::Upgrade(
                error @ (UpgradeError::NoCommonVersion
                | UpgradeError::BadName
                | UpgradeError::HeaderTooLong { .. }),
            ) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
            Self::Upgrade(error) => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"ocpp\"")];
                (StatusCode::UNAUTHORIZED, challenge, format!("{error}\n")).into_response()
            }
        };
        // Its place is for somebody who may enter.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

/// The most connections at once, let in or not yet.
const CONNECTIONS_MAX: usize = 4096;
/// How long a caller may take for its request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// The most headers of a request.
const HEADERS_MAX: usize = 32;
/// The most bytes of a request's head; no charger needs a quarter of it (hyper's least is 8192).
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
