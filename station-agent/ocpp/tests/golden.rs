//! Every kind of message that leaves either side, as text, checked in: `golden/*.txt` are two whole conversations.
//! `>` is the agent, `<` the charger. Texts change only on purpose.
#![allow(clippy::unwrap_used)]

mod support;

use ohmesh_ocpp::Version;
use ohmesh_ocpp::session::{Command, Trigger};
use ohmesh_units::Power;
use support::{Street, at, car};

/// A conversation with every command and every message of a simulated charger.
fn conversation(version: Version) -> String {
    let mut street = Street::new(version);
    let (heartbeat, meter) = match version {
        Version::V16 => ("HeartbeatInterval", "MeterValueSampleInterval"),
        Version::V201 => ("OCPPCommCtrlr.HeartbeatInterval", "SampledDataCtrlr.TxUpdatedInterval"),
    };
    street.command(Command::ReadSettings { names: vec![heartbeat.into()] });
    street.command(Command::WriteSetting { name: meter.into(), value: "60".into() });
    street.command(Command::Reserve { evse: 1, reservation: 4, token: "T1".into(), until: at(900) });
    street.command(Command::CancelReservation { reservation: 4 });
    street.command(Command::Reserve { evse: 1, reservation: 5, token: "T1".into(), until: at(900) });
    street.command(Command::Limit { evse: 1, transaction: None, power: Power::from_w(9000) });
    street.point(|point, now| point.plug_in(now, 1, car(8000)));
    street.command(Command::Start { evse: 1, token: "T1".into(), limit: Some(Power::from_w(4200)) });
    street.pass(61);
    let transaction = street.transaction();
    street.command(Command::Limit {
        evse: 1,
        transaction: Some(transaction.clone()),
        power: Power::from_w(2000),
    });
    if version == Version::V201 {
        street.command(Command::TransactionStatus { transaction: transaction.clone() });
    }
    street.command(Command::Stop { transaction });
    street.point(|point, now| point.unplug(now, 1));
    for what in [Trigger::Boot, Trigger::Heartbeat, Trigger::MeterValues, Trigger::Status] {
        street.command(Command::Trigger { what, evse: Some(2) });
    }
    street.point(|point, now| point.present(now, 2, "CARD"));
    street.command(Command::SetOperative { evse: Some(2), operative: false });
    street.command(Command::SetOperative { evse: None, operative: true });
    street.command(Command::Unlock { evse: 2 });
    street.command(Command::Reset { hard: false });
    street.pass(1);
    street.assert_clean();
    street.wire.iter().map(|(agent, text)| format!("{} {text}\n", if *agent { '>' } else { '<' })).collect()
}

fn compare(version: Version, golden: &str) {
    let said = conversation(version);
    for (number, (said, golden)) in said.lines().zip(golden.lines()).enumerate() {
        assert_eq!(said, golden, "line {}", number + 1);
    }
    assert_eq!(said, golden);
}

#[test]
fn ocpp_16() {
    compare(Version::V16, include_str!("golden/v16.txt"));
}

#[test]
fn ocpp_201() {
    compare(Version::V201, include_str!("golden/v201.txt"));
}
