//! `station-agent demo`: the main job on one machine, with nothing to set up.
//!
//! Four operators with real stations, one or four agents that are the ledger and sell for them, a simulated charger at each
//! station, and drivers whose phones hold a replica of their own. Every driver asks for the energy of a real charging
//! session, stations bid, the best wins, the car charges, the ledger pays; then somebody who trusts nobody executes the
//! whole ledger again and compares.
//!
//! ```text
//!  data/*.csv --market--> stations, needs      the seed alone decides who needs what where, and what stations ask
//!  clock    one for blocks, contracts and chargers, many times as fast as the machine's
//!  world    agents on 127.0.0.1, a sealed zone, accounts, stations, money
//!  charger  one a station: an OCPP client over WebSocket, 1.6 or 2.0.1
//!  trade    one a driver, several at once      intent -> bids -> contract -> charge -> receipt -> proof on the phone
//!  verify   blocks of one agent, executed from genesis --report--> table or JSON, and a verdict for each check
//! ```
//!
//! What is made up, and called assumed where it is shown: prices, the grid fee, who needs energy where, and the chargers.

mod charger;
mod client;
mod clock;
mod market;
mod report;
mod trade;
mod verify;
mod world;

use clap::Args;
use eyre::{Context, Result, bail, ensure, eyre};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use report::{Outcome, Report, Verdict};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinSet;
use verify::Replay;
use world::World;

/// What the demo is told.
#[derive(Args, Clone, Copy, Debug)]
pub struct DemoArgs {
    /// How many drivers buy energy: 1 to 200.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    drivers: u16,
    /// How many agents keep the ledger: 1 (trust its operator) or 4 (any one may fail).
    #[arg(long, default_value_t = 4, value_parser = validators)]
    validators: u8,
    /// Decides who needs how much where, and what stations ask; who wins also depends on who is free by then.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the demo and prints what came out. Everything it writes is in a temporary folder, which goes at the end.
///
/// Errors: whatever keeps it from running, and a failed check, by name.
pub fn run(args: DemoArgs, json: bool) -> Result<()> {
    // More threads than cores: agents and phones wait for their disks on them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("cannot start")?;
    let report = runtime.block_on(async {
        tokio::select! {
            report = play(args, json) => report,
            _ = tokio::signal::ctrl_c() => Err(eyre!("interrupted")),
        }
    })?;
    crate::command::say(&if json { report.json()? } else { report.table() })?;
    report.passed()
}

async fn play(args: DemoArgs, json: bool) -> Result<Report> {
    let drivers = usize::from(args.drivers);
    let progress = progress(drivers, json)?;
    progress.set_message("starting agents");
    let world = Arc::new(World::start(usize::from(args.validators), drivers, args.seed).await?);
    world.furnish(&progress).await?;
    progress.set_message("drivers ask, stations bid, cars charge");
    let trades = (0..drivers).map(|driver| trade::run(world.clone(), driver));
    let trades = bounded(trades, AT_ONCE, |_| progress.inc(1)).await;
    progress.set_message("executing the ledger again");
    let report = check(args, &world, trades).await;
    progress.finish_and_clear();
    // Every trade has ended, so this is the last handle.
    if let Some(world) = Arc::into_inner(world) {
        world.stop().await?;
    }
    report
}

/// Executes the first agent's blocks again, and judges.
async fn check(args: DemoArgs, world: &World, trades: Vec<Result<trade::Sold>>) -> Result<Report> {
    let auditors = world.auditors()?;
    let zone = &world.zone_file.zone;
    let mut replay = Replay::genesis(zone.clone());
    let mut executed = Ok(());
    while executed.is_ok() {
        let blocks = auditors[0].blocks(replay.height() + 1).await?;
        if blocks.is_empty() {
            break;
        }
        executed = blocks.iter().try_for_each(|(bytes, certificate)| replay.push(bytes, certificate));
    }
    let executed = executed.and_then(|()| replay.audit());

    let mut differing = Vec::new();
    for auditor in &auditors {
        let name = auditor.name();
        let same = async {
            ensure!(replay.height() > 0, "there is no block to compare with");
            // An agent may still be a block behind the first.
            let query = ohmesh_ledger::Query::Blocks { from: replay.height() };
            let (bytes, certificate) = auditor
                .until(&query, "it has no such block", |answer| match answer {
                    ohmesh_ledger::Answer::Blocks(blocks) => Ok(blocks.into_iter().next()),
                    _ => bail!("an unexpected answer"),
                })
                .await?;
            replay.check_agent(&bytes, &certificate)
        };
        if let Err(error) = same.await {
            differing.push(format!("{name}: {error:#}"));
        }
        auditor.close();
    }
    let replicas: Vec<Result<()>> = (0..world.needs.len())
        .map(|driver| {
            replay
                .check_replica(&world.zone_file, &world.replica_file(driver), &world.driver(driver))
                .with_context(|| format!("driver {}", driver + 1))
        })
        .collect();
    let winners = trades
        .iter()
        .enumerate()
        .filter_map(|(driver, trade)| {
            let receipt = &trade.as_ref().ok()?.receipt;
            let winner = replay.check_winner(&receipt.sale.auction, receipt.station, receipt.sale.price);
            Some(Verdict::of(winner.with_context(|| format!("driver {}", driver + 1))))
        })
        .collect();
    let outcome = Outcome {
        args,
        trades,
        winners,
        block_log_bytes: std::fs::metadata(world.block_log())?.len(),
        executed: Verdict::of(executed),
        money: Verdict::of(replay.check_money(world.issued())),
        replicas: replicas.into_iter().map(Verdict::of).collect(),
        roots: Verdict::of(if differing.is_empty() {
            Ok(())
        } else {
            Err(eyre!("{}", differing.join("; ")))
        }),
    };
    Report::new(world, &replay, outcome)
}

/// Runs tasks, at most `at_once` at a time; what they give, in their order. A task that panics ends the demo.
async fn bounded<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
    at_once: usize,
    mut done: impl FnMut(&T),
) -> Vec<T> {
    let mut waiting = tasks.into_iter().enumerate();
    let mut running = JoinSet::new();
    let mut finished = Vec::new();
    loop {
        while running.len() < at_once
            && let Some((at, task)) = waiting.next()
        {
            running.spawn(async move { (at, task.await) });
        }
        match running.join_next().await {
            Some(Ok((at, given))) => {
                done(&given);
                finished.push((at, given));
            }
            Some(Err(panic)) => std::panic::resume_unwind(panic.into_panic()),
            None => break,
        }
    }
    finished.sort_by_key(|(at, _)| *at);
    finished.into_iter().map(|(_, given)| given).collect()
}

/// On the terminal, or nowhere.
fn progress(drivers: usize, json: bool) -> Result<ProgressBar> {
    let target = if json { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let progress = ProgressBar::with_draw_target(Some(u64::try_from(drivers)?), target);
    progress.set_style(ProgressStyle::with_template("{spinner} {bar:24} {pos}/{len} drivers  {msg}")?);
    progress.enable_steady_tick(Duration::from_millis(100));
    Ok(progress)
}

fn validators(text: &str) -> Result<u8, String> {
    match text {
        "1" => Ok(1),
        "4" => Ok(4),
        _ => Err("1 or 4 agents can keep the demo's ledger".to_owned()),
    }
}

/// Drivers at a time.
const AT_ONCE: usize = 20;
/// Threads of the demo.
const WORKERS: usize = 8;
