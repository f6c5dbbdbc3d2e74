//! `station-agent ledger order`: orders for exports, as files that people read and carry.

use crate::{
    command::{fresh, instant::instant, print},
    export::ExportOrder,
    key_file,
};
use clap::Subcommand;
use eyre::{Context, bail};
use ohmesh_units::{Signature, Timestamp, ZoneId};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(in crate::command) enum OrderCommand {
    /// Make an order that nobody has signed yet.
    New {
        /// The order file to make.
        file: PathBuf,
        /// The zone file.
        #[arg(long, default_value = "zone.toml")]
        zone: PathBuf,
        /// The beginning of the first quarter of an hour, as 2026-11-21T22:30Z.
        #[arg(long, value_parser = instant)]
        from: Timestamp,
        /// The end of the last one.
        #[arg(long, value_parser = instant)]
        to: Timestamp,
        /// A circuit, by the distributor's number; as many as wanted, all if none is named.
        #[arg(long = "circuit")]
        circuits: Vec<u32>,
        /// Overwrite the file if it exists.
        #[arg(long)]
        force: bool,
    },
    /// Sign an order with the zone's audit key.
    Sign {
        /// The order file.
        file: PathBuf,
        /// The audit key's file.
        #[arg(long)]
        key: PathBuf,
    },
}

/// An order in a file: what is signed is the canonical form of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OrderFile {
    zone: ZoneId,
    from: String,
    to: String,
    /// None: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    circuits: Option<Vec<u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<Signature>,
}

impl OrderFile {
    fn of(order: &ExportOrder, signature: Option<Signature>) -> Self {
        let ExportOrder { zone, circuits, from, to } = order.clone();
        Self { zone, from: from.to_string(), to: to.to_string(), circuits, signature }
    }

    /// The order and its signature, if it has one.
    pub(super) fn read(path: &Path) -> eyre::Result<(ExportOrder, Option<Signature>)> {
        let name = || format!("order file {}", path.display());
        let length = std::fs::metadata(path).with_context(name)?.len();
        if length > BYTES_MAX {
            bail!("{} has {length} bytes, which no order has", name());
        }
        let text = std::fs::read_to_string(path).with_context(name)?;
        let file: Self = toml::from_str(&text).with_context(name)?;
        let (from, to) = (instant(&file.from).with_context(name)?, instant(&file.to).with_context(name)?);
        let order = ExportOrder { zone: file.zone, circuits: file.circuits, from, to };
        order.check().with_context(name)?;
        Ok((order, file.signature))
    }

    fn write(&self, path: &Path) -> eyre::Result<()> {
        let name = || format!("cannot write order file {}", path.display());
        std::fs::write(path, toml::to_string(self).with_context(name)?).with_context(name)
    }
}

pub(super) fn run(command: OrderCommand, json: bool) -> eyre::Result<()> {
    match command {
        OrderCommand::New { file, zone, from, to, mut circuits, force } => {
            fresh(&file, force)?;
            let zone = crate::zone_file::read(&zone)?.zone.id();
            circuits.sort_unstable();
            circuits.dedup();
            let circuits = (!circuits.is_empty()).then_some(circuits);
            let order = ExportOrder { zone, circuits, from, to };
            order.check()?;
            let made = OrderFile::of(&order, None);
            made.write(&file)?;
            print(json, &made, || format!("{}\nunsigned   by the zone's audit key", words(&order)))
        }
        OrderCommand::Sign { file, key } => {
            let (order, _) = OrderFile::read(&file)?;
            let key = key_file::read(&key)?;
            let signed = OrderFile::of(&order, Some(order.sign(&key)));
            signed.write(&file)?;
            print(json, &signed, || format!("{}\nsigned by  {}", words(&order), key.public()))
        }
    }
}

/// What an order asks for, for people.
fn words(order: &ExportOrder) -> String {
    let circuits = match &order.circuits {
        None => "all".to_owned(),
        Some(some) => some.iter().map(u32::to_string).collect::<Vec<_>>().join(", "),
    };
    format!(
        "order      energy, price and grid fee of all sales, by circuit and quarter of an hour\nzone       {}\n\
         from       {}\nto         {}\ncircuits   {circuits}",
        order.zone, order.from, order.to
    )
}

/// A file of all circuits that an order may name, and some spaces.
const BYTES_MAX: u64 = 128 << 10;
