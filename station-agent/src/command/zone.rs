//! `station-agent zone`: the genesis of a ledger, signed by each of its validators.

mod apply;
mod decide;
mod proposal;
mod words;

use super::{fresh, print};
use crate::{disk::Folder, key_file, vote_keys::VoteKeys, zone_file};
use clap::{Args, Subcommand};
use eyre::{Context, bail, eyre};
use ohmesh_geo::{Catalogue, ZonePolygon, choose_area, frame, german_register};
use ohmesh_ledger::{
    Deposits, Distributor, KeyGroup, Rules, Validator, ValidatorSet, Zone, ZoneArea, ZoneFile,
};
use ohmesh_mesh::{Clock, SystemClock};
use ohmesh_units::{Area, Currency, Money, Position, Price, PublicKey, ZoneId};
use serde::Serialize;
use std::{collections::BTreeSet, path::PathBuf};

#[derive(Subcommand)]
pub(super) enum ZoneCommand {
    /// Make a zone file with this agent as its first validator.
    New(New),
    /// Add this agent to a zone file, or sign one that it is in already. Whoever joins changes the zone, so those who
    /// had signed before sign again; a zone runs when all have signed.
    Join(Join),
    /// Show a zone file: its id, its validators, who has not signed.
    Show {
        /// The zone file.
        file: PathBuf,
    },
    /// Prepare this agent to join a zone that runs: make its vote key, open its account, print the line that a validator
    /// proposes.
    Apply(apply::Apply),
    /// Write a decision of the zone's people into a file, for those who must sign it.
    Propose(decide::Propose),
    /// Say in plain words what a proposal does, and sign it.
    Sign(decide::Sign),
    /// Send a proposal that all have signed, and wait until it is applied.
    Submit(decide::Submit),
}

#[derive(Args)]
pub(super) struct New {
    /// The zone file to make.
    file: PathBuf,
    /// What people call the zone.
    #[arg(long)]
    name: String,
    /// The currency of its money, as EUR.
    #[arg(long, default_value = "EUR")]
    currency: Currency,
    /// Its corners in order, as LAT,LON in degrees, three at least.
    #[arg(long = "corner", required = true, value_parser = position, allow_hyphen_values = true)]
    corners: Vec<Position>,
    /// The public keys that may issue and burn money.
    #[arg(long = "treasurer", required = true)]
    treasurers: Vec<PublicKey>,
    /// How many treasurers must sign.
    #[arg(long, default_value_t = 1)]
    threshold: u8,
    /// The public key of the grid's distributor.
    #[arg(long)]
    distributor: PublicKey,
    /// The grid fee, in micro-units a kWh.
    #[arg(long, default_value_t = 0)]
    tariff: i64,
    /// A public key that sets price caps, names the audit key and settles disputes; as many as wanted.
    #[arg(long = "regulator")]
    regulators: Vec<PublicKey>,
    /// How many regulators must sign.
    #[arg(long, default_value_t = 1)]
    regulators_needed: u8,
    /// What a transaction costs for each unit of its weight, in micro-units; burned.
    #[arg(long, default_value_t = 0)]
    fee: i64,
    /// How long an epoch lasts, in seconds: validators change their vote keys so often.
    #[arg(long, default_value_t = 24 * 3600)]
    epoch_seconds: u64,
    /// The bond behind each unit of stake that a validator gets after the genesis, in micro-units.
    #[arg(long, default_value_t = 0)]
    bond: i64,
    /// What the account that answers for a buyer deposits in each auction, in micro-units; burned if the buyer fails the
    /// bidders.
    #[arg(long, default_value_t = 0)]
    buyer_deposit: i64,
    /// What a station's owner deposits with each bid, in micro-units; burned if it wins and does not come.
    #[arg(long, default_value_t = 0)]
    bid_deposit: i64,
    /// An H3 cell in which auctions are held; as many as wanted.
    #[arg(long = "area")]
    areas: Vec<Area>,
    /// A German charging register (CSV): auctions are held in the cells that its stations within the corners need, each
    /// with at least 20 stations.
    #[arg(long)]
    register: Option<PathBuf>,
    #[command(flatten)]
    me: Me,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(super) struct Join {
    /// The zone file to change.
    file: PathBuf,
    #[command(flatten)]
    me: Me,
}

#[derive(Args)]
struct Me {
    /// The agent's key file.
    #[arg(long, default_value = "agent.key")]
    key: PathBuf,
    /// The agent's data folder: the key with which it will vote is made there, and leaves it never.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// What people call this agent.
    #[arg(long = "agent-name")]
    agent_name: Option<String>,
    /// Where this agent can be reached, as HOST:PORT.
    #[arg(long)]
    address: Option<String>,
    /// Its weight in votes.
    #[arg(long, default_value_t = 1)]
    stake: u64,
}

impl Me {
    fn address(&self) -> eyre::Result<String> {
        let address = self.address.clone().ok_or_else(|| eyre!("--address HOST:PORT is missing"))?;
        let port = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        if port.is_none_or(|(host, port)| host.is_empty() || port == 0) {
            bail!("--address {address:?} is not HOST:PORT");
        }
        Ok(address)
    }

    fn name(&self, key: &PublicKey) -> String {
        self.agent_name.clone().unwrap_or_else(|| key.to_string()[..8].to_owned())
    }

    fn validator(&self, key: PublicKey) -> eyre::Result<Validator> {
        let (address, name) = (self.address()?, self.name(&key));
        let mut disk =
            Folder::open(&self.data).with_context(|| format!("data folder {}", self.data.display()))?;
        let vote = VoteKeys::first(&mut disk, *key_file::generate()?.seed())?;
        Ok(Validator { name, key, vote, stake: self.stake, address })
    }
}

#[derive(Serialize)]
struct Shown<'z> {
    id: ZoneId,
    sealed: bool,
    unsigned: Vec<&'z str>,
    zone: &'z Zone,
}

pub(super) fn run(command: ZoneCommand, json: bool) -> eyre::Result<()> {
    match command {
        ZoneCommand::New(new) => {
            fresh(&new.file, new.force)?;
            let key = key_file::read(&new.me.key)?;
            let areas = areas(&new)?;
            let regulators = (!new.regulators.is_empty())
                .then(|| KeyGroup { threshold: new.regulators_needed, keys: new.regulators.clone() });
            let rules = Rules {
                fee: Money::from_micro(new.fee),
                epoch_ms: new.epoch_seconds.saturating_mul(1_000),
                bond: Money::from_micro(new.bond),
                deposits: Deposits {
                    buyer: Money::from_micro(new.buyer_deposit),
                    bid: Money::from_micro(new.bid_deposit),
                },
                ..Rules::default()
            };
            let zone = Zone {
                name: new.name,
                currency: new.currency,
                created: SystemClock.now(),
                polygon: new.corners,
                regulators,
                rules,
                treasury: KeyGroup { threshold: new.threshold, keys: new.treasurers },
                distributor: Distributor {
                    key: new.distributor,
                    tariff: Price::from_micro_per_kwh(new.tariff),
                },
                areas,
                validators: ValidatorSet::new(vec![new.me.validator(key.public())?])?,
            };
            let mut file = ZoneFile::new(zone)?;
            file.sign(&key)?;
            zone_file::write(&new.file, &file)?;
            show(&file, json)
        }
        ZoneCommand::Join(Join { file: path, me }) => {
            let key = key_file::read(&me.key)?;
            let mut file = zone_file::read(&path)?;
            if file.zone.validators.index_of(&key.public()).is_none() {
                let mut validators = file.zone.validators.all().to_vec();
                validators.push(me.validator(key.public())?);
                let zone = Zone { validators: ValidatorSet::new(validators)?, ..file.zone };
                file = ZoneFile::new(zone)?;
            }
            file.sign(&key)?;
            zone_file::write(&path, &file)?;
            show(&file, json)
        }
        ZoneCommand::Show { file } => show(&zone_file::read(&file)?, json),
        ZoneCommand::Apply(args) => apply::run(&args, json),
        ZoneCommand::Propose(args) => decide::propose(args, json),
        ZoneCommand::Sign(args) => decide::sign(&args, json),
        ZoneCommand::Submit(args) => decide::submit(&args, json),
    }
}

/// The areas that were named, and those that a register's stations need, with their frames.
fn areas(new: &New) -> eyre::Result<Vec<ZoneArea>> {
    let mut ring = new.corners.clone();
    ring.extend(new.corners.first());
    let polygon = ZonePolygon::new(ring).context("corners")?;
    let mut areas: BTreeSet<Area> = new.areas.iter().copied().collect();
    if let Some(path) = &new.register {
        let name = path.display();
        let file = std::fs::File::open(path).with_context(|| format!("cannot read register {name}"))?;
        let import = german_register(file).with_context(|| format!("register {name}"))?;
        let catalogue = Catalogue::new(import.stations).with_context(|| format!("register {name}"))?;
        let within = catalogue.stations().iter().map(|station| station.position);
        let within: Vec<Position> = within.filter(|position| polygon.contains(*position)).collect();
        if within.is_empty() {
            bail!("register {name} has no station within the corners");
        }
        for position in within {
            areas.insert(choose_area(position, &catalogue)?);
        }
    }
    areas.into_iter().map(|area| Ok(ZoneArea { area, frame: frame(area)? })).collect()
}

fn show(file: &ZoneFile, json: bool) -> eyre::Result<()> {
    let zone = &file.zone;
    let name = |index: &u16| zone.validators.at(*index).map_or("", |validator| validator.name.as_str());
    let unsigned: Vec<&str> = file.unsigned().iter().map(name).collect();
    let shown = Shown { id: zone.id(), sealed: unsigned.is_empty(), unsigned, zone };
    print(json, &shown, || {
        let mut lines = vec![
            format!("zone       {}", zone.name),
            format!("id         {}", shown.id),
            format!("currency   {}", zone.currency),
            format!("made       {}", zone.created),
            format!("treasury   {} of {} keys", zone.treasury.threshold, zone.treasury.keys.len()),
            format!("grid fee   {} ({})", zone.distributor.tariff, zone.currency),
            format!("auctions   in {} areas", zone.areas.len()),
        ];
        for validator in zone.validators.all() {
            lines.push(format!(
                "validator  {}  stake {}  {}",
                validator.name, validator.stake, validator.address
            ));
        }
        lines.push(match shown.unsigned.as_slice() {
            [] => "sealed     by every validator: it can run".to_owned(),
            missing => format!("unsigned   {}: they run `station-agent zone join`", missing.join(", ")),
        });
        lines.join("\n")
    })
}

/// `LAT,LON` in degrees, to a position in 1e-7 degrees; decimals are read as digits, not as floats.
pub(crate) fn position(text: &str) -> eyre::Result<Position> {
    let (lat, lon) = text.split_once(',').ok_or_else(|| eyre!("{text:?} is not LAT,LON"))?;
    let e7 = |degrees: &str| -> eyre::Result<i32> {
        let degrees = degrees.trim();
        let (sign, digits) = degrees.strip_prefix('-').map_or((1, degrees), |rest| (-1, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty()
            || whole.len() > 3
            || fraction.len() > 7
            || !all_digits(whole)
            || !all_digits(fraction)
        {
            bail!("{degrees:?} is not degrees with at most 7 decimals");
        }
        let e7: i64 = format!("{whole}{fraction:0<7}").parse().context("degrees")?;
        Ok(i32::try_from(sign * e7)?)
    };
    Ok(Position::from_e7(e7(lat)?, e7(lon)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_digits() {
        assert_eq!(
            position("52.52,13.4050001").unwrap(),
            Position::from_e7(525_200_000, 134_050_001).unwrap()
        );
        assert_eq!(position("-33.9,-0.0000001").unwrap(), Position::from_e7(-339_000_000, -1).unwrap());
        for bad in
            ["52.52", "52.52;13", "x,1", "91,0", "0,181", "0,1.00000001", "0,", "-,1", "0,--1", "1e1,0"]
        {
            assert!(position(bad).is_err(), "{bad}");
        }
    }
}
