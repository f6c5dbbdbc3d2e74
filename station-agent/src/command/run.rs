//! `station-agent run`.

use crate::{
    agent::Settings,
    charging,
    config::AgentConfig,
    daemon::{Daemon, limits},
    disk::Folder,
    key_file,
    seller::Setup,
    zone_file,
};
use clap::Args;
use eyre::{Context, eyre};
use ohmesh_ledger::ZoneFile;
use ohmesh_mesh::{Endpoint, SystemClock};
use ohmesh_units::{SigningKey, ZoneId};
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf, sync::Arc};

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
    config.sellers(&key).with_context(|| format!("configuration {}", args.config.display()))?;
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
        let mut chargers = serve_chargers(&config, zone.zone.id()).await?;
        let _calls = chargers.as_ref().map(|server| take_calls(&config, server)).transpose()?;
        let stations = config.sellers(&key)?;
        let selling = stations.len();
        let seller = match stations.is_empty() {
            true => None,
            false => Some(Setup { key: key.clone(), stations, seed: *key_file::generate()?.seed() }),
        };
        let settings = Settings {
            key: key.clone(),
            pace: config.pace(),
            timeouts: config.timeouts(),
            seed: *key_file::generate()?.seed(),
            seller,
            keep: config.keep(),
        };
        let way = chargers.as_ref().map(|server| server.chargers().clone());
        let mut daemon = Daemon::start(&zone, settings, folder, endpoint, way)?;
        let votes = zone.zone.validators.index_of(&key.public()).is_some();
        let height = daemon.status().borrow().head.as_ref().map_or(0, |(header, _)| header.height);
        tracing::info!(zone = %zone.zone.id(), %address, votes, stations = selling, height, "agent runs");
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            finished = daemon.finished() => return Ok(finished?),
            finished = charging_failed(&mut chargers) => {
                daemon.stop().await?;
                return Ok(finished?);
            }
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        if let Some(server) = chargers {
            server.stop().await?;
        }
        Ok(daemon.stop().await?)
    })
}

/// Starts the chargers' server, if one is configured. Its journal has a folder, and a lock, of its own.
async fn serve_chargers(config: &AgentConfig, zone: ZoneId) -> eyre::Result<Option<charging::Server>> {
    let Some(listen) = config.ocpp_listen else { return Ok(None) };
    let folder = config.charging_dir();
    let disk = Folder::open(&folder).with_context(|| format!("data folder {}", folder.display()))?;
    let listener = tokio::net::TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen for chargers on {listen}"))?;
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| eyre!("no randomness from the system: {error}"))?;
    let chargers = config.chargers()?;
    let count = chargers.len();
    let server =
        charging::Server::builder(chargers, Arc::new(SystemClock), seed).start(listener, disk, zone)?;
    let address = server.address();
    tracing::info!(%address, chargers = count, "chargers may connect to ws://{address}/ocpp/NAME");
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "chargers' passwords are not encrypted here: keep this network private");
    }
    Ok(Some(server))
}

/// Takes the operator's calls about chargers.
fn take_calls(config: &AgentConfig, server: &charging::Server) -> eyre::Result<tokio::task::JoinSet<()>> {
    let folder = config.charging_dir();
    charging::control::listen(&folder, server.chargers().clone(), Arc::new(SystemClock))
        .with_context(|| format!("cannot listen at {}", folder.join(charging::control::SOCKET).display()))
}

/// Waits for the chargers' server to fail; for ever if there is none.
async fn charging_failed(server: &mut Option<charging::Server>) -> Result<(), charging::ChargingError> {
    match server {
        Some(server) => server.finished().await,
        None => std::future::pending().await,
    }
}

/// Logs go to standard error. The consensus core tells every vote at `info`: that is wanted only at `trace`.
fn start_logging(level: &str, json: bool) -> eyre::Result<()> {
    use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};
    let level: tracing::Level = level.parse().context("log")?;
    let core = if level == tracing::Level::TRACE { level } else { tracing::Level::WARN };
    let filter =
        Targets::new().with_default(level).with_target("arc_malachitebft_core_consensus", core.min(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json { lines.json().boxed() } else { lines.boxed() };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}
