//! `station-agent run`.

use crate::{
    agent::Settings,
    config::AgentConfig,
    daemon::{Daemon, limits},
    disk::Folder,
    key_file, zone_file,
};
use clap::Args;
use eyre::Context;
use ohmesh_ledger::ZoneFile;
use ohmesh_mesh::Endpoint;
use ohmesh_units::SigningKey;
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf};

#[derive(Args)]
pub(super) struct RunArgs {
    /// The configuration file.
    #[arg(long, default_value = "agent.toml")]
    pub(super) config: PathBuf,
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// Flags that overrule the file and the environment.
#[derive(Args, Serialize)]
pub(super) struct Flags {
    /// Listen here instead.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    listen: Option<SocketAddr>,
    /// Keep the logs here instead.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    /// Log this much instead.
    #[arg(long)]
    #[serde(skip_serializing_if = "Option::is_none")]
    log: Option<String>,
}

/// What a configuration names, read and checked.
pub(super) struct Loaded {
    pub(super) config: AgentConfig,
    pub(super) zone: ZoneFile,
    pub(super) key: SigningKey,
}

pub(super) fn load(args: &RunArgs) -> eyre::Result<Loaded> {
    let config = AgentConfig::load(&args.config, &args.flags)?;
    let zone = zone_file::read(&config.zone_file)?;
    zone.sealed().with_context(|| format!("zone file {}", config.zone_file.display()))?;
    let key = key_file::read(&config.key_file)?;
    Ok(Loaded { config, zone, key })
}

pub(super) fn run(args: RunArgs, json: bool) -> eyre::Result<()> {
    let Loaded { config, zone, key } = load(&args)?;
    start_logging(&config.log, json)?;
    let folder = Folder::open(&config.data_dir)
        .with_context(|| format!("data folder {}", config.data_dir.display()))?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    runtime.block_on(async {
        let endpoint = Endpoint::builder(key.clone()).bind(config.listen).limits(limits()).start()?;
        let address = endpoint.address()?;
        let settings = Settings { key: key.clone(), pace: config.pace(), timeouts: config.timeouts() };
        let mut daemon = Daemon::start(&zone, settings, folder, endpoint)?;
        let votes = zone.zone.validators.index_of(&key.public()).is_some();
        let height = daemon.status().borrow().head.as_ref().map_or(0, |(header, _)| header.height);
        tracing::info!(zone = %zone.zone.id(), %address, votes, height, "agent runs");
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            finished = daemon.finished() => return Ok(finished?),
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        Ok(daemon.stop().await?)
    })
}

fn start_logging(level: &str, json: bool) -> eyre::Result<()> {
    let level: tracing::Level = level.parse().context("log")?;
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    if json {
        builder.json().init()
    } else {
        builder.init()
    }
    Ok(())
}
