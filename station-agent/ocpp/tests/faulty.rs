//! What real chargers got wrong: each message is answered, read as far as it makes sense, and named.
#![allow(clippy::unwrap_used)]

mod support;

use ohmesh_ocpp::Version;
use ohmesh_ocpp::session::{
    Action, Charger, Command, Epoch, Event, EvseState, Outcome, StopCause, TransactionKey,
};
use ohmesh_units::Energy;
use support::{NOON, answer, at, complaints, events, sent, session};

/// A 1.6 session with an authorised transaction at outlet 1 that began at 910,000 Wh, and its number.
fn charging() -> (Charger, Epoch, i64) {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", Some(1), at(86_400));
    let start = r#"[2,"s","StartTransaction",{"connectorId":1,"idTag":"T1","meterStart":910000,"timestamp":"2026-11-21T22:34:56Z"}]"#;
    let actions = charger.on_text(at(0), epoch, start);
    assert_eq!(complaints(&actions), [""; 0]);
    let number = answer(&actions)["transactionId"].as_i64().unwrap();
    (charger, epoch, number)
}

fn metered(actions: &[Action]) -> Vec<u64> {
    events(actions)
        .iter()
        .filter_map(|event| match event {
            Event::Metered { energy, .. } => Some(energy.as_wh()),
            _ => None,
        })
        .collect()
}

fn stopped(actions: &[Action]) -> Option<u64> {
    events(actions).iter().find_map(|event| match event {
        Event::TransactionStopped { energy, .. } => Some(energy.as_wh()),
        _ => None,
    })
}

#[test]
fn a_boot_with_a_33_character_serial_is_accepted() {
    let (mut charger, epoch) = session(Version::V16);
    let serial = "3N221730382A1B1000000000000000000";
    assert_eq!(serial.len(), 33);
    let boot = format!(
        r#"[2,"b","BootNotification",{{"chargePointVendor":"Schneider Electric","chargePointModel":"EVlink","chargePointSerialNumber":"{serial}","x-vendor":1}}]"#
    );
    let actions = charger.on_text(at(0), epoch, &boot);
    assert_eq!(answer(&actions)["status"], "Accepted");
    assert_eq!(complaints(&actions), ["chargePointSerialNumber: 33 characters; the schema allows 25"]);
    assert!(matches!(&events(&actions)[0], Event::Booted { serial: Some(kept), .. } if kept == serial));
    let raw = actions.iter().find_map(|action| match action {
        Action::Deviation(deviation) => Some(deviation.raw.clone()),
        _ => None,
    });
    assert_eq!(raw, Some(boot));
}

#[test]
fn a_21_character_id_tag_does_not_block_a_stop() {
    let (mut charger, epoch, number) = charging();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"idTag":"123456789012345678901","meterStop":910500,"timestamp":"2026-11-21T22:44:56Z"}}]"#
    );
    let actions = charger.on_text(at(600), epoch, &stop);
    assert_eq!(answer(&actions), serde_json::json!({}));
    assert_eq!(stopped(&actions), Some(500));
    assert_eq!(complaints(&actions), ["idTag: 21 characters; the schema allows 20"]);
}

#[test]
fn numeric_values_float_registers_and_missing_times_are_salvaged() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(86_400));
    let start = r#"[2,"s","StartTransaction",{"connectorId":"1","idTag":"t1","meterStart":910000.4}]"#;
    let actions = charger.on_text(at(0), epoch, start);
    let number = answer(&actions)["transactionId"].as_i64().unwrap();
    assert_eq!(answer(&actions)["idTagInfo"]["status"], "Accepted");
    assert_eq!(
        complaints(&actions),
        [
            "connectorId: a JSON string instead of a number",
            "meterStart: not a whole number: 910000.4",
            "timestamp: missing",
        ]
    );
    let values = format!(
        r#"[2,"m","MeterValues",{{"connectorId":1,"transactionId":{number},"meterValue":{{"sampledValue":[{{"value":910.1235,"unit":"kWh"}},{{"value":"10999.6","measurand":"Power.Active.Import"}},{{"value":"soon","measurand":"SoC"}},{{"value":"1","phase":"L1"}}]}}}}]"#
    );
    let actions = charger.on_text(at(60), epoch, &values);
    assert_eq!(answer(&actions), serde_json::json!({}));
    // 910.1235 kWh are 910,123.5 Wh: rounded to 910,124.
    assert_eq!(metered(&actions), [124]);
    assert_eq!(
        complaints(&actions),
        [
            "meterValue: a JSON object instead of an array",
            "meterValue[0].timestamp: missing",
            "meterValue[0].sampledValue[0].value: a JSON number instead of a string",
            "unreadable SoC: \"soon\"",
        ]
    );
}

#[test]
fn money_messages_without_anything_are_answered() {
    let (mut charger, epoch) = session(Version::V16);
    let mut say = |action: &str| charger.on_text(at(0), epoch, &format!(r#"[2,"1","{action}",{{}}]"#));
    assert!(answer(&say("StartTransaction"))["transactionId"].as_i64().unwrap() > 0);
    for action in ["StopTransaction", "MeterValues"] {
        let actions = say(action);
        assert_eq!(answer(&actions), serde_json::json!({}));
        assert!(!complaints(&actions).is_empty());
    }
    let (mut charger, epoch) = session(Version::V201);
    for payload in ["{}", r#"{"transactionInfo":7,"meterValue":[1,{"sampledValue":{}}],"idToken":"x"}"#] {
        let actions = charger.on_text(at(0), epoch, &format!(r#"[2,"1","TransactionEvent",{payload}]"#));
        assert_eq!(answer(&actions), serde_json::json!({}));
        assert!(complaints(&actions).iter().any(|complaint| complaint.contains("not this charger's")));
    }
}

#[test]
fn a_stop_below_its_start_by_one_bills_nothing() {
    let (mut charger, epoch, number) = charging();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":909999,"timestamp":"2026-11-21T22:44:56Z"}}]"#
    );
    let actions = charger.on_text(at(600), epoch, &stop);
    assert_eq!(stopped(&actions), Some(0));
    assert_eq!(complaints(&actions), ["register 909.999 kWh is below its start 910.000 kWh"]);
}

#[test]
fn an_offline_session_that_began_at_zero_bills_what_flowed() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", Some(1), at(86_400));
    let idle = r#"[2,"m","MeterValues",{"connectorId":1,"meterValue":[{"timestamp":"2026-11-21T22:35:00Z","sampledValue":[{"value":"910.000","unit":"kWh"}]}]}]"#;
    assert_eq!(complaints(&charger.on_text(at(4), epoch, idle)), [""; 0]);
    // Five minutes of charging while offline, told hours later.
    let start = r#"[2,"s","StartTransaction",{"connectorId":1,"idTag":"T1","meterStart":0,"timestamp":"2026-11-21T23:00:00Z"}]"#;
    let actions = charger.on_text(at(20_000), epoch, start);
    assert_eq!(complaints(&actions), ["register starts at 0.000 kWh after 910.000 kWh"]);
    let number = answer(&actions)["transactionId"].as_i64().unwrap();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":910083,"timestamp":"2026-11-21T23:05:00Z","reason":"Local"}}]"#
    );
    let actions = charger.on_text(at(20_001), epoch, &stop);
    assert_eq!(stopped(&actions), Some(83));
    assert_eq!(
        complaints(&actions),
        ["910.083 kWh where at most 0.916 kWh can be", "start register 0.000 kWh replaced by 910.000 kWh"]
    );
}

#[test]
fn a_register_that_falls_bills_no_less_and_no_more() {
    let (mut charger, epoch, number) = charging();
    let mut meter = |seconds: u64, wh: i64| {
        let values = format!(
            r#"[2,"m","MeterValues",{{"connectorId":1,"transactionId":{number},"meterValue":[{{"timestamp":"{}","sampledValue":[{{"value":"{wh}"}}]}}]}}]"#,
            at(seconds)
        );
        let actions = charger.on_text(at(seconds), epoch, &values);
        (metered(&actions), complaints(&actions).len())
    };
    assert_eq!(meter(600, 911_000), (vec![1000], 0));
    assert_eq!(meter(660, 910_900), (vec![1000], 1));
    assert_eq!(meter(720, 911_100), (vec![1100], 0));
    assert_eq!(meter(780, -5), (vec![], 1));
    assert_eq!(meter(840, i64::MAX), (vec![1100], 1));
    assert_eq!(meter(900, 911_200), (vec![1200], 0));
}

#[test]
fn a_signed_record_is_kept_byte_for_byte() {
    let (mut charger, epoch, number) = charging();
    let record = r#"OCMF|{\"FV\":\"1.0\",\"RD\":[{\"RV\":910.5}]}|{\"SD\":\"30\\u0041\"}"#;
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":910500,"timestamp":"2026-11-21T22:44:56Z","transactionData":[{{"timestamp":"2026-11-21T22:34:56Z","sampledValue":[{{"value":"910000","context":"Transaction.Begin"}}]}},{{"timestamp":"2026-11-21T22:44:56Z","sampledValue":[{{"value":"{record}","format":"SignedData","context":"Transaction.End"}}]}}]}}]"#
    );
    let actions = charger.on_text(at(600), epoch, &stop);
    let signed = events(&actions).into_iter().find_map(|event| match event {
        Event::TransactionStopped { signed, .. } => Some(signed),
        _ => None,
    });
    let signed = signed.unwrap();
    assert_eq!(signed[0].record, r#"OCMF|{"FV":"1.0","RD":[{"RV":910.5}]}|{"SD":"30\u0041"}"#);
    assert_eq!(complaints(&actions), [""; 0]);

    let (mut charger, epoch) = session(Version::V201);
    charger.grant(at(0), "T1", None, at(86_400));
    let event = r#"[2,"e","TransactionEvent",{"eventType":"Started","timestamp":"2026-11-21T22:34:56Z","triggerReason":"Authorized","seqNo":0,"transactionInfo":{"transactionId":"a"},"evse":{"id":1},"idToken":{"idToken":"T1","type":"Central"},"meterValue":[{"timestamp":"2026-11-21T22:34:56Z","sampledValue":[{"value":1.5,"unitOfMeasure":{"unit":"kWh"},"signedMeterValue":{"signedMeterData":"T0NNRg==","signingMethod":"ECDSA-secp256r1","encodingMethod":"OCMF","publicKey":"MFk="}}]}]}]"#;
    let actions = charger.on_text(at(0), epoch, event);
    let signed = events(&actions).into_iter().find_map(|event| match event {
        Event::Metered { signed, register, .. } => Some((signed, register)),
        _ => None,
    });
    let (signed, register) = signed.unwrap();
    assert_eq!((signed[0].record.as_str(), signed[0].encoding.as_deref()), ("T0NNRg==", Some("OCMF")));
    assert_eq!(register, Some(Energy::from_wh(1500)));
    assert_eq!(complaints(&actions), [""; 0]);
}

#[test]
fn a_charger_that_tells_no_state_is_asked() {
    for version in [Version::V16, Version::V201] {
        let (mut charger, epoch) = session(version);
        let asked = sent(&charger.on_timer(at(20)));
        assert!(asked[0].contains("TriggerMessage") && asked[0].contains("StatusNotification"), "{asked:?}");
        // It works without a boot message too.
        let heartbeat = charger.on_text(at(21), epoch, r#"[2,"h","Heartbeat",{}]"#);
        assert!(answer(&heartbeat)["currentTime"].is_string());
    }
}

#[test]
fn an_answer_after_its_time_is_named_and_changes_nothing() {
    let (mut charger, epoch) = session(Version::V16);
    let (id, actions) = charger.command(at(0), Command::Unlock { evse: 1 }).unwrap();
    let request: serde_json::Value = serde_json::from_str(&sent(&actions)[0]).unwrap();
    assert_eq!(events(&charger.on_timer(at(89))), []);
    let late = charger.on_timer(at(90));
    assert_eq!(events(&late), [Event::CommandResult { command: id, outcome: Outcome::TimedOut }]);
    let text = format!(r#"[3,{},{{"status":"Unlocked"}}]"#, request[1]);
    let actions = charger.on_text(at(95), epoch, &text);
    assert_eq!(events(&actions), []);
    assert!(complaints(&actions)[0].contains("too late"));
}

#[test]
fn a_silent_charger_is_offline_and_its_transaction_stays() {
    let (mut charger, epoch, _) = charging();
    let actions = charger.on_timer(at(900));
    assert!(actions.contains(&Action::Close(epoch)));
    assert_eq!(events(&actions), [Event::Offline { epoch }]);
    assert_eq!(charger.transactions().count(), 1);
}

#[test]
fn a_transaction_at_a_free_outlet_ends_after_a_while_and_a_late_stop_is_named() {
    let (mut charger, epoch, number) = charging();
    let free = r#"[2,"f","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Available"}]"#;
    let actions = charger.on_text(at(600), epoch, free);
    assert_eq!(complaints(&actions), [""; 0], "its stop may be on the way");
    assert!(events(&charger.on_timer(at(899))).is_empty());
    let actions = charger.on_timer(at(900));
    assert_eq!(complaints(&actions), [format!("transaction {number} is open at a free EVSE")]);
    let ghost = |event: &Event| matches!(event, Event::TransactionStopped { reason: StopCause::Ghost, .. });
    assert!(events(&actions).iter().any(ghost), "{actions:?}");
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":910500,"timestamp":"2026-11-21T22:44:56Z"}}]"#
    );
    let (epoch, _) = charger.reconnect(at(1000), Version::V16);
    let actions = charger.on_text(at(1000), epoch, &stop);
    assert_eq!(complaints(&actions), [format!("late stop of transaction {number}, 0.500 kWh")]);
    assert_eq!(stopped(&actions), None);
}

#[test]
fn a_second_start_at_an_outlet_ends_the_ghost_before_it() {
    let (mut charger, epoch, number) = charging();
    let start = r#"[2,"s","StartTransaction",{"connectorId":1,"idTag":"T1","meterStart":910400,"timestamp":"2026-11-21T23:34:56Z"}]"#;
    let actions = charger.on_text(at(3600), epoch, start);
    assert_ne!(answer(&actions)["transactionId"].as_i64(), Some(number));
    let superseded = |event: &Event| matches!(event, Event::TransactionStopped { reason: StopCause::Superseded, transaction, .. } if *transaction == TransactionKey(number.to_string()));
    assert!(events(&actions).iter().any(superseded));
    assert_eq!(charger.transactions().count(), 1);
}

#[test]
fn a_201_transaction_without_a_start_is_taken_in_and_counted_from_its_first_reading() {
    let (mut charger, epoch) = session(Version::V201);
    charger.grant(at(0), "T1", None, at(86_400));
    let mut tell = |seconds: u64, kind: &str, sequence: u32, wh: u64| {
        let event = format!(
            r#"[2,"e","TransactionEvent",{{"eventType":"{kind}","timestamp":"{at}","triggerReason":"MeterValuePeriodic","seqNo":{sequence},"transactionInfo":{{"transactionId":"a"}},"evse":{{"id":2}},"idToken":{{"idToken":"T1","type":"Central"}},"meterValue":[{{"timestamp":"{at}","sampledValue":[{{"value":{wh}}}]}}]}}]"#,
            at = at(seconds)
        );
        let actions = charger.on_text(at(seconds), epoch, &event);
        (metered(&actions), stopped(&actions), complaints(&actions))
    };
    let (metered, _, complaints) = tell(0, "Updated", 4, 70_000);
    assert_eq!((metered, complaints.len()), (vec![0], 2), "no start, no register: {complaints:?}");
    assert_eq!(tell(60, "Updated", 5, 70_100), (vec![100], None, vec![]));
    let (metered, _, complaints) = tell(61, "Updated", 5, 70_500);
    assert_eq!((metered, complaints), (vec![], vec!["replay for transaction a".into()]));
    let (_, stopped, complaints) = tell(120, "Ended", 9, 70_200);
    assert_eq!((stopped, complaints), (Some(200), vec!["transaction a: message 9 instead of 6".into()]));
    let (_, stopped, complaints) = tell(120, "Ended", 9, 70_200);
    assert_eq!((stopped, complaints), (None, vec!["replay for transaction a".into()]));
}

#[test]
fn a_plug_is_fresh_only_if_the_outlet_was_seen_free() {
    let (mut charger, epoch) = session(Version::V16);
    let mut state = |word: &str| {
        let text = format!(
            r#"[2,"1","StatusNotification",{{"connectorId":1,"errorCode":"NoError","status":"{word}"}}]"#
        );
        events(&charger.on_text(at(1), epoch, &text))
    };
    let told = |state| Event::State { evse: 1, state, error: None };
    assert_eq!(state("Preparing"), [told(EvseState::Occupied)], "nobody saw it free");
    assert_eq!(state("Finishing"), []);
    assert_eq!(state("Available"), [told(EvseState::Available)]);
    assert_eq!(state("Charging"), [told(EvseState::Occupied), Event::PluggedIn { evse: 1, at: at(1) }]);
    assert_eq!(state("SuspendedEV"), []);
}

#[test]
fn one_plug_of_two_keeps_a_201_outlet_occupied() {
    let (mut charger, epoch) = session(Version::V201);
    let mut state = |connector: u8, word: &str| {
        let text = format!(
            r#"[2,"1","StatusNotification",{{"timestamp":"{}","connectorStatus":"{word}","evseId":1,"connectorId":{connector}}}]"#,
            at(0)
        );
        charger.on_text(at(0), epoch, &text);
        charger.evses().next().unwrap().1
    };
    assert_eq!(state(1, "Available"), EvseState::Available);
    assert_eq!(state(1, "Occupied"), EvseState::Occupied);
    assert_eq!(state(2, "Available"), EvseState::Occupied);
    assert_eq!(state(1, "Faulted"), EvseState::Available);
}

#[test]
fn a_clock_that_is_wrong_does_not_change_the_bill_of_a_live_session() {
    // The charger is an hour behind, and sets its clock within the session.
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", Some(1), at(86_400));
    let start = format!(
        r#"[2,"s","StartTransaction",{{"connectorId":1,"idTag":"T1","meterStart":0,"timestamp":"{}"}}]"#,
        ohmesh_units::Timestamp::from_millis(NOON - 3_600_000)
    );
    let number = answer(&charger.on_text(at(0), epoch, &start))["transactionId"].as_i64().unwrap();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":1800,"timestamp":"{}"}}]"#,
        at(600)
    );
    let actions = charger.on_text(at(600), epoch, &stop);
    assert_eq!(stopped(&actions), Some(1800));
    assert_eq!(complaints(&actions), [""; 0]);
}

#[test]
fn a_stop_right_after_the_cable_is_gone_is_no_deviation() {
    let (mut charger, epoch, number) = charging();
    let free = r#"[2,"f","StatusNotification",{"connectorId":1,"errorCode":"NoError","status":"Available"}]"#;
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":910500,"timestamp":"2026-11-21T22:44:56Z"}}]"#
    );
    assert_eq!(complaints(&charger.on_text(at(600), epoch, free)), [""; 0]);
    let actions = charger.on_text(at(601), epoch, &stop);
    assert_eq!((stopped(&actions), complaints(&actions)), (Some(500), vec![]));
}
