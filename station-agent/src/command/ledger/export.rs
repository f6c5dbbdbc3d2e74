//! `station-agent ledger export`.

use super::{order::OrderFile, replay::replay};
use crate::{
    command::say,
    export::{Cell, ExportError, SESSIONS_MIN, SLOT_MS, Session, Totals},
    zone_file,
};
use clap::{Args, ValueEnum};
use eyre::{Context, bail, eyre};
use ohmesh_ledger::SaleRecord;
use ohmesh_units::ZoneId;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Args)]
pub(in crate::command) struct Export {
    /// The agent's data folder; the agent may run.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// The zone file.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
    /// The order, signed by the zone's audit key.
    #[arg(long)]
    order: PathBuf,
    /// How it is written.
    #[arg(long, value_enum, default_value_t = Format::Csv)]
    format: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line of names, then a line a cell.
    Csv,
    /// One object.
    Json,
}

#[derive(Serialize)]
struct Exported {
    zone: ZoneId,
    from: String,
    to: String,
    /// All sales up to this block are counted; later ones cannot change a slot of the order.
    height: u64,
    slot_minutes: u64,
    /// Cells of fewer sessions, none included, are left out.
    sessions_min: u64,
    currency: String,
    cells: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    circuit: Option<u32>,
    slot_start_utc: String,
    sessions: u64,
    energy_wh: u64,
    paid_micro: i64,
    grid_fee_micro: i64,
}

impl From<&Cell> for Row {
    fn from(cell: &Cell) -> Self {
        Self {
            circuit: cell.circuit,
            slot_start_utc: cell.slot.to_string(),
            sessions: cell.sessions,
            energy_wh: cell.energy.as_wh(),
            paid_micro: cell.paid.as_micro(),
            grid_fee_micro: cell.grid_fee.as_micro(),
        }
    }
}

pub(super) fn run(args: &Export, json: bool) -> eyre::Result<()> {
    let file = zone_file::read(&args.zone)?;
    let zone = file.sealed().with_context(|| format!("zone file {}", args.zone.display()))?;
    let (order, signature) = OrderFile::read(&args.order)?;
    let unsigned = || eyre!("order file {} is not signed: `ledger order sign`", args.order.display());
    let signature = signature.ok_or_else(unsigned)?;
    let mut totals = Ok(Totals::new(order.clone()));
    let is_json = json || args.format == Format::Json;
    let replayed = replay(&args.data, zone.clone(), is_json, |good| {
        for sale in &good.applied.sales {
            add(&mut totals, &session(sale));
        }
    })?;
    if let Some(bad) = &replayed.bad {
        bail!("{} does not verify at height {}: {}", args.data.display(), bad.height, bad.reason);
    }
    let state = &replayed.state;
    order.authorize(&signature, *state.zone_id(), state.governance().audit_key)?;
    let cells = totals?.cells(state.head().time)?;
    let exported = Exported {
        zone: order.zone,
        from: order.from.to_string(),
        to: order.to.to_string(),
        height: state.head().height,
        slot_minutes: SLOT_MS / 60_000,
        sessions_min: SESSIONS_MIN,
        currency: zone.currency.to_string(),
        cells: cells.iter().map(Row::from).collect(),
    };
    say(&if is_json { serde_json::to_string(&exported)? } else { csv(&exported).trim_end().to_owned() })
}

/// Counts a sale unless counting has failed before.
fn add(totals: &mut Result<Totals, ExportError>, session: &Session) {
    if let Ok(counted) = totals
        && let Err(error) = counted.add(session)
    {
        *totals = Err(error);
    }
}

/// A line of names with units, then a line for each cell; an unknown circuit is empty.
fn csv(exported: &Exported) -> String {
    let currency = exported.currency.to_lowercase();
    let mut text = format!(
        "circuit,slot_start_utc,slot_minutes,sessions,energy_wh,paid_micro_{currency},grid_fee_micro_{currency}\n"
    );
    for row in &exported.cells {
        let circuit = row.circuit.map(|circuit| circuit.to_string()).unwrap_or_default();
        let Row { slot_start_utc, sessions, energy_wh, paid_micro, grid_fee_micro, .. } = row;
        let minutes = exported.slot_minutes;
        text += &format!(
            "{circuit},{slot_start_utc},{minutes},{sessions},{energy_wh},{paid_micro},{grid_fee_micro}\n"
        );
    }
    text
}

/// A sale of the ledger as the export counts it.
fn session(sale: &SaleRecord) -> Session {
    let SaleRecord { circuit, energy, price, grid, at, .. } = *sale;
    Session { circuit, paid_at: at, energy, paid: price, grid_fee: grid }
}
