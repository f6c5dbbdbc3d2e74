//! `station-agent station`: the operator's stations on the ledger.

use super::{
    print,
    reach::Reach,
    run::{Loaded, RunArgs, load},
};
use crate::{daemon::limits, key_file};
use clap::Subcommand;
use eyre::{Context, bail};
use ohmesh_ledger::Body;
use ohmesh_mesh::Endpoint;
use ohmesh_node::{Builder, Node, Status};
use ohmesh_units::TransactionId;
use serde::Serialize;
use std::{net::SocketAddr, time::Duration};

#[derive(Subcommand)]
pub(super) enum StationCommand {
    /// Put every `[[station]]` of the configuration, and its outlets, into the ledger's registry; change those that are
    /// there. Needs a running agent of the zone; waits until each is proven.
    Register(RunArgs),
}

#[derive(Serialize)]
struct Registered {
    stations: usize,
    outlets: usize,
    height: u64,
}

pub(super) fn run(command: StationCommand, json: bool) -> eyre::Result<()> {
    let StationCommand::Register(args) = command;
    let Loaded { config, zone, key } = load(&args)?;
    if config.station.is_empty() {
        bail!("configuration {}: there is no [[station]]", args.config.display());
    }
    let mut stations = Vec::new();
    let mut outlets = Vec::new();
    let zone_id = zone.zone.id();
    for station in &config.station {
        let bodies =
            station.registrations(&zone_id, &key).with_context(|| format!("station {}", station.number))?;
        for body in bodies {
            match body {
                Body::RegisterStation { .. } => stations.push(body),
                _ => outlets.push(body),
            }
        }
    }
    let anchor =
        Reach::new(&config.zone_file, None).with(|mut contact| async move { contact.anchor().await })?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let (station_count, outlet_count) = (stations.len(), outlets.len());
    let height = runtime.block_on(async {
        let endpoint = Endpoint::builder(key_file::generate()?)
            .bind(SocketAddr::from(([0, 0, 0, 0], 0)))
            .limits(limits())
            .start()?;
        let mut builder = Builder::new(zone, key).endpoint(endpoint);
        if let Some(anchor) = anchor {
            builder = builder.anchor(anchor);
        }
        let node = builder.build()?;
        // An outlet can be registered only when its station is there.
        register(&node, stations).await?;
        register(&node, outlets).await?;
        let height = node.sync().await?.height;
        node.close().await?;
        eyre::Ok(height)
    })?;
    let registered = Registered { stations: station_count, outlets: outlet_count, height };
    print(json, &registered, || {
        format!(
            "{station_count} stations with {outlet_count} outlets are on the ledger, proven at height {height}"
        )
    })
}

/// Submits each and waits until an agent proves that it is there.
async fn register(node: &Node, bodies: Vec<Body>) -> eyre::Result<()> {
    let mut waiting: Vec<TransactionId> = Vec::new();
    for body in bodies {
        let submitted = node.submit(body).await?;
        match submitted.status {
            Status::Refused { reason } => bail!("refused: {reason}"),
            Status::Signed => bail!("no agent of the zone can be reached"),
            _ => waiting.push(submitted.id),
        }
    }
    let proven = async {
        while !waiting.is_empty() {
            tokio::time::sleep(POLL).await;
            node.sync().await?;
            let mut left = Vec::new();
            for id in waiting.drain(..) {
                let status = node.wallet().transaction(&id)?.map(|sent| sent.status);
                match status {
                    Some(Status::Proven { .. }) => {}
                    Some(Status::Refused { reason }) => bail!("refused: {reason}"),
                    Some(Status::Expired { .. }) => bail!("the ledger did not take it in time"),
                    _ => left.push(id),
                }
            }
            waiting = left;
        }
        Ok(())
    };
    tokio::time::timeout(PATIENCE, proven).await.unwrap_or_else(|_| bail!("not proven after {PATIENCE:?}"))
}

/// How often the ledger is asked, and for how long.
const POLL: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(120);
