//! `station-agent ledger status`.

use crate::command::{
    print,
    reach::{Contact, Reach},
};
use clap::Args;
use ohmesh_ledger::{Certificate, Governance, Header, Rules, ValidatorSet};
use ohmesh_mesh::{Clock, SystemClock};
use ohmesh_units::{BlockId, Hash, Price, PublicKey, Timestamp, ZoneId};
use serde::Serialize;

#[derive(Args)]
pub(in crate::command) struct Status {
    #[command(flatten)]
    reach: Reach,
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
    epoch: u64,
    rules: Rules,
    next_rules: Option<Rules>,
    validators: Vec<Voting>,
    tariffs: Vec<Priced>,
    price_caps: Vec<Priced>,
    audit_key: Option<PublicKey>,
}

/// A validator, and whether its vote is in the newest certificate.
#[derive(Serialize)]
struct Voting {
    name: String,
    key: PublicKey,
    stake: u64,
    address: String,
    voted: bool,
}

/// A tariff or a cap and the time from which it holds.
#[derive(Serialize)]
struct Priced {
    price: Option<Price>,
    from: Timestamp,
}

pub(super) fn run(args: &Status, json: bool) -> eyre::Result<()> {
    let shown = args.reach.with(async |mut contact: Contact| {
        let zone = contact.zone().clone();
        let Some((header, certificate)) = contact.head().await? else {
            return Ok(empty(&contact));
        };
        // The answers may be of later blocks than the head; of each, the newest is shown.
        let validators = contact.epoch(header.epoch).await?.validators;
        let (_, governance) = contact.governance().await?;
        Ok(Shown {
            agent: contact.agent().to_owned(),
            zone: zone.id(),
            ..shown(&header, &certificate, &validators, &governance)
        })
    })?;
    print(json, &shown, || text(&shown))
}

fn empty(contact: &Contact) -> Shown {
    Shown {
        agent: contact.agent().to_owned(),
        zone: contact.zone().id(),
        height: 0,
        block: None,
        time: None,
        age_ms: None,
        transactions_in_block: 0,
        objects: 0,
        objects_root: Hash::ZERO,
        signatures: 0,
        epoch: 0,
        rules: contact.zone().rules,
        next_rules: None,
        validators: voting(&contact.zone().validators, &[]),
        tariffs: Vec::new(),
        price_caps: Vec::new(),
        audit_key: None,
    }
}

fn shown(
    header: &Header,
    certificate: &Certificate,
    validators: &ValidatorSet,
    governance: &Governance,
) -> Shown {
    let age = SystemClock.now().since(header.time);
    let voted: Vec<u16> = certificate.signatures.iter().map(|(index, _)| *index).collect();
    let tariffs = governance.tariffs.iter().map(|one| Priced { price: Some(one.price), from: one.from });
    let caps = governance.caps.iter().map(|one| Priced { price: one.cap, from: one.from });
    Shown {
        agent: String::new(),
        zone: header.zone,
        height: header.height,
        block: Some(header.id()),
        time: Some(header.time),
        age_ms: Some(age.map_or(0, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX))),
        transactions_in_block: header.transaction_count,
        objects: header.state.objects.count,
        objects_root: header.state.objects.hash,
        signatures: certificate.signatures.len(),
        epoch: header.epoch,
        rules: governance.rules,
        next_rules: governance.next_rules,
        validators: voting(validators, &voted),
        tariffs: tariffs.collect(),
        price_caps: caps.collect(),
        audit_key: governance.audit_key,
    }
}

fn voting(validators: &ValidatorSet, voted: &[u16]) -> Vec<Voting> {
    let indexed = (0u16..).zip(validators.all());
    indexed
        .map(|(index, one)| Voting {
            name: one.name.clone(),
            key: one.key,
            stake: one.stake,
            address: one.address.clone(),
            voted: voted.contains(&index),
        })
        .collect()
}

fn text(shown: &Shown) -> String {
    let (Some(block), Some(time)) = (&shown.block, &shown.time) else {
        return format!("agent      {}\nheight     0: there is no block yet", shown.agent);
    };
    let mut lines = vec![
        format!("agent      {}", shown.agent),
        format!("height     {}", shown.height),
        format!("block      {block}"),
        format!("time       {time}, {} ms ago", shown.age_ms.unwrap_or(0)),
        format!("objects    {}, root {}", shown.objects, shown.objects_root),
        format!("final by   {} signatures, checked", shown.signatures),
        format!("epoch      {}, rules version {}", shown.epoch, shown.rules.version),
    ];
    for one in &shown.validators {
        let vote = if one.voted { "voted" } else { "no vote" };
        lines.push(format!("validator  {}  stake {}  {vote}  {}", one.name, one.stake, one.address));
    }
    for one in &shown.tariffs {
        let price = one.price.map_or_else(|| "none".to_owned(), |price| price.to_string());
        lines.push(format!("grid fee   {price} from {}", one.from));
    }
    for one in shown.price_caps.iter().filter(|one| one.price.is_some() || shown.price_caps.len() > 1) {
        let price = one.price.map_or_else(|| "none".to_owned(), |price| price.to_string());
        lines.push(format!("price cap  {price} from {}", one.from));
    }
    if let Some(key) = &shown.audit_key {
        lines.push(format!("audit key  {key}"));
    }
    lines.join("\n")
}
