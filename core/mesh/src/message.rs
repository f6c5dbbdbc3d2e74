//! One message on one stream: its length (u32, big-endian), its bytes, the end of the stream.

use crate::{MeshError, Refusal, endpoint::Shared};
use quinn::{ReadError, RecvStream, SendStream, StoppedError, WriteError};

/// Fails before anything is sent when `bytes` is longer than `max`.
pub(crate) fn check(bytes: &[u8], max: usize) -> Result<(), MeshError> {
    if bytes.len() > max.min(u32::MAX as usize) {
        return Err(MeshError::TooLarge { max, found: bytes.len() });
    }
    Ok(())
}

/// The sending half of a stream. Dropped before the message was finished, it is reset: the peer must not take half a
/// message for a whole one.
#[derive(Debug)]
pub(crate) struct Outgoing {
    stream: SendStream,
    on_drop: Option<Refusal>,
}

impl Outgoing {
    pub(crate) fn new(stream: SendStream, on_drop: Refusal) -> Self {
        Self { stream, on_drop: Some(on_drop) }
    }

    /// Writes the one message and ends the stream.
    pub(crate) async fn write(&mut self, bytes: &[u8], shared: &Shared) -> Result<(), MeshError> {
        let written = shared.timer().within(shared.limits.time_max(bytes.len()), async {
            let length = u32::try_from(bytes.len()).expect("`check` bounds the length by u32").to_be_bytes();
            for mut rest in [&length[..], bytes] {
                while !rest.is_empty() {
                    let step = shared.timer().within(shared.limits.stall_max, self.stream.write(rest));
                    rest = &rest[step.await?.map_err(write_error)?..];
                }
            }
            Ok(())
        });
        match written.await.and_then(|written| written) {
            Ok(()) => {
                self.on_drop = None;
                // It fails only if the peer has stopped the stream meanwhile, which is then told by the answer.
                let _ = self.stream.finish();
                Ok(())
            }
            Err(error) => {
                if let MeshError::Timeout(_) = error {
                    self.refuse(Refusal::TooSlow);
                }
                Err(error)
            }
        }
    }

    /// Resolves when the peer has everything, or wants no more of it.
    pub(crate) async fn taken(&mut self) -> Result<(), MeshError> {
        match self.stream.stopped().await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(MeshError::Refused(code.into())),
            Err(StoppedError::ConnectionLost(error)) => Err(error.into()),
            Err(StoppedError::ZeroRttRejected) => Err(MeshError::Refused(Refusal::Other(0))),
        }
    }

    /// Resets the stream with a reason.
    pub(crate) fn refuse(&mut self, why: Refusal) {
        self.on_drop = None;
        // It fails only if the stream is over already.
        let _ = self.stream.reset(why.code());
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let Some(why) = self.on_drop.take() {
            self.refuse(why);
        }
    }
}

/// The length a stream begins with, if it is at most `max`; else the stream is stopped with [`Refusal::TooLarge`].
pub(crate) async fn read_length(
    stream: &mut RecvStream,
    max: usize,
    shared: &Shared,
) -> Result<usize, MeshError> {
    let mut length = [0; 4];
    let read = fill(stream, &mut length, shared).await;
    let found = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let is_too_large = read.is_ok() && found > max;
    let read = if is_too_large { Err(MeshError::TooLarge { max, found }) } else { read.map(|()| found) };
    stop_on_error(stream, read)
}

/// The message of `length` bytes, which the caller has room for, and nothing after it.
pub(crate) async fn read_body(
    stream: &mut RecvStream,
    length: usize,
    shared: &Shared,
) -> Result<Vec<u8>, MeshError> {
    let mut bytes = vec![0; length];
    let read = shared.timer().within(shared.limits.time_max(length), async {
        fill(stream, &mut bytes, shared).await?;
        let end = shared.timer().within(shared.limits.stall_max, stream.read_chunk(1, true)).await?;
        match end.map_err(read_error)? {
            None => Ok(()),
            Some(_) => Err(MeshError::Malformed { expected: length }),
        }
    });
    let read = read.await.and_then(|read| read);
    stop_on_error(stream, read)?;
    Ok(bytes)
}

/// Fills `out`, as long as bytes keep coming.
async fn fill(stream: &mut RecvStream, out: &mut [u8], shared: &Shared) -> Result<(), MeshError> {
    let expected = out.len();
    let mut filled = 0;
    while filled < expected {
        let step = shared.timer().within(shared.limits.stall_max, stream.read(&mut out[filled..]));
        match step.await?.map_err(read_error)? {
            Some(count) => filled += count,
            None => return Err(MeshError::Malformed { expected }),
        }
    }
    Ok(())
}

/// Tells the peer why no more of its stream is taken.
fn stop_on_error<T>(stream: &mut RecvStream, read: Result<T, MeshError>) -> Result<T, MeshError> {
    if let Err(error) = &read
        && let Some(why) = refusal_of(error)
    {
        // It fails only if the stream is over already.
        let _ = stream.stop(why.code());
    }
    read
}

/// What to tell the peer of an error in its message, if the stream failed and not the connection.
pub(crate) fn refusal_of(error: &MeshError) -> Option<Refusal> {
    match error {
        MeshError::TooLarge { .. } => Some(Refusal::TooLarge),
        MeshError::Timeout(_) => Some(Refusal::TooSlow),
        MeshError::Malformed { .. } => Some(Refusal::Malformed),
        MeshError::Refused(_) => Some(Refusal::GivenUp),
        _ => None,
    }
}

fn read_error(error: ReadError) -> MeshError {
    match error {
        ReadError::Reset(code) => MeshError::Refused(code.into()),
        ReadError::ConnectionLost(error) => error.into(),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            MeshError::Refused(Refusal::Other(0))
        }
    }
}

fn write_error(error: WriteError) -> MeshError {
    match error {
        WriteError::Stopped(code) => MeshError::Refused(code.into()),
        WriteError::ConnectionLost(error) => error.into(),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => MeshError::Refused(Refusal::Other(0)),
    }
}
