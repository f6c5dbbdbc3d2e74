//! `station-agent zone propose`, `sign` and `submit`: decisions of the zone's people as files that they carry to one another.

use super::{
    proposal,
    words::{Known, Need, are_met, counts, need_lines, needs, words},
};
use crate::{
    command::{
        fresh,
        instant::instant,
        print,
        reach::{Contact, Reach},
    },
    key_file,
};
use clap::{Args, Subcommand};
use eyre::{bail, eyre};
use ohmesh_ledger::{
    Body, Deposits, Governance, Header, KeySignature, Object, Rules, SignedTransaction, Transaction,
    Validator, ValidatorSet, Verified, Zone,
};
use ohmesh_units::{
    AccountId, ContractId, Energy, Money, Price, PublicKey, SigningKey, StationId, Timestamp, TransactionId,
};
use serde::Serialize;
use std::{path::PathBuf, str::FromStr, time::Duration};

#[derive(Args)]
pub(in crate::command) struct Propose {
    /// The proposal file to make.
    file: PathBuf,
    /// The key of the sender, who signs at once and pays: a validator's, the distributor's, or another that has an account.
    #[arg(long, default_value = "agent.key")]
    key: PathBuf,
    /// Hours until it can no longer be applied, 1 to 24.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=24))]
    valid_hours: u64,
    /// Overwrite the file if it exists.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Subcommand)]
enum Kind {
    /// Who validates from the next block on; validators with more than two thirds of the stake sign.
    Validators {
        /// A newcomer, as `zone apply` prints it: NAME,KEY,VOTE,STAKE,ADDRESS.
        #[arg(long = "add", value_parser = newcomer)]
        add: Vec<Validator>,
        /// The name of one that leaves.
        #[arg(long = "remove")]
        remove: Vec<String>,
        /// Another stake for one that stays: NAME=STAKE.
        #[arg(long = "restake", value_parser = restake)]
        restake: Vec<(String, u64)>,
    },
    /// The rules of the next epoch; what is not named stays. Validators sign as above.
    Rules {
        /// What a transaction costs for each unit of its weight, in micro-units.
        #[arg(long)]
        fee: Option<i64>,
        /// How long an epoch lasts, in seconds.
        #[arg(long)]
        epoch_seconds: Option<u64>,
        /// The bond behind each unit of stake that a validator gets after the genesis, in micro-units.
        #[arg(long)]
        bond: Option<i64>,
        /// What the account that answers for a buyer deposits in each auction, in micro-units.
        #[arg(long)]
        buyer_deposit: Option<i64>,
        /// What a station's owner deposits with each bid, in micro-units.
        #[arg(long)]
        bid_deposit: Option<i64>,
        /// The version: agents that do not know it stop when it begins.
        #[arg(long)]
        version: Option<u32>,
    },
    /// The grid fee; sent by the distributor.
    Tariff {
        /// Micro-units a kWh.
        price: i64,
        /// From when it holds, as 2026-11-21T22:30Z, a day after it is on the ledger at the earliest; as early as is safe,
        /// if not given.
        #[arg(long, value_parser = instant)]
        from: Option<Timestamp>,
    },
    /// The highest price; the regulators sign.
    PriceCap {
        /// Micro-units a kWh.
        #[arg(required_unless_present = "none")]
        price: Option<i64>,
        /// No cap.
        #[arg(long, conflicts_with = "price")]
        none: bool,
        /// From when it holds; as for `tariff`.
        #[arg(long, value_parser = instant)]
        from: Option<Timestamp>,
    },
    /// Whose word lets totals be exported; the regulators sign.
    AuditKey {
        /// Its public key.
        #[arg(required_unless_present = "none")]
        public_key: Option<PublicKey>,
        /// Nobody's.
        #[arg(long, conflicts_with = "public_key")]
        none: bool,
    },
    /// Which circuit feeds a station; sent by the distributor.
    Circuit {
        /// The station's id.
        station: StationId,
        /// The distributor's number for the circuit.
        #[arg(required_unless_present = "none")]
        circuit: Option<u32>,
        /// None known.
        #[arg(long, conflicts_with = "circuit")]
        none: bool,
    },
    /// Puts the sender's money behind its votes.
    Bond {
        /// Micro-units.
        amount: i64,
    },
    /// Asks a part of the sender's bond back.
    Unbond {
        /// Micro-units.
        amount: i64,
    },
    /// Ends a dispute; both parties sign, or the regulators do.
    Resolve {
        /// The contract's id.
        contract: ContractId,
        /// The energy that is to be paid, in Wh.
        energy_wh: u64,
    },
}

#[derive(Args)]
pub(in crate::command) struct Sign {
    /// The proposal file; it is changed in place.
    file: PathBuf,
    /// The key to sign with.
    #[arg(long, default_value = "agent.key")]
    key: PathBuf,
    /// Ask no agent: what changes is not told from what stays, nor whose signatures are missing.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Args)]
pub(in crate::command) struct Submit {
    /// The proposal file.
    file: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

#[derive(Serialize)]
struct Shown {
    id: TransactionId,
    valid_until: Timestamp,
    words: Vec<String>,
    needs: Vec<Need>,
    complete: Option<bool>,
}

pub(super) fn propose(args: Propose, json: bool) -> eyre::Result<()> {
    fresh(&args.file, args.force)?;
    let key = key_file::read(&args.key)?;
    let zone = args.reach.sealed()?;
    let (signed, known) = args.reach.with(async |mut contact: Contact| {
        let (header, governance) = contact.governance().await?;
        let validators = contact.epoch(governance.epoch).await?.validators;
        let mut known = Known { governance, validators, contract: None };
        let hours = Duration::from_secs(args.valid_hours * 3_600);
        let valid_until = header.time.checked_add(hours).ok_or_else(|| eyre!("the ledger's time is over"))?;
        let body = args.kind.body(&key, &zone, &known, (header.time, valid_until))?;
        known.contract = contract(&mut contact, &body).await?;
        has_station(&mut contact, &body).await?;
        has_account(&mut contact, &key).await?;
        let signed = transaction(&zone, &key, valid_until, body)?;
        // What cannot be decoded again cannot be carried.
        let signed = Verified::one(&zone.id(), signed)?.signed().clone();
        eyre::Ok((signed, known))
    })?;
    let needs = needs(&signed, &zone, &known);
    proposal::write(&args.file, &signed)?;
    let shown = shown(&signed, &zone, Some(&known), needs);
    print(json, &shown, || text(&shown, &args.file.display().to_string()))
}

pub(super) fn sign(args: &Sign, json: bool) -> eyre::Result<()> {
    let key = key_file::read(&args.key)?;
    let zone = args.reach.sealed()?;
    let mut signed = proposal::read(&args.file, &zone.id())?;
    let known = match args.offline {
        true => None,
        false => Some(args.reach.with(async |mut contact: Contact| look(&mut contact, &signed).await)?.1),
    };
    if let Some(known) = &known
        && !counts(&needs(&signed, &zone, known), &key.public())
    {
        bail!("the signature of key {} counts for nothing in this proposal", key.public());
    }
    if signed.signatures.iter().any(|one| one.key == key.public()) {
        bail!("key {} has signed this proposal already", key.public());
    }
    if signed.signatures.len() == SignedTransaction::SIGNATURES_MAX {
        bail!("the proposal has {} signatures, no more are allowed", signed.signatures.len());
    }
    let one = signed.transaction.clone().sign(&[&key]);
    signed.signatures.extend(one.signatures.into_iter().map(|one: KeySignature| one));
    proposal::write(&args.file, &signed)?;
    let needs = known.as_ref().map(|known| needs(&signed, &zone, known)).unwrap_or_default();
    let shown = shown(&signed, &zone, known.as_ref(), needs);
    print(json, &shown, || text(&shown, &args.file.display().to_string()))
}

#[derive(Serialize)]
struct Done {
    id: TransactionId,
    applied: bool,
    /// The block against which the outcome was proven.
    height: u64,
    outcome: Vec<String>,
}

pub(super) fn submit(args: &Submit, json: bool) -> eyre::Result<()> {
    let zone = args.reach.sealed()?;
    let signed = proposal::read(&args.file, &zone.id())?;
    let done = args.reach.with(async |mut contact: Contact| {
        contact.submit(&signed).await?;
        let (height, outcome) = outcome(&mut contact, &signed).await?;
        eyre::Ok(Done { id: signed.transaction.id(), applied: true, height, outcome })
    })?;
    print(json, &done, || {
        let mut lines = vec!["applied".to_owned()];
        lines.extend(done.outcome.iter().cloned());
        lines.push(format!("proven     at height {}", done.height));
        lines.join("\n")
    })
}

/// What is proven of the zone as far as this proposal goes.
async fn look(contact: &mut Contact, signed: &SignedTransaction) -> eyre::Result<(Header, Known)> {
    let (header, governance) = contact.governance().await?;
    let validators = contact.epoch(governance.epoch).await?.validators;
    if let Body::SetValidators { epoch, .. } | Body::Upgrade { epoch, .. } = &signed.transaction.body
        && *epoch != governance.epoch
    {
        bail!("the proposal is for epoch {epoch}, and epoch {} has begun: make it again", governance.epoch);
    }
    if signed.transaction.valid_until <= header.time {
        bail!("the proposal was valid until {}: make it again", signed.transaction.valid_until);
    }
    let contract = contract(contact, &signed.transaction.body).await?;
    Ok((header, Known { governance, validators, contract }))
}

/// The contract that a proposal resolves.
async fn contract(
    contact: &mut Contact,
    body: &Body,
) -> eyre::Result<Option<Box<ohmesh_contract::Contract>>> {
    let Body::ContractResolve { contract, .. } = body else { return Ok(None) };
    match contact.object((*contract).into()).await? {
        (_, Some(Object::Contract(contract))) => Ok(Some(contract)),
        (_, Some(Object::Finished(_))) => bail!("contract {contract} has ended"),
        _ => bail!("{} shows no contract {contract}", contact.agent()),
    }
}

/// Refuses a sender without an account: whoever signs for it would sign for nothing.
async fn has_account(contact: &mut Contact, key: &SigningKey) -> eyre::Result<()> {
    let account = AccountId::of(&key.public());
    match contact.object(account.into()).await? {
        (_, Some(Object::Account(_))) => Ok(()),
        _ => bail!("{} shows no account {account}: --key is to be the key of one", contact.agent()),
    }
}

/// Refuses a station that is not there.
async fn has_station(contact: &mut Contact, body: &Body) -> eyre::Result<()> {
    let Body::SetCircuit { station, .. } = body else { return Ok(()) };
    match contact.object((*station).into()).await? {
        (_, Some(Object::Station(_))) => Ok(()),
        _ => bail!("{} shows no station {station}", contact.agent()),
    }
}

/// What holds after a proposal was applied, proven.
async fn outcome(contact: &mut Contact, signed: &SignedTransaction) -> eyre::Result<(u64, Vec<String>)> {
    let (header, governance) = contact.governance().await?;
    let mut height = header.height;
    let lines = match &signed.transaction.body {
        Body::SetValidators { .. } => {
            let validators = contact.epoch(governance.epoch).await?.validators;
            let mut lines = vec![format!("epoch      {} has begun", governance.epoch)];
            let all = validators.all().iter();
            lines.extend(
                all.map(|one| format!("validator  {}  stake {}  {}", one.name, one.stake, one.address)),
            );
            lines
        }
        Body::Upgrade { .. } => match governance.next_rules {
            Some(next) => vec![format!("rules      version {} from the next epoch on", next.version)],
            None => vec![format!("rules      version {} hold", governance.rules.version)],
        },
        Body::SetTariff { .. } => {
            let all = governance.tariffs.iter();
            all.map(|one| format!("grid fee   {} from {}", one.price, one.from)).collect()
        }
        Body::SetPriceCap { .. } => {
            let all = governance.caps.iter();
            let cap = |cap: Option<Price>| cap.map_or("none".to_owned(), |cap| cap.to_string());
            all.map(|one| format!("price cap  {} from {}", cap(one.cap), one.from)).collect()
        }
        Body::SetAuditKey { .. } => {
            vec![format!("audit key  {}", governance.audit_key.map_or("none".into(), |key| key.to_string()))]
        }
        Body::SetCircuit { station, .. } => {
            let (header, object) = contact.object((*station).into()).await?;
            height = header.height;
            let circuit = match object {
                Some(Object::Station(station)) => station.circuit,
                _ => None,
            };
            vec![format!("circuit    {}", circuit.map_or("none".into(), |circuit| circuit.to_string()))]
        }
        Body::Bond { .. } | Body::Unbond { .. } => {
            let bond = ohmesh_ledger::Bond::id(&signed.transaction.sender);
            let (header, object) = contact.object(bond).await?;
            height = header.height;
            match object {
                Some(Object::Bond(bond)) => {
                    let leaving = bond.leaving.iter().map(|(free, amount)| {
                        format!("leaving    {}, free at {free}", Money::from_micro(*amount))
                    });
                    let bonded = format!("bonded     {}", Money::from_micro(bond.bonded));
                    [bonded].into_iter().chain(leaving).collect()
                }
                _ => bail!("{} does not prove the bond", contact.agent()),
            }
        }
        _ => Vec::new(),
    };
    Ok((height, lines))
}

fn shown(signed: &SignedTransaction, zone: &Zone, known: Option<&Known>, needs: Vec<Need>) -> Shown {
    Shown {
        id: signed.transaction.id(),
        valid_until: signed.transaction.valid_until,
        words: words(&signed.transaction, zone, known),
        complete: known.map(|_| are_met(&needs)),
        needs,
    }
}

fn text(shown: &Shown, file: &str) -> String {
    let mut lines = shown.words.clone();
    lines.extend(need_lines(&shown.needs));
    lines.push(match shown.complete {
        Some(true) => format!("complete   `station-agent zone submit {file}` sends it"),
        Some(false) => format!("incomplete the others run `station-agent zone sign {file}`"),
        None => "signed     an agent was not asked whether others have to sign too".to_owned(),
    });
    lines.join("\n")
}

/// A transaction of the key's account, signed by it.
pub(super) fn transaction(
    zone: &Zone,
    key: &SigningKey,
    valid_until: Timestamp,
    body: Body,
) -> eyre::Result<SignedTransaction> {
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|error| eyre!("no randomness from the system: {error}"))?;
    let transaction = Transaction {
        zone: zone.id(),
        sender: AccountId::of(&key.public()),
        number: u128::from_be_bytes(number),
        valid_until,
        body,
    };
    Ok(transaction.sign(&[key]))
}

impl Kind {
    /// The transaction's body, to come to the ledger after `now` and until `valid_until`. What the ledger could never take
    /// is refused here, before anybody is asked to sign it.
    fn body(
        &self,
        key: &SigningKey,
        zone: &Zone,
        known: &Known,
        (now, valid_until): (Timestamp, Timestamp),
    ) -> eyre::Result<Body> {
        let epoch = known.governance.epoch;
        let from = |from: &Option<Timestamp>| begins(*from, now, valid_until);
        Ok(match self {
            Self::Validators { add, remove, restake } => {
                let validators = Box::new(changed(&known.validators, add, remove, restake)?);
                Body::SetValidators { epoch, validators }
            }
            Self::Rules { fee, epoch_seconds, bond, buyer_deposit, bid_deposit, version } => {
                let was = known.governance.next_rules.unwrap_or(known.governance.rules);
                let rules = Rules {
                    version: version.unwrap_or(was.version),
                    fee: fee.map_or(was.fee, Money::from_micro),
                    epoch_ms: epoch_seconds.map_or(was.epoch_ms, |seconds| seconds.saturating_mul(1_000)),
                    bond: bond.map_or(was.bond, Money::from_micro),
                    deposits: Deposits {
                        buyer: buyer_deposit.map_or(was.deposits.buyer, Money::from_micro),
                        bid: bid_deposit.map_or(was.deposits.bid, Money::from_micro),
                    },
                };
                Rules { version: Rules::VERSION, ..rules }.check()?;
                if rules == was {
                    bail!("nothing changes: name --fee, --epoch-seconds, --bond, a deposit or --version");
                }
                Body::Upgrade { epoch, rules }
            }
            Self::Tariff { price: micro, from: at } => {
                distributor(key, zone)?;
                to_come("grid fee", known.governance.tariffs.iter().map(|one| one.from), now)?;
                Body::SetTariff { price: price(*micro, 0)?, from: from(at)? }
            }
            Self::PriceCap { price: micro, none: _, from: at } => {
                regulated(zone)?;
                to_come("price cap", known.governance.caps.iter().map(|one| one.from), now)?;
                let cap = micro.map(|micro| price(micro, 1)).transpose()?;
                Body::SetPriceCap { cap, from: from(at)? }
            }
            Self::AuditKey { public_key, none: _ } => {
                regulated(zone)?;
                Body::SetAuditKey { key: *public_key }
            }
            Self::Circuit { station, circuit, none: _ } => {
                distributor(key, zone)?;
                Body::SetCircuit { station: *station, circuit: *circuit }
            }
            Self::Bond { amount } => Body::Bond { amount: above_zero(*amount)? },
            Self::Unbond { amount } => Body::Unbond { amount: above_zero(*amount)? },
            Self::Resolve { contract, energy_wh } => {
                Body::ContractResolve { contract: *contract, energy: Energy::from_wh(*energy_wh) }
            }
        })
    }
}

/// When a decision begins to hold: `from`, or as early as is safe. Notice counts from when it is on the ledger, which may be
/// as late as it is valid.
fn begins(from: Option<Timestamp>, now: Timestamp, valid_until: Timestamp) -> eyre::Result<Timestamp> {
    let after = |time: Timestamp| {
        time.checked_add(Governance::NOTICE).ok_or_else(|| eyre!("the ledger's time is over"))
    };
    let Some(from) = from else { return after(valid_until) };
    let earliest = after(now)?;
    if from < earliest {
        bail!("--from {from} is too early: what is decided now holds from {earliest} on at the earliest");
    }
    Ok(from)
}

/// One change at a time may wait for its day.
fn to_come(what: &str, mut from: impl Iterator<Item = Timestamp>, now: Timestamp) -> eyre::Result<()> {
    match from.find(|from| *from > now) {
        Some(from) => {
            bail!("another {what} is decided already, from {from} on: until then nobody can decide a third")
        }
        None => Ok(()),
    }
}

fn price(micro: i64, least: i64) -> eyre::Result<Price> {
    if micro < least {
        bail!("{micro} micro-units a kWh: this price is {least} or more");
    }
    Ok(Price::from_micro_per_kwh(micro))
}

fn above_zero(micro: i64) -> eyre::Result<i64> {
    if micro <= 0 {
        bail!("{micro} micro-units: the amount is above 0");
    }
    Ok(micro)
}

fn distributor(key: &SigningKey, zone: &Zone) -> eyre::Result<()> {
    if key.public() != zone.distributor.key {
        bail!("only the distributor sends this: key {}, --key names {}", zone.distributor.key, key.public());
    }
    Ok(())
}

fn regulated(zone: &Zone) -> eyre::Result<()> {
    if zone.regulators.is_none() {
        bail!("zone {} has no regulators: nobody can decide this", zone.name);
    }
    Ok(())
}

/// The validators `before`, changed as asked; what makes no sense names itself.
fn changed(
    before: &ValidatorSet,
    add: &[Validator],
    remove: &[String],
    restake: &[(String, u64)],
) -> eyre::Result<ValidatorSet> {
    let mut all = before.all().to_vec();
    let find = |all: &[Validator], flag: &str, name: &str| {
        let names = || all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
        let mut found = all.iter().enumerate().filter(|(_, one)| one.name == *name);
        match (found.next(), found.next()) {
            (Some((at, _)), None) => Ok(at),
            (None, _) => Err(eyre!("{flag} {name}: there is no such validator; there are {}", names())),
            (Some(_), Some(_)) => Err(eyre!("{flag} {name}: two validators have this name")),
        }
    };
    for (name, stake) in restake {
        let at = find(&all, "--restake", name)?;
        all[at].stake = *stake;
    }
    for name in remove {
        let at = find(&all, "--remove", name)?;
        all.remove(at);
    }
    for one in add {
        // As the ledger compares them.
        if all.iter().any(|other| other.name.eq_ignore_ascii_case(&one.name)) {
            bail!("--add {}: there is a validator of this name", one.name);
        }
        all.push(one.clone());
    }
    if all == before.all() {
        bail!("nothing changes: name --add, --remove or --restake");
    }
    Ok(ValidatorSet::new(all)?)
}

/// `NAME,KEY,VOTE,STAKE,ADDRESS`.
fn newcomer(text: &str) -> eyre::Result<Validator> {
    let parts: Vec<&str> = text.splitn(5, ',').collect();
    let [name, key, vote, stake, address] = parts[..] else {
        bail!("{text:?} is not NAME,KEY,VOTE,STAKE,ADDRESS");
    };
    fn part<T: FromStr>(what: &str, text: &str) -> eyre::Result<T>
    where
        T::Err: std::fmt::Display,
    {
        text.parse().map_err(|error| eyre!("{what} {text:?}: {error}"))
    }
    Ok(Validator {
        name: name.to_owned(),
        key: part("KEY", key)?,
        vote: part("VOTE", vote)?,
        stake: part("STAKE", stake)?,
        address: address.to_owned(),
    })
}

/// `NAME=STAKE`.
fn restake(text: &str) -> eyre::Result<(String, u64)> {
    let (name, stake) = text.rsplit_once('=').ok_or_else(|| eyre!("{text:?} is not NAME=STAKE"))?;
    let stake = stake.parse().map_err(|error| eyre!("STAKE {stake:?}: {error}"))?;
    Ok((name.to_owned(), stake))
}
