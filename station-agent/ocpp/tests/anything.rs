//! Whatever text arrives, in whatever order: no panic, always an answer or a named oddity, and bounded bills.
#![allow(clippy::unwrap_used)]

mod support;

use ohmesh_ocpp::Version;
use ohmesh_ocpp::client::ChargePoint;
use ohmesh_ocpp::session::{Action, Event};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use support::{at, car, model, rated, session};

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V16), Just(Version::V201)]
}

/// A value of any kind, near the edges of what fields hold.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        (0..3_i64).prop_map(|number| number.to_string()),
        (any::<i32>(), any::<u8>()).prop_map(|(number, power)| format!("{number}.5e{power}")),
        "[A-Za-z0-9.:+-]{0,60}".prop_map(|text| format!("\"{text}\"")),
        (0..100_000_u64).prop_map(|seconds| format!("\"{}\"", at(seconds))),
        prop_oneof![
            Just("T1"),
            Just("Started"),
            Just("Updated"),
            Just("Ended"),
            Just("Available"),
            Just("kWh")
        ]
        .prop_map(|word| format!("\"{word}\"")),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            object(inner),
        ]
    })
}

/// An object with keys that the messages know.
fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    const KEYS: [&str; 27] = [
        "connectorId",
        "idTag",
        "meterStart",
        "meterStop",
        "timestamp",
        "transactionId",
        "meterValue",
        "sampledValue",
        "value",
        "unit",
        "status",
        "errorCode",
        "eventType",
        "seqNo",
        "transactionInfo",
        "evse",
        "id",
        "idToken",
        "type",
        "unitOfMeasure",
        "multiplier",
        "signedMeterValue",
        "transactionData",
        "reason",
        "evseId",
        "connectorStatus",
        "chargingStation",
    ];
    prop::collection::btree_map(prop::sample::select(&KEYS[..]), value, 0..8).prop_map(|members| {
        let members: Vec<_> = members.into_iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    })
}

fn frame() -> impl Strategy<Value = String> {
    const ACTIONS: [&str; 14] = [
        "BootNotification",
        "Heartbeat",
        "StatusNotification",
        "Authorize",
        "StartTransaction",
        "StopTransaction",
        "MeterValues",
        "TransactionEvent",
        "DataTransfer",
        "SecurityEventNotification",
        "NotifyReport",
        "NotifyEvent",
        "FirmwareStatusNotification",
        "Nonsense",
    ];
    prop_oneof![
        8 => (prop::sample::select(&ACTIONS[..]), object(value()))
            .prop_map(|(action, payload)| format!("[2,\"1\",\"{action}\",{payload}]")),
        1 => value(),
        1 => (2..6_u8, value(), value()).prop_map(|(kind, id, payload)| format!("[{kind},{id},{payload}]")),
        1 => ".{0,80}",
    ]
}

/// A start that works, so that what follows finds a transaction.
fn begin(version: Version) -> String {
    match version {
        Version::V16 => format!(
            r#"[2,"s","StartTransaction",{{"connectorId":1,"idTag":"T1","meterStart":0,"timestamp":"{}"}}]"#,
            at(0)
        ),
        Version::V201 => format!(
            r#"[2,"s","TransactionEvent",{{"eventType":"Started","timestamp":"{}","triggerReason":"Authorized","seqNo":0,"transactionInfo":{{"transactionId":"1"}},"evse":{{"id":1}},"idToken":{{"idToken":"T1","type":"Central"}}}}]"#,
            at(0)
        ),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_session_survives_any_text(version in version(), texts in prop::collection::vec((frame(), 0..600_u64), 1..20)) {
        let (mut charger, epoch) = session(version);
        charger.grant(at(0), "T1", None, at(1_000_000));
        charger.on_text(at(0), epoch, &begin(version));
        let mut seconds = 0;
        let mut billed = BTreeMap::new();
        for (text, step) in texts {
            seconds += step;
            let actions = charger.on_text(at(seconds), epoch, &text);
            let said = actions.iter().any(|action| match action {
                Action::Send(_) => true,
                Action::Deviation(deviation) => !deviation.oddities.is_empty(),
                _ => false,
            });
            prop_assert!(said, "{} -> {:?}", text, actions);
            for action in &actions {
                match action {
                    Action::Send(sent) => {
                        let frame: serde_json::Value = serde_json::from_str(sent).unwrap();
                        prop_assert!(frame.is_array());
                    }
                    Action::Event(Event::Metered { transaction, energy, .. } | Event::TransactionStopped { transaction, energy, .. }) => {
                        let before = billed.insert(transaction.clone(), *energy).unwrap_or_default();
                        prop_assert!(*energy >= before);
                        // A charger is believed to have been offline for a week at most.
                        prop_assert!(*energy <= rated().times(Duration::from_secs(seconds + 7 * 86_400)));
                    }
                    Action::Event(Event::TransactionStarted { at: begun, .. }) => prop_assert!(*begun <= at(seconds)),
                    _ => (),
                }
            }
            prop_assert!(charger.transactions().count() <= 2);
        }
        let _ = charger.on_timer(at(seconds + 100_000));
    }

    #[test]
    fn a_simulated_charger_survives_any_text(version in version(), texts in prop::collection::vec(frame(), 1..20)) {
        let mut point = ChargePoint::new(model(), version).unwrap();
        point.on_connected(at(0));
        point.plug_in(at(0), 1, car(5000)).unwrap();
        for (seconds, text) in (1..).zip(texts) {
            point.on_text(at(seconds), &text);
            point.on_timer(at(seconds));
        }
    }

    #[test]
    fn a_known_transaction_never_bills_more_than_its_time_allows(readings in prop::collection::vec((any::<i64>(), 0..100_000_i64, 0..600_u64), 1..20)) {
        let (mut charger, epoch) = session(Version::V16);
        charger.grant(at(0), "T1", None, at(1_000_000));
        charger.on_text(at(0), epoch, &begin(Version::V16));
        let number = charger.transactions().next().unwrap().key.clone();
        let mut seconds = 0;
        for (wild, tame, step) in readings {
            seconds += step;
            let wh = if wild % 4 == 0 { wild } else { tame };
            let text = format!(r#"[2,"m","MeterValues",{{"connectorId":1,"transactionId":{number},"meterValue":[{{"timestamp":"{}","sampledValue":[{{"value":"{wh}"}}]}}]}}]"#, at(seconds));
            let actions = charger.on_text(at(seconds), epoch, &text);
            let odd = actions.iter().any(|action| matches!(action, Action::Deviation(_)));
            let from_zero = charger.transactions().next().unwrap().start == Some(ohmesh_units::Energy::ZERO);
            for action in &actions {
                if let Action::Event(Event::Metered { energy, register, .. }) = action {
                    prop_assert!(*energy <= rated().times(Duration::from_secs(seconds)));
                    prop_assert!(odd || !from_zero || Some(*energy) == *register);
                }
            }
        }
    }
}
