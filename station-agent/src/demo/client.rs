//! Somebody who asks one agent over the mesh, and dials again when the connection was lost.

use crate::daemon::limits;
use eyre::{Context, Result, bail};
use ohmesh_ledger::{Answer, Certificate, Query, Zone};
use ohmesh_mesh::{Endpoint, Peer};
use ohmesh_units::{Canonical, SigningKey};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// A caller of one agent.
pub(super) struct Client {
    endpoint: Endpoint,
    zone: Zone,
    agent: usize,
    peer: Mutex<Option<Peer>>,
}

impl Client {
    /// A caller of the zone's agent with that index, shown to it by `key`.
    pub(super) fn new(zone: Zone, key: SigningKey, agent: usize) -> Result<Self> {
        let endpoint = Endpoint::builder(key).bind(LOOPBACK).limits(limits()).start()?;
        Ok(Self { endpoint, zone, agent, peer: Mutex::new(None) })
    }

    pub(super) async fn ask(&self, query: &Query) -> Result<Answer> {
        let peer = self.peer().await?;
        let bytes = peer.request(&query.encode()).await.with_context(|| self.name())?;
        Answer::decode(&bytes).with_context(|| self.name())
    }

    /// Asks again until `good` finds what is wanted, or gives an error; gives up after [`PATIENCE`].
    pub(super) async fn until<T>(
        &self,
        query: &Query,
        what: &str,
        mut good: impl FnMut(Answer) -> Result<Option<T>>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            if let Some(found) = good(self.ask(query).await?).with_context(|| self.name())? {
                return Ok(found);
            }
            if start.elapsed() > PATIENCE {
                bail!("{}: {what} within {} s", self.name(), PATIENCE.as_secs());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Final blocks from a height on, as the agent has them; nothing about them is checked.
    pub(super) async fn blocks(&self, from: u64) -> Result<Vec<(Vec<u8>, Certificate)>> {
        match self.ask(&Query::Blocks { from }).await? {
            Answer::Blocks(blocks) => Ok(blocks),
            other => bail!("{}: an unexpected answer: {other:?}", self.name()),
        }
    }

    pub(super) fn name(&self) -> String {
        let validator = self.zone.validators.all().get(self.agent);
        format!("agent {}", validator.map_or("?", |validator| validator.name.as_str()))
    }

    /// Hangs up.
    pub(super) fn close(&self) {
        self.endpoint.close("done");
    }

    async fn peer(&self) -> Result<Peer> {
        let mut held = self.peer.lock().await;
        if let Some(peer) = held.as_ref().filter(|peer| peer.close_reason().is_none()) {
            return Ok(peer.clone());
        }
        let validator = self.zone.validators.all().get(self.agent);
        let validator = validator.ok_or_else(|| eyre::eyre!("the zone has no agent {}", self.agent))?;
        let peer = self.endpoint.connect(validator.address.parse()?, validator.key).await;
        Ok(held.insert(peer.with_context(|| self.name())?).clone())
    }
}

/// Every address of the demo: this machine, any free port.
pub(super) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// How long anything may take before the demo calls it failed.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// Between two questions about the same thing.
pub(super) const POLL: Duration = Duration::from_millis(10);
