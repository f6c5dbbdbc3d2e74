//! What a cheat would try, and what comes of it.
#![allow(clippy::unwrap_used)]

mod support;

use ohmesh_ocpp::frame::MAX_FRAME_BYTES;
use ohmesh_ocpp::session::{
    Action, Charger, Command, CommandError, Deviation, Event, MAX_OUTLETS, MAX_QUEUED, MAX_RAW_BYTES,
    Outcome, Outlet, SessionError, Settings, TransactionKey,
};
use ohmesh_ocpp::{ChargerName, Version};
use ohmesh_units::{Energy, Power};
use support::{answer, at, complaints, events, rated, sent, session};

fn named(name: &str, seed: u8) -> Charger {
    let outlets = [Outlet { evse: 1, rated: rated() }];
    Charger::new(ChargerName::new(name).unwrap(), &outlets, Settings::default(), [seed; 32]).unwrap()
}

fn start(charger: &mut Charger, epoch: ohmesh_ocpp::session::Epoch, meter: &str) -> Vec<Action> {
    let text = format!(
        r#"[2,"s","StartTransaction",{{"connectorId":1,"idTag":"T1","meterStart":{meter},"timestamp":"2026-11-21T22:34:56Z"}}]"#
    );
    charger.on_text(at(0), epoch, &text)
}

#[test]
fn a_charger_cannot_stop_or_meter_anothers_transaction() {
    let (mut victim, mut thief) = (named("A", 1), named("B", 2));
    let (a, _) = victim.reconnect(at(0), Version::V16);
    let (b, _) = thief.reconnect(at(0), Version::V16);
    victim.grant(at(0), "T1", None, at(9000));
    let number = answer(&start(&mut victim, a, "0"))["transactionId"].as_i64().unwrap();
    for text in [
        format!(
            r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":0,"timestamp":"{}"}}]"#,
            at(1)
        ),
        format!(
            r#"[2,"x","MeterValues",{{"connectorId":1,"transactionId":{number},"meterValue":[{{"timestamp":"{}","sampledValue":[{{"value":"9000"}}]}}]}}]"#,
            at(1)
        ),
    ] {
        let actions = thief.on_text(at(1), b, &text);
        assert_eq!(answer(&actions), serde_json::json!({}));
        assert_eq!(events(&actions), []);
        assert_eq!(
            complaints(&actions),
            [format!("transaction {:?} is not this charger's", Some(number.to_string()))]
        );
    }
    assert_eq!(victim.transactions().map(|open| open.energy).collect::<Vec<_>>(), [Energy::ZERO]);
    let refused = thief.command(
        at(1),
        Command::Limit { evse: 1, transaction: Some(TransactionKey(number.to_string())), power: rated() },
    );
    assert!(matches!(refused, Err(CommandError::UnknownTransaction(_))));
}

#[test]
fn another_outlets_transaction_cannot_be_metered() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(9000));
    let number = answer(&start(&mut charger, epoch, "0"))["transactionId"].as_i64().unwrap();
    let text = format!(
        r#"[2,"x","MeterValues",{{"connectorId":2,"transactionId":{number},"meterValue":[{{"timestamp":"{}","sampledValue":[{{"value":"100"}}]}}]}}]"#,
        at(60)
    );
    let actions = charger.on_text(at(60), epoch, &text);
    assert_eq!(events(&actions), []);
    assert_eq!(complaints(&actions), [format!("transaction {number} runs at EVSE 1, not 2")]);
}

#[test]
fn a_replayed_start_gets_its_number_again_and_bills_once() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(9000));
    let first = start(&mut charger, epoch, "5");
    for _ in 0..3 {
        let again = start(&mut charger, epoch, "5");
        assert_eq!(answer(&again), answer(&first));
        assert_eq!(events(&again), []);
    }
    let number = answer(&first)["transactionId"].as_i64().unwrap();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":105,"timestamp":"{}"}}]"#,
        at(600)
    );
    assert_eq!(events(&charger.on_text(at(600), epoch, &stop)).len(), 1);
    assert_eq!(events(&charger.on_text(at(600), epoch, &stop)), []);
    let after = start(&mut charger, epoch, "5");
    assert_eq!((answer(&after), events(&after)), (answer(&first), vec![]));
    assert_eq!(charger.transactions().count(), 0);
}

#[test]
fn transaction_numbers_are_not_sequential_and_differ_by_seed() {
    let mut seen = std::collections::BTreeSet::new();
    let mut small_steps = 0;
    let mut last = 0;
    for seed in 0..4 {
        let mut charger = named("A", seed);
        let (epoch, _) = charger.reconnect(at(0), Version::V16);
        for meter in 0..100 {
            let number =
                answer(&start(&mut charger, epoch, &meter.to_string()))["transactionId"].as_i64().unwrap();
            assert!((1..=i64::from(i32::MAX)).contains(&number));
            assert!(seen.insert(number), "a number twice");
            small_steps += usize::from((number - last).abs() < 1000);
            last = number;
        }
    }
    assert!(small_steps < 5, "{small_steps}");
}

#[test]
fn a_token_without_a_grant_is_invalid_and_is_being_stopped() {
    for token in ["T1", ""] {
        let (mut charger, epoch) = session(Version::V16);
        let text = format!(
            r#"[2,"s","StartTransaction",{{"connectorId":1,"idTag":"{token}","meterStart":0,"timestamp":"2026-11-21T22:34:56Z"}}]"#
        );
        let actions = charger.on_text(at(0), epoch, &text);
        let reply = answer(&actions);
        assert_eq!(reply["idTagInfo"]["status"], "Invalid");
        let stop: serde_json::Value = serde_json::from_str(&sent(&actions)[1]).unwrap();
        assert_eq!(stop[2], "RemoteStopTransaction");
        assert_eq!(stop[3]["transactionId"], reply["transactionId"]);
        // A charger that drops the connection instead is told again.
        let (_, actions) = charger.reconnect(at(1), Version::V16);
        let again: serde_json::Value = serde_json::from_str(&sent(&actions)[0]).unwrap();
        assert_eq!((&again[2], &again[3]), (&stop[2], &stop[3]));
    }
    let (mut charger, epoch) = session(Version::V201);
    let event = r#"[2,"e","TransactionEvent",{"eventType":"Started","timestamp":"2026-11-21T22:34:56Z","triggerReason":"Authorized","seqNo":0,"transactionInfo":{"transactionId":"a"},"evse":{"id":1},"idToken":{"idToken":"T1","type":"Central"}}]"#;
    let actions = charger.on_text(at(0), epoch, event);
    assert_eq!(answer(&actions)["idTokenInfo"]["status"], "Invalid");
    assert!(sent(&actions)[1].contains(r#""RequestStopTransaction",{"transactionId":"a"}"#));
}

#[test]
fn a_grant_holds_at_its_outlet_in_its_time_and_once() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(100), "T1", Some(1), at(200));
    let mut begin = |seconds: u64, outlet: u8| {
        let text = format!(
            r#"[2,"s","StartTransaction",{{"connectorId":{outlet},"idTag":"T1","meterStart":{seconds},"timestamp":"{}"}}]"#,
            at(seconds)
        );
        answer(&charger.on_text(at(seconds), epoch, &text))["idTagInfo"]["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(begin(110, 2), "Invalid");
    assert_eq!(begin(201, 1), "Invalid");
    assert_eq!(begin(200, 1), "Accepted");
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(200));
    assert_eq!(answer(&start(&mut charger, epoch, "0"))["idTagInfo"]["status"], "Accepted");
    let second = r#"[2,"s","StartTransaction",{"connectorId":2,"idTag":"t1","meterStart":0,"timestamp":"2026-11-21T22:34:57Z"}]"#;
    assert_eq!(answer(&charger.on_text(at(1), epoch, second))["idTagInfo"]["status"], "ConcurrentTx");
}

#[test]
fn a_start_dated_long_ago_does_not_stretch_the_bill() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(9000));
    let text = r#"[2,"s","StartTransaction",{"connectorId":1,"idTag":"T1","meterStart":0,"timestamp":"2026-11-01T00:00:00Z"}]"#;
    let number = answer(&charger.on_text(at(60), epoch, text))["transactionId"].as_i64().unwrap();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":20000,"timestamp":"2026-11-22T00:00:00Z"}}]"#
    );
    let actions = charger.on_text(at(3600), epoch, &stop);
    let energy = events(&actions).iter().find_map(|event| match event {
        Event::TransactionStopped { energy, .. } => Some(energy.as_wh()),
        _ => None,
    });
    // The grant is an hour old: 11 kWh at most.
    assert_eq!(energy, Some(11_000));
}

#[test]
fn extremes_of_integers_are_answered_and_bill_nothing() {
    for extreme in
        ["9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e400", "-1", "1e-400"]
    {
        let (mut charger, epoch) = session(Version::V16);
        charger.grant(at(0), "T1", None, at(9000));
        let reply = answer(&start(&mut charger, epoch, extreme));
        let number = reply["transactionId"].as_i64().unwrap();
        let stop = format!(
            r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":{extreme},"timestamp":"{extreme}"}}]"#
        );
        let actions = charger.on_text(at(600), epoch, &stop);
        assert!(
            events(&actions).iter().any(
                |event| matches!(event, Event::TransactionStopped { energy, .. } if *energy == Energy::ZERO)
            ),
            "{extreme}"
        );
        let foreign =
            format!(r#"[2,"x","StopTransaction",{{"transactionId":{extreme},"meterStop":{extreme}}}]"#);
        assert_eq!(answer(&charger.on_text(at(600), epoch, &foreign)), serde_json::json!({}));
    }
}

#[test]
fn frames_that_are_no_frames_are_named_and_change_nothing() {
    let huge = format!(r#"[2,"1","Heartbeat",{{"x":"{}"}}]"#, "ä".repeat(5_000_000));
    let cases = [
        (huge.clone(), format!("frame of {} bytes; the limit is {MAX_FRAME_BYTES}", huge.len())),
        (
            format!("[2,\"1\",\"Heartbeat\",{}", "{\"a\":".repeat(10_000)),
            "frame is not JSON: nested deeper than 24 at 139".into(),
        ),
        (
            r#"[2,"1","StopTransaction",{"transactionId":1,"transactionId":2}]"#.into(),
            r#"frame is not JSON: key "transactionId" comes twice"#.into(),
        ),
        ("".into(), "frame is not JSON: JSON ends early".into()),
        ("[5,\"1\"]".into(), "unknown message type 5".into()),
        ("[3,\"1\",{}]".into(), "answer to unknown message \"1\"".into()),
        ("[4,\"1\",\"InternalError\",\"\",{}]".into(), "answer to unknown message \"1\"".into()),
    ];
    for version in [Version::V16, Version::V201] {
        for (text, complaint) in &cases {
            let (mut charger, epoch) = session(version);
            let actions = charger.on_text(at(0), epoch, text);
            assert_eq!(complaints(&actions), [complaint.as_str()]);
            assert_eq!(events(&actions), []);
            for action in &actions {
                if let Action::Deviation(Deviation { raw, .. }) = action {
                    assert!(text.starts_with(raw) && raw.len() <= MAX_FRAME_BYTES);
                    assert!(raw.len() == text.len() || raw.len() <= MAX_RAW_BYTES);
                }
            }
        }
    }
}

#[test]
fn unknown_actions_and_unreadable_questions_are_refused_in_the_versions_words() {
    let (mut charger, epoch) = session(Version::V16);
    let actions = charger.on_text(at(0), epoch, r#"[2,"1","DropTables",{}]"#);
    assert_eq!(sent(&actions), [r#"[4,"1","NotImplemented","DropTables",{}]"#]);
    let actions = charger.on_text(at(0), epoch, r#"[2,"1","Authorize",{}]"#);
    assert_eq!(sent(&actions), [r#"[4,"1","OccurenceConstraintViolation","idTag: missing",{}]"#]);
    let (mut charger, epoch) = session(Version::V201);
    let actions = charger.on_text(at(0), epoch, r#"[2,"1","Authorize",{"idToken":[]}]"#);
    assert_eq!(
        sent(&actions),
        [r#"[4,"1","TypeConstraintViolation","idToken: a JSON array instead of an object",{}]"#]
    );
    let actions = charger.on_text(at(0), epoch, "junk");
    assert!(sent(&actions)[0].starts_with(r#"[4,"-1","RpcFrameworkError","#));
}

#[test]
fn an_old_connection_is_closed_and_heard_no_more() {
    let (mut charger, old) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(9000));
    let (id, actions) = charger.command(at(0), Command::Unlock { evse: 1 }).unwrap();
    let request: serde_json::Value = serde_json::from_str(&sent(&actions)[0]).unwrap();
    let (new, actions) = charger.reconnect(at(1), Version::V201);
    assert_eq!(actions[0], Action::Close(old));
    assert!(events(&actions).contains(&Event::CommandResult { command: id, outcome: Outcome::Disconnected }));
    assert_eq!(start(&mut charger, old, "0"), [Action::Close(old)]);
    assert!(events(&charger.on_closed(at(2), old)).is_empty(), "the old socket's close must not end the new");
    assert_eq!(charger.connection(), Some((new, Version::V201)));
    let stale = format!(r#"[3,{},{{"status":"Unlocked"}}]"#, request[1]);
    assert!(complaints(&charger.on_text(at(2), new, &stale))[0].starts_with("answer to unknown message"));
}

#[test]
fn commands_wait_their_turn_within_bounds() {
    let (mut charger, epoch) = session(Version::V16);
    let (first, actions) = charger.command(at(0), Command::Unlock { evse: 1 }).unwrap();
    let under_way: serde_json::Value = serde_json::from_str(&sent(&actions)[0]).unwrap();
    for _ in 0..MAX_QUEUED {
        let (_, actions) = charger.command(at(0), Command::Unlock { evse: 2 }).unwrap();
        assert_eq!(sent(&actions), [""; 0], "one outstanding request at a time");
    }
    assert_eq!(charger.command(at(0), Command::Unlock { evse: 1 }).unwrap_err(), CommandError::QueueFull);
    let text = format!(r#"[3,{},{{"status":"UnlockFailed"}}]"#, under_way[1]);
    let actions = charger.on_text(at(1), epoch, &text);
    let outcome = Outcome::Refused("UnlockFailed".into());
    assert_eq!(events(&actions), [Event::CommandResult { command: first, outcome }]);
    assert_eq!(sent(&actions).len(), 1);
    // An answer may come once.
    let again = charger.on_text(at(1), epoch, &text);
    assert_eq!(events(&again), []);
    charger.on_closed(at(2), epoch);
    assert_eq!(charger.command(at(2), Command::Unlock { evse: 1 }).unwrap_err(), CommandError::NotConnected);
}

#[test]
fn commands_that_the_schema_forbids_never_leave() {
    let (mut charger, _) = session(Version::V16);
    let long = "x".repeat(21);
    let refused =
        charger.command(at(0), Command::Start { evse: 1, token: long.clone(), limit: None }).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "unfit for the charger: RemoteStartTransaction.idTag: 21 characters; the schema allows 20"
    );
    let refused =
        charger.command(at(0), Command::Start { evse: 3, token: "T".into(), limit: None }).unwrap_err();
    assert_eq!(refused, CommandError::UnknownEvse(3));
    let (mut charger, _) = session(Version::V201);
    assert!(charger.command(at(0), Command::Start { evse: 1, token: long, limit: None }).is_ok());
    let refused = charger.command(at(0), Command::ReadSettings { names: vec!["NoDot".into()] }).unwrap_err();
    assert_eq!(refused, CommandError::BadName("NoDot".into()));
    let refused = charger.command(at(0), Command::ReadSettings { names: vec![] }).unwrap_err();
    assert_eq!(refused.to_string(), "unfit for the charger: GetVariables.getVariableData: an empty list");
}

#[test]
fn chargers_are_made_with_sound_outlets_and_adopt_only_what_fits() {
    let make = |outlets: &[u16]| {
        let outlets: Vec<_> = outlets.iter().map(|&evse| Outlet { evse, rated: Power::from_w(1) }).collect();
        Charger::new(ChargerName::new("A").unwrap(), &outlets, Settings::default(), [0; 32]).err()
    };
    let many: Vec<u16> = (1..=u16::try_from(MAX_OUTLETS).unwrap() + 1).collect();
    for bad in [&[][..], &[0], &[1, 1], &many] {
        assert_eq!(make(bad), Some(SessionError::Outlets));
    }
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(9000));
    start(&mut charger, epoch, "100");
    let stored = serde_json::to_string(charger.transactions().next().unwrap()).unwrap();
    let open: ohmesh_ocpp::session::Transaction = serde_json::from_str(&stored).unwrap();
    // After a restart the stop still finds its transaction, and is bounded by the time since the start.
    let (mut restarted, epoch) = session(Version::V16);
    restarted.adopt(open.clone()).unwrap();
    assert_eq!(restarted.adopt(open.clone()), Err(SessionError::Adopted(open.key.clone())));
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{},"meterStop":1100,"timestamp":"{}"}}]"#,
        open.key,
        at(600)
    );
    let actions = restarted.on_text(at(600), epoch, &stop);
    assert!(
        events(&actions)
            .iter()
            .any(|event| matches!(event, Event::TransactionStopped { energy, .. } if energy.as_wh() == 1000))
    );
    let debug = format!("{restarted:?}");
    assert!(!debug.contains("seed") && !debug.contains("T1"), "{debug}");
}

#[test]
fn hostile_text_stays_text() {
    let (mut charger, epoch) = session(Version::V16);
    let hostile = r#"'; DROP TABLE x;--<script>alert(1)</script>\u0000\r\n=cmd|' /C calc'!A0"#;
    let boot =
        format!(r#"[2,"b","BootNotification",{{"chargePointVendor":"{hostile}","chargePointModel":"M"}}]"#);
    let actions = charger.on_text(at(0), epoch, &boot);
    assert_eq!(answer(&actions)["status"], "Accepted");
    let event = r#"[2,"\"\\\u0000</script>","Nope\n\"",{}]"#;
    let actions = charger.on_text(at(0), epoch, event);
    let reply: serde_json::Value = serde_json::from_str(&sent(&actions)[0]).unwrap();
    assert_eq!(reply[1], "\"\\\u{0}</script>", "the id comes back as it was, escaped");
}

#[test]
fn events_come_before_the_answer_that_lets_the_charger_forget() {
    let (mut charger, epoch) = session(Version::V16);
    charger.grant(at(0), "T1", None, at(9000));
    let begun = start(&mut charger, epoch, "0");
    let number = answer(&begun)["transactionId"].as_i64().unwrap();
    let stop = format!(
        r#"[2,"x","StopTransaction",{{"transactionId":{number},"meterStop":-1,"timestamp":"{}"}}]"#,
        at(9)
    );
    for actions in [begun, charger.on_text(at(9), epoch, &stop)] {
        let first_answer = actions.iter().position(|action| matches!(action, Action::Send(_))).unwrap();
        let kept = |action: &Action| matches!(action, Action::Event(_) | Action::Deviation(_));
        assert!(actions[..first_answer].iter().any(kept));
        assert!(!actions[first_answer..].iter().any(kept), "{actions:?}");
    }
}
