//! `station-agent ledger`.

use super::print;
use crate::{
    daemon::{limits, resolve},
    key_file, zone_file,
};
use clap::{Args, Subcommand};
use eyre::{Context, bail};
use ohmesh_ledger::{Answer, Certificate, Header, Query};
use ohmesh_mesh::{Clock, Endpoint, SystemClock};
use ohmesh_units::{BlockId, Canonical, Hash, Timestamp, ZoneId};
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf};

#[derive(Subcommand)]
pub(super) enum LedgerCommand {
    /// Ask an agent for its newest block, and check the block's certificate.
    Status(Status),
}

#[derive(Args)]
pub(super) struct Status {
    /// The zone file, against which the answer is checked.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
    /// The agent to ask, by the name it has in the zone file; the first one that answers if not given.
    #[arg(long)]
    agent: Option<String>,
    /// Reach the agent here instead of at the zone file's address.
    #[arg(long, requires = "agent")]
    address: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    agent: String,
    zone: ZoneId,
    height: u64,
    block: Option<BlockId>,
    time: Option<Timestamp>,
    age_ms: Option<u64>,
    transactions_in_block: u32,
    objects: u32,
    objects_root: Hash,
    signatures: usize,
}

pub(super) fn run(command: LedgerCommand, json: bool) -> eyre::Result<()> {
    let LedgerCommand::Status(args) = command;
    let file = zone_file::read(&args.zone)?;
    let zone = file.sealed().with_context(|| format!("zone file {}", args.zone.display()))?;
    let agents: Vec<_> = zone
        .validators
        .all()
        .iter()
        .filter(|validator| args.agent.as_ref().is_none_or(|name| *name == validator.name))
        .collect();
    if agents.is_empty() {
        let names: Vec<&str> =
            zone.validators.all().iter().map(|validator| validator.name.as_str()).collect();
        bail!("the zone has no agent {:?}; it has {}", args.agent.unwrap_or_default(), names.join(", "));
    }
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let mut failures = Vec::new();
    for agent in agents {
        let host = args.address.clone().unwrap_or_else(|| agent.address.clone());
        let asked = runtime.block_on(async {
            // A fresh key for each question: the agent need not know who asks.
            let endpoint = Endpoint::builder(key_file::generate()?)
                .bind(SocketAddr::from(([0, 0, 0, 0], 0)))
                .limits(limits())
                .start()?;
            let peer = endpoint.connect(resolve(&host).await?, agent.key).await?;
            let answer = Answer::decode(&peer.request(&Query::Head.encode()).await?)?;
            match answer {
                Answer::Head(head) => Ok(head.map(|head| *head)),
                other => bail!("an unexpected answer: {other:?}"),
            }
        });
        match asked {
            Ok(head) => {
                if let Some((header, certificate)) = &head {
                    certificate.verify_header(header, &zone.id(), zone.validators.voters())?;
                }
                return show(agent.name.clone(), zone.id(), head, json);
            }
            Err(error) => failures.push(format!("{} at {host}: {error:#}", agent.name)),
        }
    }
    bail!("no agent answers: {}", failures.join("; "))
}

fn show(agent: String, zone: ZoneId, head: Option<(Header, Certificate)>, json: bool) -> eyre::Result<()> {
    let age = |header: &Header| {
        SystemClock
            .now()
            .since(header.time)
            .map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
    };
    let header = head.as_ref().map(|(header, _)| header);
    let shown = Shown {
        agent,
        zone,
        height: header.map_or(0, |header| header.height),
        block: header.map(Header::id),
        time: header.map(|header| header.time),
        age_ms: header.map(age),
        transactions_in_block: header.map_or(0, |header| header.transaction_count),
        objects: header.map_or(0, |header| header.state.objects.count),
        objects_root: header.map_or(Hash::ZERO, |header| header.state.objects.hash),
        signatures: head.as_ref().map_or(0, |(_, certificate)| certificate.signatures.len()),
    };
    print(json, &shown, || match (&shown.block, &shown.time) {
        (Some(block), Some(time)) => format!(
            "agent      {}\nheight     {}\nblock      {block}\ntime       {time}, {} ms ago\nobjects    {}, root {}\nfinal by   {} signatures, checked",
            shown.agent,
            shown.height,
            shown.age_ms.unwrap_or(0),
            shown.objects,
            shown.objects_root,
            shown.signatures
        ),
        _ => format!("agent      {}\nheight     0: there is no block yet", shown.agent),
    })
}
