//! What a proposal does, in plain words, and whose signatures it needs.

use ohmesh_contract::Contract;
use ohmesh_ledger::{
    Body, Governance, KeyGroup, Rules, SignedTransaction, Transaction, Validator, ValidatorSet, Zone,
};
use ohmesh_units::{AccountId, Money, PublicKey};
use serde::Serialize;
use std::{collections::BTreeSet, time::Duration};

/// What is proven of the zone when a proposal is looked at.
pub(super) struct Known {
    /// What holds.
    pub(super) governance: Governance,
    /// The validators of the running epoch.
    pub(super) validators: ValidatorSet,
    /// The contract that the proposal resolves, if it resolves one.
    pub(super) contract: Option<Box<Contract>>,
}

/// Somebody whose signature counts for something.
struct Member {
    name: String,
    account: AccountId,
    weight: u64,
}

/// Signatures that a proposal needs: of these members, so much weight.
#[derive(Serialize)]
pub(super) struct Need {
    /// Whose.
    who: String,
    /// How much weight has signed.
    signed: u64,
    /// How much is needed.
    needed: u64,
    /// Who has not signed.
    missing: Vec<String>,
    /// Whether the needs that are marked so are met by any one of them.
    either: bool,
    #[serde(skip)]
    members: Vec<AccountId>,
}

impl Need {
    fn new(who: &str, needed: u64, members: Vec<Member>, signed: &SignedTransaction) -> Self {
        let signers: BTreeSet<AccountId> =
            signed.signatures.iter().map(|one| AccountId::of(&one.key)).collect();
        let (have, lack): (Vec<Member>, Vec<Member>) =
            members.into_iter().partition(|member| signers.contains(&member.account));
        Self {
            who: who.to_owned(),
            signed: have.iter().map(|member| member.weight).sum(),
            needed,
            missing: lack.iter().map(|member| member.name.clone()).collect(),
            either: false,
            members: have.iter().chain(&lack).map(|member| member.account).collect(),
        }
    }

    fn is_met(&self) -> bool {
        self.signed >= self.needed
    }
}

/// Whether all that is needed is there.
pub(super) fn are_met(needs: &[Need]) -> bool {
    let (either, all): (Vec<&Need>, Vec<&Need>) = needs.iter().partition(|need| need.either);
    all.iter().all(|need| need.is_met()) && (either.is_empty() || either.iter().any(|need| need.is_met()))
}

/// Whether the signature of `key` counts for anything.
pub(super) fn counts(needs: &[Need], key: &PublicKey) -> bool {
    let account = AccountId::of(key);
    needs.iter().any(|need| need.members.contains(&account))
}

/// Whose signatures the proposal needs, and which it has. The sender's is always one.
pub(super) fn needs(signed: &SignedTransaction, zone: &Zone, known: &Known) -> Vec<Need> {
    let sender = Member {
        name: named(&signed.transaction.sender, zone, known),
        account: signed.transaction.sender,
        weight: 1,
    };
    let mut needs = vec![Need::new("the sender", 1, vec![sender], signed)];
    let regulators = |group: &KeyGroup| {
        let members = group.keys.iter().map(one_of).collect();
        Need::new("regulators", u64::from(group.threshold), members, signed)
    };
    match &signed.transaction.body {
        Body::SetValidators { .. } | Body::Upgrade { .. } => {
            let members = known.validators.all().iter().map(|one| Member {
                name: one.name.clone(),
                account: one.account(),
                weight: one.stake,
            });
            let needed = known.validators.stake() / 3 * 2 + known.validators.stake() % 3 * 2 / 3 + 1;
            needs.push(Need::new("validators by stake", needed, members.collect(), signed));
        }
        Body::SetPriceCap { .. } | Body::SetAuditKey { .. } => {
            needs.extend(zone.regulators.as_ref().map(regulators));
        }
        Body::ContractResolve { .. } => {
            let parties = known.contract.as_ref().map(|contract| {
                let (buyer, seller) = (contract.terms().buyer, contract.terms().seller);
                let party = |name: &str, account: AccountId| Member {
                    name: format!("{name} {account}"),
                    account,
                    weight: 1,
                };
                Need::new("both parties", 2, vec![party("buyer", buyer), party("seller", seller)], signed)
            });
            let either = parties.into_iter().chain(zone.regulators.as_ref().map(regulators));
            needs.extend(either.map(|need| Need { either: true, ..need }));
        }
        _ => {}
    }
    needs
}

fn one_of(key: &PublicKey) -> Member {
    Member { name: key.to_string(), account: AccountId::of(key), weight: 1 }
}

/// A validator's or the distributor's name, or the account.
fn named(account: &AccountId, zone: &Zone, known: &Known) -> String {
    if *account == AccountId::of(&zone.distributor.key) {
        return "the distributor".to_owned();
    }
    let found = known.validators.all().iter().find(|one| one.account() == *account);
    found.map_or_else(|| account.to_string(), |one| one.name.clone())
}

/// What is needed, a line each.
pub(super) fn need_lines(needs: &[Need]) -> Vec<String> {
    let lines = needs.iter().map(|need| {
        let or = if need.either { " (or the other line)" } else { "" };
        let state = match need.missing.as_slice() {
            [] => "all have signed".to_owned(),
            missing => format!("not signed by {}", missing.join(", ")),
        };
        format!("needs      {}: {} of {}{or}; {state}", need.who, need.signed, need.needed)
    });
    lines.collect()
}

/// What the transaction does, a line each. Without what is known of the zone, changes are not told from what stays.
pub(super) fn words(transaction: &Transaction, zone: &Zone, known: Option<&Known>) -> Vec<String> {
    let mut lines = match &transaction.body {
        Body::SetValidators { epoch, validators } => set_validators(*epoch, validators, known),
        Body::Upgrade { epoch, rules } => upgrade(*epoch, rules, known),
        Body::SetTariff { price, from } => {
            vec![format!("does       sets the grid fee to {} {price} from {from} on", zone.currency)]
        }
        Body::SetPriceCap { cap: Some(cap), from } => {
            vec![format!("does       forbids prices above {} {cap} from {from} on", zone.currency)]
        }
        Body::SetPriceCap { cap: None, from } => {
            vec![format!("does       lifts the price cap from {from} on")]
        }
        Body::SetAuditKey { key: Some(key) } => {
            vec![format!(
                "does       lets the holder of key {key} order exports of the zone's totals, from the next block on"
            )]
        }
        Body::SetAuditKey { key: None } => {
            vec!["does       forbids all exports of the zone's totals, from the next block on".to_owned()]
        }
        Body::SetCircuit { station, circuit } => {
            let circuit =
                circuit.map_or("no known circuit".to_owned(), |circuit| format!("circuit {circuit}"));
            vec![format!("does       says that station {station} is fed by {circuit}")]
        }
        Body::Bond { amount } => {
            let amount = Money::from_micro(*amount);
            vec![format!("does       puts {amount} {} of the sender's money behind its votes", zone.currency)]
        }
        Body::Unbond { amount } => {
            let (amount, days) = (Money::from_micro(*amount), Rules::UNBONDING.as_secs() / 86_400);
            vec![format!(
                "does       asks {amount} {} of the sender's bond back, free after {days} days",
                zone.currency
            )]
        }
        Body::ContractResolve { contract, energy } => vec![format!(
            "does       ends the dispute over contract {contract}: {} Wh are paid",
            energy.as_wh()
        )],
        other => vec![format!("does       {other:?}")],
    };
    lines.push(format!("sender     {}", sender(transaction, zone, known)));
    lines.push(format!("zone       {} {}", zone.name, transaction.zone));
    lines.push(format!("valid      until {}", transaction.valid_until));
    lines
}

fn sender(transaction: &Transaction, zone: &Zone, known: Option<&Known>) -> String {
    known.map_or_else(|| transaction.sender.to_string(), |known| named(&transaction.sender, zone, known))
}

fn set_validators(epoch: u64, after: &ValidatorSet, known: Option<&Known>) -> Vec<String> {
    let mut lines =
        vec![format!("does       ends epoch {epoch} with the block it is in; the validators are then")];
    let before = known.map(|known| &known.validators);
    let whole = after.stake();
    for one in after.all() {
        let was = before.map(|set| set.index_of(&one.key).and_then(|index| set.at(index)));
        let change = match was {
            None => String::new(),
            Some(None) => "NEW  ".to_owned(),
            Some(Some(was)) => changes(was, one),
        };
        let Validator { name, key, vote, stake, address } = one;
        lines.push(format!(
            "validator  {change}{name}  stake {stake} of {whole}  {address}  key {key}  votes with {vote}"
        ));
    }
    let gone =
        before.into_iter().flat_map(ValidatorSet::all).filter(|one| after.index_of(&one.key).is_none());
    lines.extend(gone.map(|one| format!("REMOVED    {}  stake {}  key {}", one.name, one.stake, one.key)));
    lines
}

fn changes(was: &Validator, is: &Validator) -> String {
    let mut changes = Vec::new();
    if was.stake != is.stake {
        changes.push(format!("STAKE {} TO {}  ", was.stake, is.stake));
    }
    if was.vote != is.vote {
        changes.push("OTHER VOTE KEY  ".to_owned());
    }
    if was.address != is.address || was.name != is.name {
        changes.push(format!("WAS {} {}  ", was.name, was.address));
    }
    changes.concat()
}

fn upgrade(epoch: u64, rules: &Rules, known: Option<&Known>) -> Vec<String> {
    let was = known.map(|known| known.governance.rules);
    let mut lines = vec![format!("does       sets the rules that hold when epoch {epoch} is over")];
    let mut line = |what: &str, is: String, was: Option<String>| {
        let was = was.filter(|was| *was != is).map_or(String::new(), |was| format!(" (WAS {was})"));
        lines.push(format!("rule       {what} {is}{was}"));
    };
    let hours = |rules: &Rules| format!("{:?}", Duration::from_millis(rules.epoch_ms));
    line("version", rules.version.to_string(), was.map(|was| was.version.to_string()));
    line("fee for each unit of weight", rules.fee.to_string(), was.map(|was| was.fee.to_string()));
    line("an epoch lasts", hours(rules), was.as_ref().map(hours));
    line("bond for each unit of stake", rules.bond.to_string(), was.map(|was| was.bond.to_string()));
    if rules.version != Rules::VERSION {
        lines.push(format!("rule       agents that know only version {} stop then", Rules::VERSION));
    }
    lines
}
