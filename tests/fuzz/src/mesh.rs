//! Targets of the mesh: gossip, frames of a small link, adverts. QUIC and TLS are others' code and fuzzed there.

use crate::{MIB, Target, Verdict, decode};
use ohmesh_mesh::{
    discovery::Advert,
    frame::{Assembler, Cutter, DATAGRAM_BYTES_MAX},
    gossip::{Action, Frame, Gossip, Topic},
};
use ohmesh_tests::key;
use ohmesh_units::{Area, Canonical, Hash, Reader, Timestamp};
use std::time::Duration;

pub const GOSSIP: Target =
    Target { name: "gossip", run: gossip, seeds: gossip_seeds, words: &[], memory_max: 4 * MIB, cost: 5 };

pub const LINK_FRAME: Target = Target {
    name: "link_frame",
    run: link_frame,
    seeds: link_frame_seeds,
    words: &[],
    memory_max: MIB,
    cost: 1,
};

pub const ADVERT: Target = Target {
    name: "advert",
    run: advert,
    seeds: || {
        let advert = Advert { key: key(1).public(), zone: Hash([9; 32]).into() };
        let lines = advert.to_txt().map(|(name, value)| format!("{name}={value}"));
        vec![("station".into(), lines.join("\n").into_bytes())]
    },
    words: &["TXT record", "UTF-8"],
    memory_max: MIB,
    cost: 1,
};

fn area() -> Area {
    "861f1d48fffffff".parse().expect("a cell")
}

/// Frames from two peers in turn, each with its length; everything sent on is a frame again.
fn gossip(bytes: &[u8]) -> Verdict {
    let (peers, begins) = ([key(1).public(), key(2).public()], Timestamp::from_millis(1_000_000));
    let mut node = Gossip::new();
    node.join(Topic::Area(area())).expect("the first topic");
    for peer in peers {
        node.peer_up(peer, begins).expect("two peers");
    }
    let mut refusal = None;
    let mut reader = Reader::new(bytes);
    let mut n = 0;
    while let Some(frame) = reader.record() {
        let now = begins.checked_add(Duration::from_millis(20 * n as u64)).expect("far from the end of time");
        match node.receive(peers[n % 2], frame, now) {
            Ok(actions) => actions.iter().for_each(check_action),
            Err(error) => refusal = refusal.or(Some(error.to_string())),
        }
        n += 1;
    }
    refusal.map_or(Verdict::Taken, Verdict::Refused)
}

fn check_action(action: &Action) {
    if let Action::Send { bytes, .. } = action {
        let sent = decode::<Frame>(bytes).expect("a node sends whole frames");
        assert!(
            !matches!(sent, Frame::Message { topic, .. } if topic != Topic::Area(area())),
            "another topic"
        );
    }
}

fn framed<'f>(frames: impl IntoIterator<Item = &'f [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        bytes.extend(u32::try_from(frame.len()).expect("frames are short").to_be_bytes());
        bytes.extend(frame);
    }
    bytes
}

fn gossip_seeds() -> Vec<(String, Vec<u8>)> {
    let topics = Frame::Topics(vec![Topic::Area(area()), Topic::Id(Hash([1; 32]))]).encode();
    let message =
        |hops, payload: &[u8]| Frame::Message { hops, topic: Topic::Area(area()), payload: payload.to_vec() };
    let frames = [topics, message(3, b"bay 3 is free").encode(), message(2, b"bay 3 is taken").encode()];
    vec![("talk".into(), framed(frames.iter().map(Vec::as_slice)))]
}

/// Frames of a small link, each with its length in one byte.
fn link_frame(bytes: &[u8]) -> Verdict {
    let mut assembler = Assembler::default();
    let mut rest = bytes;
    while let Some((length, after)) = rest.split_first() {
        let (frame, after) = after.split_at(after.len().min(usize::from(*length)));
        for datagram in assembler.push(frame) {
            assert!(datagram.len() <= DATAGRAM_BYTES_MAX, "a datagram of {} bytes", datagram.len());
        }
        rest = after;
    }
    match assembler.lost() {
        0 => Verdict::Taken,
        lost => Verdict::Refused(format!("{lost} datagrams are not whole")),
    }
}

fn link_frame_seeds() -> Vec<(String, Vec<u8>)> {
    let mut cutter = Cutter::new(20);
    for (length, byte) in [(1, 7), (60, 8), (300, 9), (17, 10)] {
        cutter.push(&vec![byte; length]);
    }
    let mut bytes = Vec::new();
    while let Some(frame) = cutter.front() {
        bytes.push(u8::try_from(frame.len()).expect("at most 20"));
        bytes.extend(frame);
        cutter.pop();
    }
    vec![("four_datagrams".into(), bytes)]
}

/// A station's TXT record, a field a line.
fn advert(bytes: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(bytes) else { return Verdict::Refused("not UTF-8".into()) };
    let fields: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let field = |name: &str| fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    Verdict::of(Advert::from_txt(field))
}
