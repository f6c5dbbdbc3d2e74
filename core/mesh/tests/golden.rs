//! The bytes on the wire, checked in: a change here is a change of the protocol.
#![allow(clippy::unwrap_used)]

use ohmesh_mesh::{
    frame::Cutter,
    gossip::{Frame, PAYLOAD_BYTES_MAX, Topic},
};
use ohmesh_units::{Area, Canonical, DecodeError, Hash, to_hex};

#[test]
fn gossip_frames() {
    let area: Area = "85283473fffffff".parse().unwrap();
    let topics = Frame::Topics(vec![Topic::Area(area), Topic::Id(Hash([1; 32]))]);
    let expected = "010002".to_string() + "00fffffffff3e8a0a908" + "01" + &"01".repeat(32);
    assert_eq!(to_hex(&topics.encode()), expected);
    let message = Frame::Message { hops: 3, topic: Topic::Area(area), payload: b"hi".to_vec() };
    assert_eq!(to_hex(&message.encode()), "010103".to_string() + "00fffffffff3e8a0a908" + "026869");
    assert_eq!(Frame::decode(&topics.encode()), Ok(topics));
    let topic = Topic::Id(Hash([7; 32]));
    let longest = Frame::Message { hops: 5, topic, payload: vec![0; PAYLOAD_BYTES_MAX] }.encode();
    assert!(Frame::decode(&longest).is_ok());
    let too_long = Frame::Message { hops: 5, topic, payload: vec![0; PAYLOAD_BYTES_MAX + 9] }.encode();
    assert!(matches!(Frame::decode(&too_long), Err(DecodeError::TooLong { .. })));
}

#[test]
fn link_frames() {
    let mut cutter = Cutter::new(5);
    let mut frames = Vec::new();
    for datagram in [&[1, 2, 3, 4, 5, 6][..], &[7]] {
        cutter.push(datagram);
        while let Some(frame) = cutter.front() {
            frames.push(to_hex(frame));
            cutter.pop();
        }
    }
    assert_eq!(frames, ["8006000102", "4103040506", "c2010007"]);
}
