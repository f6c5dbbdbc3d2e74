//! Messages and requests: bounds, backpressure, and who is told what.
#![allow(clippy::unwrap_used)]

mod common;

use common::{pair, simulate};
use ohmesh_mesh::{
    Closed, Inbound, Limits, MeshError, Peer, RECEIVE_WINDOW_BYTES, Refusal, SEND_WINDOW_BYTES,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

async fn message(peer: &Peer) -> Vec<u8> {
    match peer.next().await.unwrap() {
        Inbound::Message(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

async fn refused(peer: &Peer) -> MeshError {
    match peer.next().await.unwrap() {
        Inbound::Refused(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Answers every request with its own bytes, until the connection ends.
fn echo(peer: Peer) {
    tokio::spawn(async move {
        while let Ok(inbound) = peer.next().await {
            if let Inbound::Request { bytes, reply } = inbound {
                tokio::spawn(async move { reply.send(&bytes).await });
            }
        }
    });
}

#[test]
fn messages_of_every_size_up_to_the_bound_arrive() {
    simulate(async {
        let limits = Limits::default();
        let pair = pair(limits, limits).await;
        for size in [0, 1, 1199, 70_000, limits.message_bytes_max] {
            let bytes: Vec<u8> = (0..size).map(|at| at.to_le_bytes()[0]).collect();
            let (sent, came) = tokio::join!(pair.to_two.send(&bytes), message(&pair.to_one));
            sent.unwrap();
            assert!(came == bytes, "{size}");
        }
    });
}

#[test]
fn too_large_for_this_side_is_not_sent() {
    simulate(async {
        let limits = Limits { message_bytes_max: 1000, request_bytes_max: 500, ..Limits::default() };
        let pair = pair(limits, limits).await;
        let error = pair.to_two.send(&[0; 1001]).await.unwrap_err();
        assert_eq!(error, MeshError::TooLarge { max: 1000, found: 1001 });
        let error = pair.to_two.request(&[0; 501]).await.unwrap_err();
        assert_eq!(error, MeshError::TooLarge { max: 500, found: 501 });
        pair.to_two.send(&[7; 1000]).await.unwrap();
        assert_eq!(message(&pair.to_one).await, [7; 1000]);
    });
}

#[test]
fn too_large_for_the_peer_is_refused_by_name_and_the_peer_goes_on() {
    simulate(async {
        let small = Limits { message_bytes_max: 1000, request_bytes_max: 500, ..Limits::default() };
        let pair = pair(Limits::default(), small).await;

        let error = pair.to_two.deliver(&[0; 300_000]).await.unwrap_err();
        assert_eq!(error, MeshError::Refused(Refusal::TooLarge));
        assert_eq!(refused(&pair.to_one).await, MeshError::TooLarge { max: 1000, found: 300_000 });

        let error = pair.to_two.request(&[0; 501]).await.unwrap_err();
        assert_eq!(error, MeshError::Refused(Refusal::TooLarge));
        assert_eq!(refused(&pair.to_one).await, MeshError::TooLarge { max: 500, found: 501 });

        pair.to_two.send(b"fits").await.unwrap();
        assert_eq!(message(&pair.to_one).await, b"fits");
        echo(pair.to_one.clone());
        assert_eq!(pair.to_two.request(b"fits too").await.unwrap(), b"fits too");
    });
}

#[test]
fn an_oversized_reply_is_refused_by_the_asker_and_by_the_answerer() {
    simulate(async {
        let small = Limits { reply_bytes_max: 100, ..Limits::default() };
        // The asker's bound is the lower one.
        let asks = pair(small, Limits::default()).await;
        echo(asks.to_one.clone());
        let error = asks.to_two.request(&[0; 101]).await.unwrap_err();
        assert_eq!(error, MeshError::TooLarge { max: 100, found: 101 });
        assert_eq!(asks.to_two.request(&[1; 100]).await.unwrap(), [1; 100]);

        // The answerer's bound is the lower one.
        let answers = pair(Limits::default(), small).await;
        let answer = async {
            let Inbound::Request { reply, .. } = answers.to_one.next().await.unwrap() else { panic!() };
            reply.send(&[0; 101]).await.unwrap_err()
        };
        let (asked, answered) = tokio::join!(answers.to_two.request(b"?"), answer);
        assert_eq!(asked.unwrap_err(), MeshError::Refused(Refusal::TooLarge));
        assert_eq!(answered, MeshError::TooLarge { max: 100, found: 101 });
    });
}

#[test]
fn a_dropped_reply_and_a_refused_request_tell_the_asker() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        let drop_it = async {
            let Inbound::Request { reply, .. } = pair.to_one.next().await.unwrap() else { panic!() };
            assert_eq!(reply.peer().key(), pair.to_one.key());
            drop(reply);
        };
        let (asked, ()) = tokio::join!(pair.to_two.request(b"?"), drop_it);
        assert_eq!(asked.unwrap_err(), MeshError::Refused(Refusal::NoReply));
        let refuse_it = async {
            let Inbound::Request { reply, .. } = pair.to_one.next().await.unwrap() else { panic!() };
            reply.refuse(Refusal::Other(77));
        };
        let (asked, ()) = tokio::join!(pair.to_two.request(b"?"), refuse_it);
        assert_eq!(asked.unwrap_err(), MeshError::Refused(Refusal::Other(77)));
    });
}

#[test]
fn no_answer_is_a_timeout_and_the_peer_goes_on() {
    simulate(async {
        let limits = Limits::default();
        let pair = pair(limits, limits).await;
        let start = tokio::time::Instant::now();
        assert_eq!(pair.to_two.request(b"?").await.unwrap_err(), MeshError::Timeout(limits.stall_max));
        assert!(start.elapsed() < limits.stall_max + Duration::from_secs(1));
        let Inbound::Request { reply, .. } = pair.to_one.next().await.unwrap() else { panic!() };
        drop(reply);
        echo(pair.to_one.clone());
        assert_eq!(pair.to_two.request(b"again").await.unwrap(), b"again");
    });
}

#[test]
fn requests_run_side_by_side_and_answers_find_their_askers() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        let server = pair.to_one.clone();
        tokio::spawn(async move {
            // Answers in the reverse order of arrival.
            let mut open = Vec::new();
            while open.len() < 40 {
                let Inbound::Request { bytes, reply } = server.next().await.unwrap() else { panic!() };
                open.push((bytes, reply));
            }
            while let Some((bytes, reply)) = open.pop() {
                reply.send(&bytes).await.unwrap();
            }
        });
        let asked: Vec<_> = (0u32..40)
            .map(|n| {
                let peer = pair.to_two.clone();
                tokio::spawn(async move { (n, peer.request(&n.to_be_bytes()).await.unwrap()) })
            })
            .collect();
        for asked in asked {
            let (n, answer) = asked.await.unwrap();
            assert_eq!(answer, n.to_be_bytes());
        }
    });
}

#[test]
fn more_requests_than_streams_wait_their_turn() {
    simulate(async {
        let limits = Limits { streams_max: 4, ..Limits::default() };
        let pair = pair(limits, limits).await;
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = pair.to_one.clone();
        let (count, high) = (open.clone(), most.clone());
        tokio::spawn(async move {
            while let Ok(Inbound::Request { bytes, reply }) = server.next().await {
                high.fetch_max(count.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let count = count.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    count.fetch_sub(1, Ordering::SeqCst);
                    reply.send(&bytes).await
                });
            }
        });
        let asked: Vec<_> = (0u8..20)
            .map(|n| {
                let peer = pair.to_two.clone();
                tokio::spawn(async move { peer.request(&[n]).await.unwrap() })
            })
            .collect();
        for (n, asked) in (0u8..).zip(asked) {
            assert_eq!(asked.await.unwrap(), [n]);
        }
        assert_eq!(most.load(Ordering::SeqCst), 4);
    });
}

/// A reader that never reads: the sender is stopped after the reader's bounds, not after the reader's memory.
#[test]
fn a_slow_reader_holds_the_sender_back() {
    simulate(async {
        let reader = Limits {
            message_bytes_max: 100_000,
            inbound_bytes_max: 400_000,
            streams_max: 64,
            ..Limits::default()
        };
        let pair = pair(Limits::default(), reader).await;
        let mut sent = 0;
        let stuck = loop {
            match pair.to_two.send(&[5; 100_000]).await {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 200, "nothing holds the sender back");
        };
        assert!(matches!(stuck, MeshError::Timeout(_)), "{stuck}");
        // 400 kB of whole messages, QUIC's receive window, and what the sender buffers.
        let windows = u64::from(RECEIVE_WINDOW_BYTES) + SEND_WINDOW_BYTES;
        let bound = 4 + windows / 100_000;
        assert!((4..=bound + 1).contains(&sent), "{sent} of at most {bound}");

        // Once it reads, everything that was sent comes, and the connection serves on.
        for _ in 0..4 {
            assert_eq!(message(&pair.to_one).await.len(), 100_000);
        }
        let reader = pair.to_one.clone();
        let reading = tokio::spawn(async move {
            loop {
                if let Inbound::Message(bytes) = reader.next().await.unwrap()
                    && bytes == b"last"
                {
                    return;
                }
            }
        });
        pair.to_two.deliver(b"last").await.unwrap();
        reading.await.unwrap();
    });
}

/// A message that is given up half-way is never taken for a whole one, and holds up nobody else.
#[test]
fn half_a_message_is_refused_and_holds_up_nobody_else() {
    simulate(async {
        let limits = Limits::default();
        let pair = pair(limits, limits).await;
        let sender = pair.to_two.clone();
        // Longer than the send window, so that it is still being written when it is given up.
        let half = tokio::spawn(async move { sender.send(&vec![1; limits.message_bytes_max]).await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        half.abort();
        assert!(half.await.unwrap_err().is_cancelled());
        pair.to_two.send(b"behind it").await.unwrap();
        let mut seen = Vec::new();
        for _ in 0..2 {
            match pair.to_one.next().await.unwrap() {
                Inbound::Message(bytes) => seen.push(bytes),
                Inbound::Refused(error) => {
                    assert_eq!(error, MeshError::Refused(Refusal::GivenUp));
                    seen.push(b"given up".to_vec());
                }
                Inbound::Request { .. } => panic!("nothing was asked"),
            }
        }
        seen.sort();
        assert_eq!(seen, [b"behind it".to_vec(), b"given up".to_vec()]);
    });
}

#[test]
fn held_replies_do_not_hide_the_end_of_a_connection() {
    simulate(async {
        let limits = Limits { streams_max: 2, ..Limits::default() };
        let pair = pair(limits, limits).await;
        for _ in 0..2 {
            let peer = pair.to_two.clone();
            tokio::spawn(async move { peer.request(b"?").await });
        }
        let mut held = Vec::new();
        for _ in 0..2 {
            let Inbound::Request { reply, .. } = pair.to_one.next().await.unwrap() else { panic!() };
            held.push(reply);
        }
        pair.to_two.close("bye");
        assert_eq!(pair.to_one.next().await.unwrap_err(), Closed::ByPeer("bye".into()).into());
        let late = held.pop().unwrap().send(b"late").await.unwrap_err();
        assert_eq!(late, Closed::ByPeer("bye".into()).into());
    });
}
