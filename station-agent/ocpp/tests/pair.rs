//! The session and the simulated charger against each other, both versions, whole sessions on virtual time.
#![allow(clippy::unwrap_used)]

mod support;

use ohmesh_ocpp::Version;
use ohmesh_ocpp::client::ClientEvent;
use ohmesh_ocpp::session::{
    Command, CommandError, Event, EvseState, Outcome, StopCause, TransactionKey, Trigger,
};
use ohmesh_units::Power;
use support::{Street, at, car};

const VERSIONS: [Version; 2] = [Version::V16, Version::V201];

fn start(street: &mut Street, token: &str) -> Outcome {
    let id = street.command(Command::Start { evse: 1, token: token.into(), limit: None });
    street.outcome(id).unwrap()
}

#[test]
fn a_whole_session_bills_what_the_charger_measured() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        assert!(
            street
                .events
                .iter()
                .any(|event| matches!(event, Event::Booted { vendor, .. } if vendor == "Ohm"))
        );
        let reserve = Command::Reserve { evse: 1, reservation: 4, token: "T1".into(), until: at(900) };
        let reserved = street.command(reserve);
        assert_eq!(street.outcome(reserved), Some(Outcome::Accepted));
        street.pass(60);
        street.point(|point, now| point.plug_in(now, 1, car(8000)));
        assert!(street.events.contains(&Event::PluggedIn { evse: 1, at: at(60) }));
        assert_eq!(start(&mut street, "T1"), Outcome::Accepted);
        assert_eq!(start(&mut street, "T2"), Outcome::Refused("Rejected".into()));
        street.pass(20 * 60 + 1);
        let transaction = street.transaction();
        let stop = street.command(Command::Stop { transaction: transaction.clone() });
        assert_eq!(street.outcome(stop), Some(Outcome::Accepted));
        street.point(|point, now| point.unplug(now, 1));
        street.pass(5);

        // 11 kW for 1201 s are 3669.7 Wh.
        assert_eq!(street.stopped(), [3669], "{version}");
        let energies = street.energies();
        assert_eq!((energies.len(), energies.last()), (21, Some(&3669)), "{version}");
        assert!(energies.is_sorted());
        assert!(street.events.contains(&Event::TransactionStopped {
            evse: 1,
            transaction,
            energy: ohmesh_units::Energy::from_wh(3669),
            register: Some(ohmesh_units::Energy::from_wh(913_669)),
            at: at(1261),
            reason: StopCause::Charger("Remote"),
            signed: vec![],
        }));
        let started = street.events.iter().find_map(|event| match event {
            Event::TransactionStarted { evse, token, authorized, reservation, meter_start, .. } => {
                Some((*evse, token.clone(), *authorized, *reservation, meter_start.map(|wh| wh.as_wh())))
            }
            _ => None,
        });
        assert_eq!(started, Some((1, Some("T1".into()), true, Some(4), Some(910_000))));
        assert_eq!(street.charger.evses().next().map(|(_, state, _)| state), Some(EvseState::Available));
        assert!(street.point.is_quiet());
        street.assert_clean();
    }
}

#[test]
fn a_full_car_ends_its_session_and_a_limit_holds() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.point(|point, now| point.plug_in(now, 1, car(1000)));
        let limit = Some(Power::from_w(6000));
        street.command(Command::Start { evse: 1, token: "T1".into(), limit });
        street.pass(300);
        let transaction = Some(street.transaction());
        let limit = street.command(Command::Limit { evse: 1, transaction, power: Power::from_w(3000) });
        assert_eq!(street.outcome(limit), Some(Outcome::Accepted));
        street.pass(3600);
        // 6 kW for 300 s are 500 Wh, 3 kW for 600 s the other 500.
        assert_eq!(street.stopped(), [1000]);
        let stopped = street.events.iter().find_map(|event| match event {
            Event::TransactionStopped { at, reason: StopCause::Charger(word), .. } => Some((*at, *word)),
            _ => None,
        });
        let word = if version == Version::V16 { "Local" } else { "StoppedByEV" };
        assert_eq!(stopped, Some((at(900), word)));
        street.assert_clean();
    }
}

#[test]
fn a_card_starts_only_with_a_grant() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.point(|point, now| point.plug_in(now, 2, car(1000)));
        street.point(|point, now| point.present(now, 2, "CARD"));
        street.pass(10);
        assert_eq!(street.charger.transactions().count(), 0);
        street.charger.grant(street.now, "card", None, at(600));
        street.point(|point, now| point.present(now, 2, "CARD"));
        street.pass(60);
        assert_eq!(
            street.charger.transactions().map(|open| (open.evse, open.authorized)).collect::<Vec<_>>(),
            [(2, true)]
        );
        street.point(|point, now| point.present(now, 2, "CARD"));
        assert_eq!(street.stopped(), [183]);
        assert_eq!(street.energies().last(), Some(&183));
        street.assert_clean();
    }
}

#[test]
fn a_session_survives_a_lost_connection() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.point(|point, now| point.plug_in(now, 1, car(20_000)));
        start(&mut street, "T1");
        street.pass(600);
        let before = street.transaction();
        street.cut();
        street.pass(1200);
        street.connect();
        assert_eq!(street.transaction(), before);
        street.pass(60);
        street.point(|point, now| point.unplug(now, 1));
        street.pass(5);
        // 11 kW for the half hour, then the curve falls to 5 kW.
        assert_eq!(street.stopped(), [5500 + 83], "{version}");
        assert_eq!(street.energies().last(), Some(&5583), "{version}");
        street.assert_clean();
    }
}

#[test]
fn a_start_whose_answer_was_lost_gets_the_same_number() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.point(|point, now| point.plug_in(now, 1, car(20_000)));
        // The session hears the start; the connection breaks before the charger hears the answer.
        let (_, actions) = street
            .charger
            .command(street.now, Command::Start { evse: 1, token: "T1".into(), limit: None })
            .unwrap();
        let request = support::sent(&actions).remove(0);
        let from_point = street.point.on_text(street.now, &request);
        let texts: Vec<String> = from_point
            .into_iter()
            .filter_map(|action| match action {
                ohmesh_ocpp::client::ClientAction::Send(text) => Some(text),
                _ => None,
            })
            .collect();
        assert_eq!(texts.len(), 2, "answer and start: {texts:?}");
        for text in &texts {
            street.charger.on_text(street.now, street.epoch, text);
        }
        let before = street.transaction();
        street.cut();
        street.connect();
        street.pass(60);
        assert_eq!(street.charger.transactions().map(|open| open.key.clone()).collect::<Vec<_>>(), [before]);
        street.point(|point, now| point.unplug(now, 1));
        street.pass(5);
        assert_eq!(street.charger.transactions().count(), 0);
        assert_eq!(street.energies().last(), Some(&183));
    }
}

#[test]
fn settings_triggers_and_the_other_commands_work() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        let (heartbeat, meter) = match version {
            Version::V16 => ("HeartbeatInterval", "MeterValueSampleInterval"),
            Version::V201 => ("OCPPCommCtrlr.HeartbeatInterval", "SampledDataCtrlr.TxUpdatedInterval"),
        };
        let run = |street: &mut Street, command| {
            let id = street.command(command);
            street.outcome(id).unwrap()
        };
        let write = Command::WriteSetting { name: meter.into(), value: "15".into() };
        assert_eq!(run(&mut street, write), Outcome::Accepted);
        let read = Command::ReadSettings { names: vec![heartbeat.into(), meter.into()] };
        let expected =
            vec![(heartbeat.to_owned(), Some("300".to_owned())), (meter.to_owned(), Some("15".to_owned()))];
        assert_eq!(run(&mut street, read), Outcome::Settings(expected));
        for what in [Trigger::Status, Trigger::Heartbeat, Trigger::MeterValues] {
            assert_eq!(run(&mut street, Command::Trigger { what, evse: Some(1) }), Outcome::Accepted);
        }
        assert_eq!(
            run(&mut street, Command::SetOperative { evse: Some(2), operative: false }),
            Outcome::Accepted
        );
        assert!(street.events.contains(&Event::State {
            evse: 2,
            state: EvseState::Unavailable,
            error: None
        }));
        assert_eq!(run(&mut street, Command::Unlock { evse: 1 }), Outcome::Accepted);
        let reserve = Command::Reserve { evse: 1, reservation: 9, token: "T".into(), until: at(500) };
        assert_eq!(run(&mut street, reserve), Outcome::Accepted);
        assert_eq!(run(&mut street, Command::CancelReservation { reservation: 9 }), Outcome::Accepted);
        assert_eq!(
            run(&mut street, Command::CancelReservation { reservation: 9 }),
            Outcome::Refused("Rejected".into())
        );
        assert_eq!(run(&mut street, Command::Reset { hard: true }), Outcome::Accepted);
        let online = street.events.iter().filter(|event| matches!(event, Event::Online { .. })).count();
        assert_eq!(online, 2);
        let status = Command::TransactionStatus { transaction: TransactionKey("x".into()) };
        let refused = street.charger.command(street.now, status).unwrap_err();
        assert_eq!(refused, CommandError::UnknownTransaction(TransactionKey("x".into())));
        street.assert_clean();
    }
}

#[test]
fn a_transaction_can_be_asked_for_in_201_only() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.point(|point, now| point.plug_in(now, 1, car(20_000)));
        start(&mut street, "T1");
        let command = Command::TransactionStatus { transaction: street.transaction() };
        match version {
            Version::V16 => {
                let refused = street.charger.command(street.now, command).unwrap_err();
                assert_eq!(refused, CommandError::NotInVersion(Version::V16));
            }
            Version::V201 => {
                let id = street.command(command);
                assert_eq!(
                    street.outcome(id),
                    Some(Outcome::Transaction { ongoing: Some(true), queued: false })
                );
            }
        }
    }
}

#[test]
fn a_reset_ends_sessions_with_their_energy() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.point(|point, now| point.plug_in(now, 1, car(20_000)));
        start(&mut street, "T1");
        street.pass(60);
        street.command(Command::Reset { hard: false });
        street.pass(5);
        assert_eq!(street.stopped(), [183]);
        assert_eq!(street.energies().last(), Some(&183));
        assert!(street.point_events.contains(&ClientEvent::Acknowledged { evse: 1 }));
        street.assert_clean();
    }
}

#[test]
fn a_day_of_silence_but_heartbeats_is_no_deviation() {
    for version in VERSIONS {
        let mut street = Street::new(version);
        street.pass(86_400);
        let heartbeats =
            street.wire.iter().filter(|(agent, text)| !agent && text.contains("Heartbeat")).count();
        assert_eq!(heartbeats, 288);
        assert_eq!(street.charger.connection().map(|(epoch, _)| epoch), Some(street.epoch));
        street.assert_clean();
    }
}
