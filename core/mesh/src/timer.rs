//! Timeouts by the runtime's timer, so that a simulation's virtual time governs them.

use crate::MeshError;
use quinn::Runtime;
use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
    time::Duration,
};

/// Bounds futures in time.
pub(crate) struct Timer<'a>(pub(crate) &'a dyn Runtime);

impl Timer<'_> {
    /// What `future` gives, or [`MeshError::Timeout`] after `limit`.
    pub(crate) async fn within<F: Future>(self, limit: Duration, future: F) -> Result<F::Output, MeshError> {
        let mut future = pin!(future);
        let mut alarm = self.0.new_timer(self.0.now() + limit);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            alarm.as_mut().poll(cx).map(|()| Err(MeshError::Timeout(limit)))
        })
        .await
    }
}
