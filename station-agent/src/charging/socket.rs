//! One charger's WebSocket: text in, not faster than agreed; text out; pings.

use super::keeper::Input;
use axum::extract::{
    WebSocketUpgrade,
    ws::{CloseFrame, Message, WebSocket, close_code},
};
use ohmesh_ocpp::{Version, frame::MAX_FRAME_BYTES, session::Epoch};
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite;

/// What goes to a socket.
pub(super) enum Out {
    /// Send this.
    Text(String),
    /// Another connection of the same charger took its place.
    Displaced,
    /// The session has ended it.
    Close,
}

/// Bounds what a connection may make this side hold: with the library's buffers 500 idle chargers take 70 MB, with these 8.
pub(super) fn bounded(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(2 * FRAME_BYTES_MAX)
        .max_message_size(FRAME_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
}

/// Serves a socket from its upgrade to its end.
pub(super) async fn serve(mut socket: WebSocket, version: Version, inbox: mpsc::Sender<Input>) {
    let (out, texts) = mpsc::channel(OUTBOX);
    let (reply, answered) = oneshot::channel();
    if inbox.send(Input::Connected { version, out, epoch: reply }).await.is_err() {
        return close(&mut socket, close_code::AWAY, "stopping").await;
    }
    let Ok(epoch) = answered.await else {
        return close(&mut socket, close_code::AWAY, "stopping").await;
    };
    let (code, reason) = pump(&mut socket, epoch, &inbox, texts).await;
    close(&mut socket, code, reason).await;
    // The charger's task has gone only when the whole server has.
    let _ = inbox.send(Input::Closed { epoch }).await;
}

/// Moves text both ways; why it ended.
async fn pump(
    socket: &mut WebSocket,
    epoch: Epoch,
    inbox: &mpsc::Sender<Input>,
    mut texts: mpsc::Receiver<Out>,
) -> (u16, &'static str) {
    let mut pace = Pace { left: BURST, since: Instant::now() };
    let mut ping = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            out = texts.recv() => {
                let text = match out {
                    Some(Out::Text(text)) => text,
                    Some(Out::Displaced) => return (close_code::POLICY, "another connection took its place"),
                    Some(Out::Close) => return (close_code::NORMAL, "the session has ended"),
                    None => return (close_code::AWAY, "stopping"),
                };
                if !sent(socket, Message::Text(text.into())).await {
                    return (close_code::POLICY, "not read in time");
                }
                continue;
            }
            _ = ping.tick() => {
                if !sent(socket, Message::Ping(Vec::new().into())).await {
                    return (close_code::POLICY, "not read in time");
                }
                continue;
            }
            message = socket.recv() => message,
        };
        let text = match message {
            Some(Ok(Message::Text(text))) => Some(text.to_string()),
            Some(Ok(Message::Binary(_))) => return (close_code::UNSUPPORTED, "OCPP is text"),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
            Some(Ok(Message::Close(_))) | None => return (close_code::NORMAL, ""),
            Some(Err(error)) => return fault(error),
        };
        // Pings cost as well: they too can come without end.
        pace.take(text.as_ref().map_or(0, String::len)).await;
        if let Some(text) = text
            && inbox.send(Input::Text { epoch, text }).await.is_err()
        {
            return (close_code::AWAY, "stopping");
        }
    }
}

/// Whether it was sent before patience ended.
async fn sent(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(SEND_WITHIN, socket.send(message)).await, Ok(Ok(())))
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    sent(socket, Message::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
}

fn fault(error: axum::Error) -> (u16, &'static str) {
    tracing::debug!(%error, "a charger's socket failed");
    match error.into_inner().downcast_ref::<tungstenite::Error>() {
        Some(tungstenite::Error::Capacity(_)) => (close_code::SIZE, "message too large"),
        Some(tungstenite::Error::Utf8(_)) => (close_code::INVALID, "not UTF-8"),
        _ => (close_code::PROTOCOL, "not WebSocket"),
    }
}

/// How fast a connection is read: a bucket of frames that fills with time.
struct Pace {
    left: u32,
    since: Instant,
}

impl Pace {
    /// Waits until so many bytes may have come. Large frames count as several.
    async fn take(&mut self, bytes: usize) {
        let cost = u32::try_from(bytes / BUFFER_BYTES + 1).unwrap_or(BURST).min(BURST);
        let filled =
            u32::try_from(self.since.elapsed().as_millis() / FRAME_EVERY.as_millis()).unwrap_or(BURST);
        if filled > 0 {
            self.left = self.left.saturating_add(filled).min(BURST);
            self.since = Instant::now();
        }
        match self.left.checked_sub(cost) {
            Some(left) => self.left = left,
            None => {
                let wait = FRAME_EVERY * (cost - self.left);
                sleep_until(self.since + wait).await;
                self.left = 0;
                self.since = Instant::now();
            }
        }
    }
}

/// The most bytes of a message: what the codec reads.
pub const FRAME_BYTES_MAX: usize = MAX_FRAME_BYTES;
/// Frames that a connection may send at once: what a charger kept while it was offline.
pub const BURST: u32 = 200;
/// Frames a second after that. A charger waits for each answer anyway.
pub const FRAMES_PER_SECOND: u32 = 10;
const FRAME_EVERY: Duration = Duration::from_millis(1000 / FRAMES_PER_SECOND as u64);
/// The library's buffers, in each direction; also what one frame of the rate is.
const BUFFER_BYTES: usize = 4096;
/// Texts that wait for a socket: more than a session ever has under way. A charger that lets them pile up is closed.
const OUTBOX: usize = 64;
/// How long a charger may take to read.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// Routers forget connections that are quiet for a minute.
const PING_EVERY: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_the_rest_is_paced() {
        let start = Instant::now();
        let mut pace = Pace { left: BURST, since: start };
        for _ in 0..BURST {
            pace.take(100).await;
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..FRAMES_PER_SECOND * 3 {
            pace.take(100).await;
        }
        assert_eq!(start.elapsed(), Duration::from_secs(3));
        // Half a mebibyte is 64 frames and one.
        pace.take(64 * BUFFER_BYTES).await;
        assert_eq!(start.elapsed(), Duration::from_secs(3) + FRAME_EVERY * 65);
    }
}
