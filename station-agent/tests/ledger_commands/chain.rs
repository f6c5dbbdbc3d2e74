//! A zone of four validators whose keys are all here, and the data folder that an agent of it would have.

use ohmesh_ledger::{
    Asset, Block, Body, Certificate, Chunk, Distributor, HandOver, Header, KeyGroup, Object, Part, Rules,
    SignedTransaction, State, Transaction, Validator, ValidatorSet, Verified, Vote, VoteKind, Zone, ZoneArea,
    ZoneFile,
};
use ohmesh_units::{
    AccountId, Canonical, Energy, EvseId, Frame, Hash, Money, Position, Power, Price, PublicKey, SigningKey,
    StationId, Timestamp,
};
use station_agent::{
    disk::{Disk, Memory},
    record_log::{LogError, RecordLog},
    zone_file,
};
use std::{path::Path, time::Duration};

/// A quarter of an hour.
pub(crate) const SLOT_MS: u64 = 15 * 60 * 1000;
/// The one area of its auctions.
pub(crate) const CELL: &str = "861f1d48fffffff";
/// When the zone was made: the beginning of a slot.
pub(crate) const CREATED_MS: u64 = 2_000_000 * SLOT_MS;

pub(crate) fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

/// Who is who.
pub(crate) fn treasurer() -> SigningKey {
    key(10)
}
pub(crate) fn distributor() -> SigningKey {
    key(11)
}
pub(crate) fn regulator() -> SigningKey {
    key(12)
}
pub(crate) fn auditor() -> SigningKey {
    key(13)
}
pub(crate) fn buyer() -> SigningKey {
    key(14)
}
pub(crate) fn seller() -> SigningKey {
    key(15)
}
pub(crate) fn meter() -> SigningKey {
    key(16)
}

pub(crate) struct Chain {
    pub(crate) state: State,
    votes: Vec<SigningKey>,
    /// Every block with its certificate.
    pub(crate) blocks: Vec<(Block, Certificate)>,
    hand_overs: Vec<HandOver>,
    number: u128,
}

impl Chain {
    pub(crate) fn new(name: &str) -> Self {
        let votes: Vec<SigningKey> = (1..=4).map(|n| key(100 + n)).collect();
        let validators = (1u8..=4).zip(&votes).map(|(n, vote)| Validator {
            name: format!("a{n}"),
            key: key(n).public(),
            vote: vote.public(),
            stake: 1,
            address: String::new(),
        });
        let corner = |lat, lon| Position::from_e7(lat, lon).unwrap();
        let one = |key: PublicKey| KeyGroup { threshold: 1, keys: vec![key] };
        let frame = Frame { origin: corner(900_000, 900_000), step_e7: 1_000, cos_q16: 1 << 16 };
        let zone = Zone {
            name: name.to_owned(),
            currency: "EUR".parse().unwrap(),
            created: Timestamp::from_millis(CREATED_MS),
            polygon: vec![corner(0, 0), corner(10_000_000, 0), corner(0, 10_000_000)],
            treasury: one(treasurer().public()),
            distributor: Distributor {
                key: distributor().public(),
                tariff: Price::from_micro_per_kwh(80_000),
            },
            areas: vec![ZoneArea { area: CELL.parse().unwrap(), frame }],
            regulators: Some(one(regulator().public())),
            rules: Rules { epoch_ms: 3_600_000, ..Rules::default() },
            validators: ValidatorSet::new(validators.collect()).unwrap(),
        };
        let state = State::genesis(zone);
        Self { state, votes, blocks: Vec::new(), hand_overs: Vec::new(), number: 0 }
    }

    pub(crate) fn height(&self) -> u64 {
        self.state.head().height
    }

    pub(crate) fn root(&self) -> String {
        self.state.roots().objects.hash.to_string()
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.state.epoch().number
    }

    /// A transaction of the first key's account, signed by all.
    pub(crate) fn sign(&mut self, keys: &[&SigningKey], body: Body) -> SignedTransaction {
        self.number += 1;
        let transaction = Transaction {
            zone: *self.state.zone_id(),
            sender: AccountId::of(&keys[0].public()),
            number: self.number,
            valid_until: self.state.head().time.checked_add(Duration::from_secs(3_600)).unwrap(),
            body,
        };
        transaction.sign(keys)
    }

    /// Money and sales in epoch 0, which has ended, and in epoch 1.
    pub(crate) fn of_two_epochs() -> Self {
        let mut chain = Self::new("Berlin");
        chain.found(true);
        chain.sell(2_000, 3);
        chain.block(3_600_000, Vec::new());
        chain.sell(3_700_000, 2);
        chain
    }

    /// Decides a block `at_ms` after the zone was made; every transaction must apply.
    pub(crate) fn block(&mut self, at_ms: u64, transactions: Vec<SignedTransaction>) {
        let time = Timestamp::from_millis(CREATED_MS + at_ms);
        let count = transactions.len();
        let verified = Verified::all(self.state.zone_id(), transactions).unwrap();
        let proposed = self.state.propose(time, 0, &verified);
        assert_eq!(proposed.block.transactions.len(), count, "{:?}", proposed.refused);
        let certificate = self.certify(&proposed.block.header, &[0, 1, 2]);
        let voters = self.state.validators().voters().clone();
        self.state.apply(proposed.applied);
        let header = proposed.block.header.clone();
        if header.next_voters.is_some() {
            let voters = self.state.validators().voters().clone();
            self.hand_overs.push(HandOver { header, certificate: certificate.clone(), voters });
        }
        certificate.verify_header(&proposed.block.header, self.state.zone_id(), &voters).unwrap();
        self.blocks.push((proposed.block, certificate));
    }

    /// The votes of these validators for a header.
    pub(crate) fn certify(&self, header: &Header, voters: &[u16]) -> Certificate {
        let (zone, height, epoch, block) = (header.zone, header.height, header.epoch, header.id());
        let sign = |index: u16| {
            let kind = VoteKind::Precommit;
            let vote = Vote { kind, height, round: 0, block: Some(block), validator: index };
            (index, vote.sign(&zone, epoch, &self.votes[usize::from(index)]))
        };
        let signatures = voters.iter().map(|index| sign(*index)).collect();
        Certificate { height, round: 0, epoch, block, signatures }
    }

    /// Money, accounts, a station on circuit 7 with an outlet, and an audit key if wanted.
    pub(crate) fn found(&mut self, with_audit_key: bool) {
        let (buyer, seller, treasurer) = (buyer(), seller(), treasurer());
        let station = StationId::of(&AccountId::of(&seller.public()), 1);
        let mut all = vec![
            self.sign(&[&buyer], Body::OpenAccount { owner: buyer.public() }),
            self.sign(&[&seller], Body::OpenAccount { owner: seller.public() }),
        ];
        let to = AccountId::of(&buyer.public());
        let reference = "first".to_owned();
        let amount = 1_000_000_000;
        all.push(self.sign(&[&treasurer], Body::Issue { asset: Asset::Currency, to, amount, reference }));
        let position = Position::from_e7(1_000_000, 1_000_000).unwrap();
        let (name, award_key) = ("S".to_owned(), Hash([9; 32]));
        all.push(self.sign(&[&seller], Body::RegisterStation { number: 1, name, position, award_key }));
        let (owner, plugs) = (AccountId::of(&seller.public()), (1, Power::from_w(22_000)));
        let evse = Body::register_evse(self.state.zone_id(), &owner, (station, 1), plugs, &meter());
        all.push(self.sign(&[&seller], evse));
        all.push(self.sign(&[&distributor()], Body::SetCircuit { station, circuit: Some(7) }));
        if with_audit_key {
            let body = Body::SetAuditKey { key: Some(auditor().public()) };
            all.push(self.sign(&[&distributor(), &regulator()], body));
        }
        self.block(1_000, all);
    }

    /// A block in which `count` sales of 1 kWh each are held, and one in which they are paid.
    pub(crate) fn sell(&mut self, at_ms: u64, count: usize) {
        let seller = seller();
        let station = StationId::of(&AccountId::of(&seller.public()), 1);
        let timeout = Timestamp::from_millis(CREATED_MS + at_ms + 60_000);
        let (evse, price, energy) =
            (EvseId::of(&station, 1), Price::from_micro_per_kwh(400_000), Energy::from_wh(1_000));
        let held: Vec<SignedTransaction> = (0..count)
            .map(|_| self.sign(&[&buyer()], Body::PendSale { evse, price, energy, timeout }))
            .collect();
        let ids: Vec<Hash> = held.iter().map(|one| one.transaction.pending_id()).collect();
        self.block(at_ms, held);
        let sold = match self.state.object(&evse.into()) {
            Some((_, Object::Evse(outlet))) => outlet.register,
            other => panic!("{other:?}"),
        };
        let paid = (0..).zip(ids).map(|(before, pending)| {
            let register_start = Energy::from_wh(sold.as_wh() + before * energy.as_wh());
            let body = Body::PostSale { pending, energy, register_start };
            self.sign(&[&seller, &meter()], body)
        });
        let paid = paid.collect();
        self.block(at_ms + 1, paid);
    }

    /// Writes the zone file and the data folder of an agent into `folder`.
    pub(crate) fn write(&self, folder: &Path) {
        let mut file = ZoneFile::new(self.state.zone().clone()).unwrap();
        (1..=4).for_each(|n| file.sign(&key(n)).unwrap());
        zone_file::write(&folder.join("zone.toml"), &file).unwrap();
        std::fs::create_dir_all(folder.join("data")).unwrap();
        std::fs::write(folder.join("data/lock"), []).unwrap();
        self.write_log(folder, &self.blocks);
        let records: Vec<Vec<Vec<u8>>> = self.hand_overs.iter().map(|one| vec![one.encode()]).collect();
        self.write_file(folder, "hand-overs.log", &records);
    }

    /// Writes a block log of these blocks in place of the one that is there, with checks that fit.
    pub(crate) fn write_log(&self, folder: &Path, blocks: &[(Block, Certificate)]) {
        self.write_file(folder, "blocks.log", &records(blocks));
    }

    /// Writes the snapshot that an agent writes at this height.
    pub(crate) fn write_snapshot(&self, folder: &Path) {
        let (block, certificate) = self.blocks.last().unwrap();
        let mut records = vec![vec![self.state.manifest(&block.header, certificate).encode()]];
        for part in Part::ALL {
            let mut from = part.first(self.state.roots());
            while let Some(chunk) = self.state.chunk(part, from, Chunk::LEAVES_MAX) {
                records.push(vec![chunk.encode()]);
                from += u32::try_from(chunk.leaves.len()).unwrap();
            }
        }
        self.write_file(folder, &format!("snapshot-{}.log", self.height()), &records);
    }

    /// Writes the blocks from height `first` on into their own file, in place of all others.
    pub(crate) fn write_from(&self, folder: &Path, first: usize) {
        self.write_file(folder, &format!("blocks-{first}.log"), &records(&self.blocks[first - 1..]));
        std::fs::remove_file(folder.join("data/blocks.log")).unwrap();
    }

    /// Writes a log of these frames, each of some records.
    fn write_file(&self, folder: &Path, name: &str, frames: &[Vec<Vec<u8>>]) {
        let mut disk = Memory::default();
        let seed = Hash::from(*self.state.zone_id());
        let nothing = |_: &mut dyn Disk, _, _: &[u8]| Ok::<(), LogError>(());
        let mut log = RecordLog::open_each(&mut disk, "test.log", name, seed, nothing).unwrap();
        for frame in frames {
            frame.iter().for_each(|record| log.push(record));
            log.sync(&mut disk).unwrap();
        }
        std::fs::write(folder.join("data").join(name), disk.read(name).unwrap()).unwrap();
    }

    pub(crate) fn paid_each(&self) -> (Money, Money) {
        (Money::from_micro(400_000), Money::from_micro(80_000))
    }
}

/// A frame for each block: itself and its certificate.
fn records(blocks: &[(Block, Certificate)]) -> Vec<Vec<Vec<u8>>> {
    blocks.iter().map(|(block, certificate)| vec![block.encode(), certificate.encode()]).collect()
}
