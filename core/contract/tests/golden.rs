//! Golden bytes: what is written today must be read for ever. A change here is a new version byte, not an edit.

#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use ohmesh_contract::*;
use ohmesh_units::*;

fn golden<T: Canonical + PartialEq + std::fmt::Debug>(value: &T, hex: &str) {
    let bytes = value.encode();
    assert_eq!(to_hex(&bytes), hex, "{}", T::NAME);
    assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
    let longer = [&bytes[..], &[0]].concat();
    assert!(T::decode(&longer).is_err(), "{}: trailing bytes", T::NAME);
}

#[test]
fn terms_and_their_id_keep_their_bytes() {
    golden(
        &terms(),
        "01aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbcccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c1b84db9aa1fdf61469c10b46ecf9099bb3c13f96b3a2bcca3c6f3827694f8d078139770ea87d175f56a35466c34c7ecccb8d8a91b4ee37a25df60f5b8fc9b39490ee529bd047a8fcc79509c29363995df5f210c21712cc8a929ee6ee67801c82ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d1e0cd2fb0ea01f0930903a0fe0ac09c940b8082e081a03480f6ce88a0344d",
    );
    assert_eq!(terms().id().to_string(), "0c7dafb344cee7bc9339c688e93bc7467eb41b9af9f7c93d3861dccd96fd573c");
}

#[test]
fn statements_keep_their_bytes() {
    golden(
        &start_body(MINUTE),
        "010c7dafb344cee7bc9339c688e93bc7467eb41b9af9f7c93d3861dccd96fd573c90ee529bd047a8fcc79509c29363995df5f210c21712cc8a929ee6ee67801c82e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e1e0d6e381a034",
    );
    golden(
        &record_body(3, 12_345, HOUR, true),
        "010c7dafb344cee7bc9339c688e93bc7467eb41b9af9f7c93d3861dccd96fd573c90ee529bd047a8fcc79509c29363995df5f210c21712cc8a929ee6ee67801c8203c0843db96080dfbb83a03401",
    );
    golden(
        &Stop { contract: ContractId([5; 32]), reason: StopReason::AboveRatedPower, at: at(1) },
        "010505050505050505050505050505050505050505050505050505050505050505098182e081a034",
    );
    golden(
        &Release { contract: ContractId([5; 32]), at: at(1) },
        "0105050505050505050505050505050505050505050505050505050505050505058182e081a034",
    );
    golden(&Bill::of(&terms(), wh(12_345)).unwrap(), "01b960acdbcb0494d0870194c1c806");
}

/// Signatures are deterministic (RFC 8032), so they are golden too.
#[test]
fn signatures_keep_their_bytes() {
    let agreed = agreement(terms()).agreement().clone();
    let last = record(3, 12_345, HOUR, true);
    let found = [
        agreed.offer.signature,
        agreed.signature,
        start(MINUTE).signed().signature,
        last.signed().signature,
        Checkpoint::sign(&last, &buyer()).signature,
        release().signed().signature,
    ];
    let expected = [
        "f732287b177c622494b3e1a4da2b673a6e7118052039971e3fe4375217f554657a8ca3dde962d77754c098977950d181f3d462f600518a20b333b68ac242cc09",
        "40a8ca992560e400cedd121cd97588c06dc8c83a01113d83fec588c3aa00d7b4b167e242a033429a4c4e13b9088d3441630db02033ba602736a31366625b9604",
        "11d7cf2c6a8fa697836615e65e1aab42d61ebf3ce9096080f24796a9486a8031bddf4004be94a820a36a99689f9e8deacabd7f56e57a3fafec13df5770efe008",
        "c38579526b7039efc2ddb1ff3225133e1aeebae36c1991b40cc1a0c4a1d41417d7b2333e2f466a25be58086a53295f71b5fbde4055168f1c12db9c48b5a12208",
        "127dd15eaee005f94eab8ab3f5bc3c8c15dda5157544cd93d0216d5368218156a9c46ff9cbe66431fc773877a27b2b0a2bde2f35c90cdee4818f43c2b5386e0c",
        "a0d0583a5d3f266d5d20b17da08f04977e043e41ecd313fa63739d70c5e7fe5a27dce247c04e6d1e4a09647d4470307edf2b669f6ba60b0bd6cb82a620cc4805",
    ];
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.to_string(), expected);
    }
}

/// The larger ones by the hash of their bytes.
#[test]
fn the_rest_keeps_its_bytes() {
    fn hash<T: Canonical + PartialEq + std::fmt::Debug>(value: &T, hash: &str) {
        let bytes = value.encode();
        assert_eq!(Domain::new("golden").hash(&[&bytes]).to_string()[..16], *hash, "{}", T::NAME);
        assert_eq!(T::decode(&bytes).as_ref(), Ok(value));
    }
    let agreed = agreement(terms()).agreement().clone();
    let last = record(3, 12_345, HOUR, true);
    let signed = Checkpoint::sign(&last, &buyer());
    let start = start(MINUTE).signed().clone();
    hash(&agreed.offer, "a4d31569f5b87618");
    hash(&agreed, "c0ab1fc5c4a89a93");
    hash(&signed, "be0d3c3a39f35ad2");
    hash(
        &Evidence { start: start.clone(), record: last.signed().clone(), checkpoint: Some(signed.clone()) },
        "df7d1bf615a3999a",
    );
    hash(&receipt(), "d8bd8cf5481de884");
    hash(&opened(), "4da305a36a61f868");
    hash(&charging(), "f32f914ccb6d6f0d");
    hash(&claimed(), "16b7fbeb93d3bb5f");
    hash(&disputed(), "1eacc912faec1d9a");
    let messages = [
        (Message::Draft(Box::new(terms())), "4fc367ddf1fb28e1"),
        (Message::Offer(Box::new(agreed.offer.clone())), "954ce5a9898921da"),
        (Message::Agreement(Box::new(agreed)), "237618957738fd44"),
        (Message::Armed { contract: ContractId([5; 32]), evse: evse() }, "fc691b7672bbd8ae"),
        (Message::Start(start), "0c846ae7d46674ac"),
        (Message::Record(last.signed().clone()), "8b286cfbd3031bdc"),
        (Message::Checkpoint(signed), "62f238bdf1cb3b37"),
        (
            Message::Stop(Signed::new(
                Stop { contract: terms().id(), reason: StopReason::Driver, at: at(1) },
                &buyer(),
            )),
            "b893e8c24a4aa295",
        ),
        (Message::Release(release().signed().clone()), "8e68bce83afc982e"),
    ];
    for (tag, (message, expected)) in messages.iter().enumerate() {
        assert_eq!(usize::from(message.encode()[1]), tag, "{}", message.name());
        hash(message, expected);
    }
}

#[test]
fn tags_are_the_order_of_variants() {
    for (tag, state) in State::ALL.iter().enumerate() {
        assert_eq!(to_postcard(state), [u8::try_from(tag).unwrap()], "{state:?}");
    }
    let reasons = [
        StopReason::Driver,
        StopReason::Operator,
        StopReason::Unplugged,
        StopReason::EnergyMax,
        StopReason::ChargeUntil,
        StopReason::Pause,
        StopReason::MeterRanBackwards,
        StopReason::RegisterChanged,
        StopReason::MetersDiffer,
        StopReason::AboveRatedPower,
    ];
    for (tag, reason) in reasons.iter().enumerate() {
        assert_eq!(to_postcard(reason), [u8::try_from(tag).unwrap()], "{reason:?}");
    }
}

fn receipt() -> Receipt {
    let terms = terms();
    Receipt {
        zone: terms.zone,
        contract: terms.id(),
        auction: terms.auction,
        buyer: terms.buyer,
        seller: terms.seller,
        evse: terms.evse,
        end: State::Void,
        stop: Some(StopReason::Driver),
        price: terms.price,
        tariff_version: 3,
        bill: Bill::of(&terms, wh(12_345)).unwrap(),
        energy_metered: wh(12_345),
        started: Some(at(MINUTE)),
        ended: at(HOUR),
    }
}

/// Every field at its widest still fits the bound that decoding checks first.
#[test]
fn bounds_hold_at_the_widest() {
    let (end, most, least) = (Timestamp::from_millis(u64::MAX), wh(u64::MAX), i64::MIN);
    let wide = Terms {
        price: price(least),
        energy_max: most,
        power_rated: Power::from_w(u32::MAX),
        grid: GridTariff { version: u32::MAX, price: price(least) },
        escrow: micro(least),
        not_before: end,
        expiry: end,
        number: u128::MAX,
        ..terms()
    };
    let record = MeterRecord {
        sequence: u32::MAX,
        register_start: most,
        energy: most,
        at: end,
        ..record_body(0, 0, 0, true)
    };
    let start = Start { at: end, ..start_body(0) };
    let signed = Signed::new(record.clone(), &meter());
    let signature = signed.signature;
    let checkpoint = Checkpoint { record: signed.clone(), signature };
    let offer = Offer::sign(wide.clone(), EXPORTER, end, &seller());
    let agreement = Agreement { offer: offer.clone(), signature };
    let bill =
        Bill { energy: most, price_total: micro(least), grid_total: micro(least), refund: micro(least) };
    let evidence = Evidence {
        start: Signed::new(start.clone(), &buyer()),
        record: signed.clone(),
        checkpoint: Some(checkpoint.clone()),
    };
    let stop = Stop { contract: wide.id(), reason: StopReason::AboveRatedPower, at: end };
    let release = Release { contract: wide.id(), at: end };
    let receipt = Receipt {
        bill,
        energy_metered: most,
        started: Some(end),
        ended: end,
        tariff_version: u32::MAX,
        price: wide.price,
        ..receipt()
    };
    fn fits<T: Canonical>(value: &T) {
        assert!(value.encode().len() <= T::MAX_BYTES, "{}: {} bytes", T::NAME, value.encode().len());
        assert!(T::decode(&value.encode()).is_ok(), "{}", T::NAME);
    }
    fits(&wide);
    fits(&record);
    fits(&signed);
    fits(&start);
    fits(&checkpoint);
    fits(&offer);
    fits(&bill);
    fits(&evidence);
    fits(&Signed::new(stop, &seller()));
    fits(&Signed::new(release, &seller()));
    fits(&receipt);
    fits(&Message::Agreement(Box::new(agreement.clone())));
    fits(&agreement);
}

/// Bytes from outside: nothing that is cut or flipped panics, and what decodes is canonical.
#[test]
fn torn_and_flipped_bytes_never_panic() {
    let bytes = Message::Agreement(Box::new(agreement(terms()).agreement().clone())).encode();
    for at in 0..bytes.len() {
        assert!(Message::decode(&bytes[..at]).is_err());
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x81;
        if let Ok(message) = Message::decode(&flipped) {
            assert_eq!(message.encode(), flipped);
            if let Message::Agreement(agreement) = message {
                assert!(agreement.verify().is_err(), "byte {at} is signed");
            }
        }
    }
}
