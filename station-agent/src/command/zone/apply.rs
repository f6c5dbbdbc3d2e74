//! `station-agent zone apply`: what an agent needs before the others can make it a validator.

use super::{Me, decide::transaction};
use crate::{
    command::{
        print,
        reach::{Contact, Reach},
    },
    disk::Folder,
    key_file,
    vote_keys::VoteKeys,
};
use clap::Args;
use eyre::{Context, bail, eyre};
use ohmesh_ledger::{Body, Object, Validator};
use ohmesh_units::{AccountId, Hash, Money, PublicKey, SigningKey};
use serde::Serialize;
use std::{path::PathBuf, time::Duration};

#[derive(Args)]
pub(in crate::command) struct Apply {
    #[command(flatten)]
    me: Me,
    /// The zone file.
    #[arg(long, default_value = "zone.toml")]
    zone: PathBuf,
    /// The agent of the zone to ask: its name or its HOST:PORT as in the zone file, or KEY@HOST:PORT. The first of the zone
    /// file's that answers, if not given.
    #[arg(long)]
    agent: Option<String>,
}

#[derive(Serialize)]
struct Shown {
    line: String,
    account: AccountId,
    /// The epoch that runs; the line is good in any later one too.
    epoch: u64,
    bond_needed_micro: i64,
    bonded_micro: i64,
}

pub(super) fn run(args: &Apply, json: bool) -> eyre::Result<()> {
    let key = key_file::read(&args.me.key)?;
    let (address, name) = (args.me.address()?, args.me.name(&key.public()));
    if name.contains(',') {
        bail!("--agent-name {name:?}: a comma would end it in the line");
    }
    let account = AccountId::of(&key.public());
    let reach = Reach::new(&args.zone, args.agent.as_deref());
    let (epoch, bond_each, bonded) = reach.with(async |mut contact: Contact| {
        let (_, governance) = contact.governance().await?;
        let validators = contact.epoch(governance.epoch).await?.validators;
        if validators.index_of(&key.public()).is_some() {
            bail!(
                "key {} is a validator's in epoch {}: there is nothing to apply for",
                key.public(),
                governance.epoch
            );
        }
        open_account(&mut contact, &key).await?;
        let bonded = match contact.object(ohmesh_ledger::Bond::id(&account)).await? {
            (_, Some(Object::Bond(bond))) => bond.bonded,
            _ => 0,
        };
        let rules = governance.next_rules.unwrap_or(governance.rules);
        Ok((governance.epoch, rules.bond.as_micro(), bonded))
    })?;
    let vote = vote_key(&args.me, epoch + 1)?;
    let validator = Validator { name, key: key.public(), vote, stake: args.me.stake, address };
    let Validator { name, key, vote, stake, address } = &validator;
    let needed = i64::try_from(*stake).ok().and_then(|stake| stake.checked_mul(bond_each));
    let shown = Shown {
        line: format!("{name},{key},{vote},{stake},{address}"),
        account,
        epoch,
        bond_needed_micro: needed
            .ok_or_else(|| eyre!("--stake {stake}: its bond is more than there can be"))?,
        bonded_micro: bonded,
    };
    print(json, &shown, || text(&shown))
}

fn text(shown: &Shown) -> String {
    let mut lines = vec![
        shown.line.clone(),
        format!("account    {}, open", shown.account),
        format!(
            "until      it is taken, in this epoch ({}) or a later one: the line does not grow old",
            shown.epoch
        ),
        "but        only with this data folder: the vote key is in it and nowhere else".to_owned(),
    ];
    if shown.bonded_micro < shown.bond_needed_micro {
        let (needed, has) = (shown.bond_needed_micro, shown.bonded_micro);
        let (needed, has) = (Money::from_micro(needed), Money::from_micro(has));
        lines.push(format!(
            "bond       {needed} needed, {has} there: `station-agent zone propose FILE bond AMOUNT`"
        ));
    }
    lines.push(
        "next       start the agent with this data folder, and give the first line to a validator:"
            .to_owned(),
    );
    lines.push("           `station-agent zone propose FILE validators --add LINE`".to_owned());
    lines.push(
        "then       it votes from the block after the one that takes it in, and makes its later vote keys by itself"
            .to_owned(),
    );
    lines.join("\n")
}

/// The key with which the agent will vote: one that is there and has never voted, so that the line stays the same, or a new
/// one. It is kept until it has voted, and from then on as any vote key.
fn vote_key(me: &Me, epoch: u64) -> eyre::Result<PublicKey> {
    let context = || format!("data folder {}", me.data.display());
    let mut disk = Folder::open(&me.data).with_context(context)?;
    let mut keys = VoteKeys::open(&disk).with_context(context)?;
    if let Some(key) = keys.unused() {
        return Ok(key);
    }
    let key = keys.make(&mut disk, epoch, *key_file::generate()?.seed()).with_context(context)?;
    Ok(key.public())
}

/// Opens the agent's account if it has none: a validator sends its vote keys in its own name.
async fn open_account(contact: &mut Contact, key: &SigningKey) -> eyre::Result<()> {
    let account = AccountId::of(&key.public());
    if let (_, Some(_)) = contact.object(Hash::from(account)).await? {
        return Ok(());
    }
    let Some((header, _)) = contact.head().await? else { bail!("the zone has no block yet") };
    let valid_until = header.time.checked_add(VALID_FOR).ok_or_else(|| eyre!("the ledger's time is over"))?;
    let body = Body::OpenAccount { owner: key.public() };
    let signed = transaction(contact.zone(), key, valid_until, body)?;
    contact.submit(&signed).await
}

/// How long the account's opening is valid.
const VALID_FOR: Duration = Duration::from_secs(3_600);
