//! Who is in a simulated zone, and its file.

use ohmesh_ledger::{Distributor, KeyGroup, Rules, Validator, ValidatorSet, Zone, ZoneArea, ZoneFile};
use ohmesh_units::{AccountId, Frame, Position, Price, PublicKey, SigningKey, Timestamp};
use station_agent::{disk::Disk, vote_keys::VoteKeys};
use std::net::SocketAddr;

/// The key of participant `n`: validators from 1, the treasurer 100, the distributor 101, everybody else as they like.
pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

/// The account of participant `n`.
pub fn account(n: u8) -> AccountId {
    AccountId::of(&key(n).public())
}

/// Where agent or client `n` is.
pub fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 7700))
}

/// The key of the treasurer.
pub const TREASURER: u8 = 100;
/// The key of the distributor.
pub const DISTRIBUTOR: u8 = 101;

/// Puts the key with which validator `n` votes in the first epoch on its disk.
pub fn lay_vote_key(n: u8, disk: &mut dyn Disk) {
    let key = VoteKeys::first(disk, vote_seed(n)).unwrap();
    assert_eq!(key, SigningKey::from_seed(vote_seed(n)).public(), "the disk was new");
}

/// A zone of these rules whose validators 1, 2 and so on have these stakes, signed by all of them.
pub fn zone_file(stakes: &[u64], rules: Rules, created: Timestamp) -> ZoneFile {
    let validators = (1u8..).zip(stakes).map(|(n, stake)| Validator {
        name: format!("agent {n}"),
        key: key(n).public(),
        vote: SigningKey::from_seed(vote_seed(n)).public(),
        stake: *stake,
        address: address(n).to_string(),
    });
    let corner = |lat, lon| Position::from_e7(lat, lon).unwrap();
    let zone = Zone {
        name: "simulated".into(),
        currency: "EUR".parse().unwrap(),
        created,
        polygon: vec![corner(0, 0), corner(0, 10_000_000), corner(10_000_000, 0)],
        regulators: None,
        rules,
        treasury: KeyGroup { threshold: 1, keys: vec![key(TREASURER).public()] },
        distributor: Distributor {
            key: key(DISTRIBUTOR).public(),
            tariff: Price::from_micro_per_kwh(80_000),
        },
        areas: vec![area()],
        validators: ValidatorSet::new(validators.collect()).unwrap(),
    };
    let mut file = ZoneFile::new(zone).unwrap();
    (1u8..).zip(stakes).for_each(|(n, _)| file.sign(&key(n)).unwrap());
    file
}

/// The public part of that key.
pub fn vote_key(n: u8) -> PublicKey {
    SigningKey::from_seed(vote_seed(n)).public()
}

/// No participant's own key is made of it.
fn vote_seed(n: u8) -> [u8; 32] {
    let mut seed = [n; 32];
    seed[0] = 0xff;
    seed
}

/// The one area of the simulated zone: a cell around Berlin, its frame about a tenth of a degree wide.
fn area() -> ZoneArea {
    let origin = Position::from_e7(525_000_000, 133_500_000).unwrap();
    let frame = Frame { origin, step_e7: 4_000, cos_q16: 40_000 };
    ZoneArea { area: "861f1d48fffffff".parse().unwrap(), frame }
}
