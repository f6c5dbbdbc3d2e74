//! Targets of the charger's protocol: text from a charger, or from whoever says that it is one.

use crate::{KIB, MIB, Target, Verdict};
use ohmesh_ocpp::{
    ChargerName, Version, check_basic,
    client::{ChargePoint, Model},
    frame::{Frame, FrameFlaw},
    json::Json,
    negotiate,
    session::{Action, Charger, Outlet, Settings},
};
use ohmesh_units::{Energy, Power, Timestamp};
use std::time::Duration;

pub const OCPP: Target =
    Target { name: "ocpp", run: ocpp, seeds: ocpp_seeds, words: &[], memory_max: 8 * MIB, cost: 30 };

pub const OCPP_UPGRADE: Target = Target {
    name: "ocpp_upgrade",
    run: upgrade,
    seeds: || {
        let lines = "CP1\nBasic Q1AxOnNlY3JldA==\nocpp2.0.1, ocpp1.6";
        vec![("both".into(), lines.as_bytes().to_vec())]
    },
    words: &["charger", "name", "password", "protocol", "header", "UTF-8", "Basic", "credentials"],
    memory_max: 256 * KIB,
    cost: 1,
};

/// 2026-11-21T22:34:56.789Z.
const NOON: Timestamp = Timestamp::from_millis(1_795_300_496_789);

fn after(seconds: u64) -> Timestamp {
    NOON.checked_add(Duration::from_secs(seconds)).expect("far from the end of time")
}

/// The version on the first line, then a text a line, given to the agent's session and to a charger's.
fn ocpp(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused("not UTF-8".into()) };
    let mut lines = text.lines();
    let version = if lines.next() == Some("2.0.1") { Version::V201 } else { Version::V16 };
    let rated = Power::from_w(11_000);
    let outlets = [1, 2].map(|evse| Outlet { evse, rated });
    let name = ChargerName::new("CP1").expect("a plain name");
    let mut session = Charger::new(name, &outlets, Settings::default(), [7; 32]).expect("two outlets");
    let (epoch, _) = session.reconnect(NOON, version);
    session.grant(NOON, "T1", None, after(1_000_000));
    let mut point = ChargePoint::new(model(rated), version).expect("a plain model");
    point.on_connected(NOON);
    for (seconds, line) in (1..).zip(lines) {
        parse(line);
        let actions = session.on_text(after(seconds), epoch, line);
        assert!(!actions.is_empty(), "silence after {line:?}");
        for action in &actions {
            if let Action::Send(sent) = action {
                let (_, flaws) = Frame::parse(sent).expect("the agent sends whole frames");
                // An answer carries the id of its question, however long.
                let only_id = flaws.iter().all(|flaw| matches!(flaw, FrameFlaw::LongId { .. }));
                assert!(only_id, "{sent} has {flaws:?}");
            }
        }
        point.on_text(after(seconds), line);
        point.on_timer(after(seconds));
    }
    let _ = session.on_timer(after(1_000_000));
    assert!(session.transactions().count() <= outlets.len(), "more transactions than outlets");
    Verdict::Taken
}

fn model(rated: Power) -> Model {
    Model {
        vendor: "Ohm".into(),
        model: "Sim".into(),
        serial: "SIM-0001".into(),
        outlets: vec![(1, rated, Energy::from_wh(910_000)), (2, rated, Energy::from_wh(5))],
        meter_every: Duration::from_secs(60),
    }
}

/// What parses is written and parses as the same.
fn parse(line: &str) {
    match Json::parse(line) {
        Ok(json) => assert_eq!(Json::parse(&json.to_string()).as_ref(), Ok(&json), "of {line:?}"),
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal without words"),
    }
    if let Ok((frame, _)) = Frame::parse(line) {
        let again = Frame::parse(&frame.emit()).map(|(frame, _)| frame);
        assert_eq!(again.as_ref(), Ok(&frame), "of {line:?}");
    }
}

/// What the charger said in a recorded day of each version.
fn ocpp_seeds() -> Vec<(String, Vec<u8>)> {
    let days = [
        ("1.6", include_str!("../../../station-agent/ocpp/tests/golden/v16.txt")),
        ("2.0.1", include_str!("../../../station-agent/ocpp/tests/golden/v201.txt")),
    ];
    let mut seeds = Vec::new();
    for (version, day) in days {
        let said: Vec<&str> = day.lines().filter_map(|line| line.strip_prefix("< ")).collect();
        for (part, lines) in said.chunks(10).enumerate() {
            seeds
                .push((format!("{version}_{part}"), format!("{version}\n{}", lines.join("\n")).into_bytes()));
        }
    }
    seeds
}

/// Path, authorization and protocols of a connection that wants to be a charger's, a line each.
fn upgrade(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused("not UTF-8".into()) };
    let mut lines = text.lines();
    let (path, basic) = (lines.next().unwrap_or_default(), lines.next());
    let headers: Vec<&str> = lines.collect();
    let checked = ChargerName::from_path(path).and_then(|name| {
        check_basic(basic, &name, Some(b"secret"))?;
        negotiate(&headers)
    });
    Verdict::of(checked)
}
