//! Golden bytes: what is written today must be read for ever. A change here is a new version byte, not an edit.

#![allow(clippy::unwrap_used)]

use ohmesh_units::*;

fn golden<T: Canonical + PartialEq + std::fmt::Debug>(value: T, hex: &str) {
    assert_eq!(to_hex(&value.encode()), hex, "{}", T::NAME);
    assert_eq!(T::decode(&value.encode()).unwrap(), value);
}

#[test]
fn units_keep_their_bytes() {
    golden(Money::from_micro(-1_234_567), "018dda9601");
    golden(Price::from_micro_per_kwh(390_000), "01e0cd2f");
    golden(Energy::from_wh(12_345), "01b960");
    golden(Power::from_w(150_000), "01f09309");
    golden(Timestamp::from_millis(1_795_300_496_789), "0195abfe81a034");
    golden(Position::from_e7(525_200_000, 134_050_000).unwrap(), "0180aaeff403a0c3eb7f");
}

#[test]
fn ids_and_signatures_keep_their_bytes() {
    let key = SigningKey::from_seed([7; 32]);
    let account = AccountId::of(&key.public());
    let station = StationId::of(&account, 1);
    let golden = [
        (key.public().to_string(), "ea4a6c63e29c520abef5507b132ec5f9954776aebebe7b92421eea691446d22c"),
        (account.to_string(), "794d01f4275d5a9b079eb7cb9e2df054789225fcd491698728ea958b071e04e4"),
        (station.to_string(), "4a480e5f1ef024e4813ddf9237703d25525826c8b1bc89a9eed6535971fd7d5b"),
        (
            EvseId::of(&station, 1).to_string(),
            "2e2686cb9ca48fb8737bd7fd41f7ff47c4a70a574a7a36896175da24308b3b63",
        ),
        (
            Domain::new("ohmesh/1 golden").hash(&[b"ohm"]).to_string(),
            "7d7595e35393a2eb3b062212940b5ac423b173789b6f3b97d51a0130be1c9de9",
        ),
        (
            key.sign(Domain::new("ohmesh/1 golden"), b"ohm").to_string(),
            "4955f99c00ae7f231081fc9bd8373a2945a23d3de8467e998376cafe5cb5a915837ef07ace0c2b260d03313ebeaa63cbb8def04903af95878f8b9495e3fe0307",
        ),
    ];
    for (found, expected) in golden {
        assert_eq!(found, expected);
    }
}

#[test]
fn people_read_hex_and_machines_read_bytes() {
    let id = AccountId([0xab; 32]);
    assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{}\"", "ab".repeat(32)));
    assert_eq!(serde_json::from_str::<AccountId>(&serde_json::to_string(&id).unwrap()).unwrap(), id);
    assert_eq!(to_postcard(&id), vec![0xab; 32], "no length byte");
}
