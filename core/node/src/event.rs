//! What happens to a node, for an app to show.

use crate::{AgentFault, Damage, PurchaseNews, Status};
use ohmesh_ledger::{Asset, Holding, Journal};
use ohmesh_units::{AuctionId, Timestamp, TransactionId};
use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Something that happened. Whatever speaks of money has been proven and is durable before it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// An agent's answer held; the replica is at this height.
    Synced {
        /// The height.
        height: u64,
        /// Ledger time at that height.
        time: Timestamp,
    },
    /// The own account has been proven for the first time.
    AccountProven {
        /// The height it was proven at.
        height: u64,
    },
    /// A proven holding of the own account is another than before.
    BalanceChanged {
        /// The book.
        journal: Journal,
        /// What it counts.
        asset: Asset,
        /// As it was proven before; nothing if it had not been used.
        before: Holding,
        /// As it is proven now.
        after: Holding,
        /// The height it was proven at.
        height: u64,
    },
    /// More is known of an own transaction; [`Status`] says what is hearsay.
    Transaction {
        /// Which.
        id: TransactionId,
        /// What is known now.
        status: Status,
    },
    /// An agent could not be asked, or its answer does not hold and was dropped.
    AgentFailed {
        /// Its name in the zone file.
        name: String,
        /// What is wrong.
        reason: AgentFault,
    },
    /// Two certified headers contradict each other: trust this zone with nothing more. The replica has the evidence.
    Forked {
        /// The height of the header that was known.
        one: u64,
        /// The height of the header that was offered.
        other: u64,
    },
    /// A purchase went a step further, or ended.
    Purchase {
        /// Which.
        auction: AuctionId,
        /// The step.
        news: PurchaseNews,
    },
    /// Something stored no longer verified and was dropped when the node was built.
    Dropped(Damage),
    /// Nobody read events for so long that the oldest were dropped.
    Missed {
        /// How many.
        count: u64,
    },
}

/// Events that wait to be read, the oldest dropped past [`EVENTS_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: Mutex<Queue>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Event>,
    missed: u64,
}

impl Events {
    pub(crate) fn emit(&self, event: Event) {
        let mut queue = self.queue();
        if queue.waiting.len() == EVENTS_MAX {
            queue.waiting.pop_front();
            queue.missed = queue.missed.saturating_add(1);
        }
        queue.waiting.push_back(event);
        drop(queue);
        self.news.notify_one();
    }

    pub(crate) fn take(&self) -> Option<Event> {
        let mut queue = self.queue();
        match std::mem::take(&mut queue.missed) {
            0 => queue.waiting.pop_front(),
            count => Some(Event::Missed { count }),
        }
    }

    pub(crate) async fn next(&self) -> Event {
        loop {
            if let Some(event) = self.take() {
                // Another reader may wait for what is left.
                self.news.notify_one();
                return event;
            }
            self.news.notified().await;
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Events that wait at most: a few minutes of a busy node's.
pub(crate) const EVENTS_MAX: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_sleeps_is_told_how_much_it_missed() {
        let events = Events::default();
        let synced = |height| Event::Synced { height, time: Timestamp::EPOCH };
        for height in 0..EVENTS_MAX as u64 + 3 {
            events.emit(synced(height));
        }
        assert_eq!(events.take(), Some(Event::Missed { count: 3 }));
        assert_eq!(events.take(), Some(synced(3)));
    }
}
