use super::*;
use ohmesh_ledger::{
    Distributor, Header, KeyGroup, Rules, Transaction, Validator, ValidatorSet, Verified, Vote, VoteKind,
};
use ohmesh_units::{Position, Price, SigningKey, Timestamp};
use std::time::Duration;

const DRIVER: u8 = 30;
const PURSE: i64 = 5_000_000;

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

/// A zone of four, and a ledger that grows without any network.
struct Chain {
    file: ZoneFile,
    state: State,
    blocks: Vec<(Vec<u8>, Certificate)>,
    head: Option<(Header, Certificate)>,
}

impl Chain {
    fn new() -> Self {
        let validators = (0..4u8).map(|n| Validator {
            name: format!("a{n}"),
            key: key(n + 1).public(),
            vote: key(n + 1).public(),
            stake: 1,
            address: String::new(),
        });
        let mut file = ZoneFile::new(Zone {
            name: "testville".into(),
            currency: "EUR".parse().unwrap(),
            created: Timestamp::EPOCH,
            polygon: [(1, 1), (1, 2), (2, 2)].map(|(a, b)| Position::from_e7(a, b).unwrap()).to_vec(),
            regulators: None,
            rules: Rules::default(),
            treasury: KeyGroup { threshold: 1, keys: vec![key(20).public()] },
            distributor: Distributor { key: key(21).public(), tariff: Price::from_micro_per_kwh(0) },
            areas: Vec::new(),
            validators: ValidatorSet::new(validators.collect()).unwrap(),
        })
        .unwrap();
        (0..4).for_each(|n| file.sign(&key(n + 1)).unwrap());
        Self { state: State::genesis(file.zone.clone()), file, blocks: Vec::new(), head: None }
    }

    /// A chain in which the driver has an account and money.
    fn furnished() -> Self {
        let mut chain = Self::new();
        chain.push(&key(DRIVER), Body::OpenAccount { owner: key(DRIVER).public() });
        chain.issue(PURSE);
        chain
    }

    fn issue(&mut self, amount: i64) {
        let body = Body::Issue { asset: Asset::Currency, to: driver(), amount, reference: "test".into() };
        self.push(&key(20), body);
    }

    fn push(&mut self, sender: &SigningKey, body: Body) {
        let height = self.state.head().height + 1;
        let time = Timestamp::from_millis(height * 1_000);
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: AccountId::of(&sender.public()),
            number: height.into(),
            valid_until: time.checked_add(Duration::from_secs(60)).unwrap(),
            body,
        };
        let verified = Verified::one(self.state.zone_id(), transaction.sign(&[sender])).unwrap();
        let proposed = self.state.propose(time, 0, [&verified]);
        assert_eq!(proposed.refused, []);
        let (block, zone) = (proposed.block, *self.state.zone_id());
        let signatures = (0..4u8).map(|n| {
            let validator = u16::from(n);
            let (kind, block) = (VoteKind::Precommit, Some(block.id()));
            (validator, Vote { kind, height, round: 0, block, validator }.sign(&zone, 0, &key(n + 1)))
        });
        let certificate =
            Certificate { height, round: 0, epoch: 0, block: block.id(), signatures: signatures.collect() };
        self.state.apply(proposed.applied);
        self.blocks.push((block.encode(), certificate.clone()));
        self.head = Some((block.header, certificate));
    }

    fn replay(&self) -> Replay {
        let mut replay = Replay::genesis(self.file.zone.clone());
        self.blocks.iter().for_each(|(bytes, certificate)| replay.push(bytes, certificate).unwrap());
        replay.audit().unwrap();
        replay
    }

    /// The file of the driver's phone, as proven against the newest block.
    fn phone(&self, folder: &tempfile::TempDir) -> std::path::PathBuf {
        let path = folder.path().join("phone.sqlite");
        let store = Store::open(&Place::File(path.clone()), &self.file).unwrap();
        let (replica, _) = Replica::open(store, OnDamage::Refuse).unwrap();
        let proofs = self.state.prove_account(&driver()).unwrap();
        replica.store_account(&driver(), self.head.as_ref().unwrap(), &proofs).unwrap();
        path
    }
}

fn driver() -> AccountId {
    AccountId::of(&key(DRIVER).public())
}

fn reason(result: Result<()>) -> String {
    format!("{:#}", result.unwrap_err())
}

#[test]
fn an_honest_ledger_passes() {
    let chain = Chain::furnished();
    let replay = chain.replay();
    replay.check_money(PURSE).unwrap();
    let (bytes, certificate) = chain.blocks.last().unwrap();
    replay.check_agent(bytes, certificate).unwrap();
    let folder = tempfile::tempdir().unwrap();
    replay.check_replica(&chain.file, &chain.phone(&folder), &driver()).unwrap();
    assert_eq!((replay.height(), replay.transactions(), replay.accounts()), (2, 2, 7));
}

#[test]
fn a_cut_certificate_is_named() {
    let chain = Chain::furnished();
    let mut replay = Replay::genesis(chain.file.zone.clone());
    let (bytes, whole) = &chain.blocks[0];
    let mut cut = whole.clone();
    cut.signatures.truncate(2);
    assert!(reason(replay.push(bytes, &cut)).contains("not more than two thirds"));
    let mut foreign = whole.clone();
    foreign.signatures[3].1 = foreign.signatures[2].1;
    assert!(reason(replay.push(bytes, &foreign)).contains("the signature of validator 3 is wrong"));
    let error = reason(replay.push(bytes, &chain.blocks[1].1));
    assert!(error.starts_with("block 1: ") && error.contains("not for this header"), "{error}");
    assert_eq!(replay.height(), 0, "nothing of it was taken");
    replay.push(bytes, whole).unwrap();
}

#[test]
fn an_edited_or_missing_block_is_named() {
    let chain = Chain::furnished();
    let mut replay = Replay::genesis(chain.file.zone.clone());
    let (bytes, certificate) = &chain.blocks[1];
    assert!(replay.push(bytes, certificate).is_err(), "block 1 is missing");
    let (bytes, certificate) = &chain.blocks[0];
    for at in 0..bytes.len() {
        let mut edited = bytes.clone();
        edited[at] ^= 1;
        assert!(replay.push(&edited, certificate).is_err(), "byte {at}");
    }
}

#[test]
fn money_that_nobody_reported_is_named() {
    let mut chain = Chain::furnished();
    chain.issue(1);
    let error = reason(chain.replay().check_money(PURSE));
    assert_eq!(error, "blocks issue 5000001 micro-EUR, the treasurer issued 5000000");
}

#[test]
fn an_account_that_is_not_counted_is_named() {
    let mut replay = Chain::furnished().replay();
    replay.accounts.remove(&driver());
    assert_eq!(reason(replay.check_money(PURSE)), "accounts hold 0 micro-EUR, 5000000 were issued");
}

#[test]
fn an_agent_with_another_block_is_named() {
    let (chain, mut other) = (Chain::furnished(), Chain::new());
    other.push(&key(DRIVER), Body::OpenAccount { owner: key(DRIVER).public() });
    other.issue(PURSE + 1);
    let (bytes, certificate) = other.blocks.last().unwrap();
    assert_eq!(
        reason(chain.replay().check_agent(bytes, certificate)),
        "its state root at height 2 differs",
        "certified by the same four: they signed two blocks"
    );
    let (bytes, certificate) = &chain.blocks[0];
    assert_eq!(reason(chain.replay().check_agent(bytes, certificate)), "it gave height 1");
}

#[test]
fn an_edited_replica_is_named() {
    let chain = Chain::furnished();
    let replay = chain.replay();
    let folder = tempfile::tempdir().unwrap();
    let path = chain.phone(&folder);
    let (_, balance) = chain.state.balance(Journal::Energy, &driver()).unwrap();
    let mut rich = *balance;
    rich.holdings[Asset::Currency as usize].posted += 1;
    let (before, after) = (balance.encode(), rich.encode());
    assert_eq!(before.len(), after.len());
    let mut file = std::fs::read(&path).unwrap();
    let found: Vec<usize> = (0..file.len()).filter(|at| file[*at..].starts_with(&before)).collect();
    assert_eq!(found.len(), 1, "the balance is in the file once");
    file[found[0]..found[0] + after.len()].copy_from_slice(&after);
    std::fs::write(&path, file).unwrap();
    let error = reason(replay.check_replica(&chain.file, &path, &driver()));
    assert!(error.contains("the store is damaged") && error.contains("EnergyBalances"), "{error}");
}

#[test]
fn a_replica_that_is_old_forked_or_gone_is_named() {
    let mut chain = Chain::furnished();
    let folder = tempfile::tempdir().unwrap();
    let path = chain.phone(&folder);
    chain.issue(7);
    let check = |chain: &Chain| reason(chain.replay().check_replica(&chain.file, &path, &driver()));
    assert_eq!(check(&chain), "its Energy balance is not the ledger's");
    let mut fork = Chain::new();
    fork.push(&key(DRIVER), Body::OpenAccount { owner: key(DRIVER).public() });
    fork.issue(1);
    assert_eq!(check(&fork), "its header of height 2 is not in the chain");
    std::fs::remove_file(&path).unwrap();
    assert!(check(&chain).starts_with("there is no file"));
    assert!(!path.exists(), "and checking made none");
}

#[test]
fn a_broken_invariant_is_an_error_with_its_name() {
    assert_eq!(format!("{}", holds(|| panic!("I1: {}", 3)).unwrap_err()), "I1: 3");
    assert_eq!(format!("{}", holds(|| panic!("I2")).unwrap_err()), "I2");
}

#[test]
fn a_winner_that_the_ledger_has_not_made_is_named() {
    let mut replay = Chain::furnished().replay();
    let (auction, winner, other) = (AuctionId([1; 32]), StationId([2; 32]), StationId([3; 32]));
    let (price, higher) = (Price::from_micro_per_kwh(300_000), Price::from_micro_per_kwh(300_001));
    let note = |replay: &mut Replay, award, is_proven_best| {
        replay.auctions.insert(auction, Auctioned { award, is_proven_best });
    };
    assert!(reason(replay.check_winner(&auction, winner, price)).contains("is not in the chain"));
    note(&mut replay, None, false);
    assert!(reason(replay.check_winner(&auction, winner, price)).contains("has no winner"));
    note(&mut replay, Some((winner, price)), false);
    assert!(reason(replay.check_winner(&auction, winner, price)).contains("is not proven"));
    note(&mut replay, Some((winner, price)), true);
    replay.check_winner(&auction, winner, price).unwrap();
    assert!(reason(replay.check_winner(&auction, other, price)).contains("was won by"));
    assert!(reason(replay.check_winner(&auction, winner, higher)).contains("was won by"));
}
