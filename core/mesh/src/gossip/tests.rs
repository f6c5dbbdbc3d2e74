use super::*;
use ohmesh_units::SigningKey;
use proptest::prelude::*;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const TOPIC: Topic = Topic::Id(Hash([7; 32]));

fn key(n: usize) -> PublicKey {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(n as u64).to_be_bytes());
    SigningKey::from_seed(seed).public()
}

/// A node with peers 1 to `peers`, all of which announced the topic, which it has joined itself.
fn node(peers: usize) -> Gossip {
    let mut gossip = Gossip::new();
    gossip.join(TOPIC).unwrap();
    for peer in 1..=peers {
        gossip.peer_up(key(peer), NOW).unwrap();
        gossip.receive(key(peer), &Frame::Topics(vec![TOPIC]).encode(), NOW).unwrap();
    }
    gossip
}

fn message(hops: u8, payload: &[u8]) -> Vec<u8> {
    Frame::Message { hops, topic: TOPIC, payload: payload.to_vec() }.encode()
}

fn targets(actions: &[Action]) -> Vec<PublicKey> {
    let to = |action: &Action| match action {
        Action::Send { to, .. } => Some(*to),
        Action::Deliver(_) => None,
    };
    actions.iter().filter_map(to).collect()
}

fn deliveries(actions: &[Action]) -> usize {
    actions.iter().filter(|action| matches!(action, Action::Deliver(_))).count()
}

#[test]
fn a_message_is_delivered_once_and_passed_on_once_but_not_back() {
    let mut gossip = node(3);
    let first = gossip.receive(key(1), &message(3, b"a"), NOW).unwrap();
    let mut others = vec![key(2), key(3)];
    others.sort();
    assert_eq!(targets(&first), others);
    assert_eq!(deliveries(&first), 1);
    assert_eq!(gossip.receive(key(2), &message(3, b"a"), NOW).unwrap(), []);
    let Action::Send { bytes, .. } = &first[0] else { panic!() };
    assert_eq!(bytes, &message(2, b"a"));
}

#[test]
fn the_last_hop_delivers_and_does_not_pass_on() {
    let mut gossip = node(3);
    let last = gossip.receive(key(1), &message(0, b"a"), NOW).unwrap();
    assert_eq!((targets(&last).len(), deliveries(&last)), (0, 1));
}

/// Attack: the message is sent ahead without hops, so that it ends here.
#[test]
fn a_starved_copy_does_not_stop_the_honest_one() {
    let mut gossip = node(3);
    gossip.receive(key(1), &message(0, b"a"), NOW).unwrap();
    let honest = gossip.receive(key(2), &message(4, b"a"), NOW).unwrap();
    assert_eq!((targets(&honest).len(), deliveries(&honest)), (2, 0));
    assert_eq!(gossip.receive(key(3), &message(4, b"a"), NOW).unwrap(), []);
}

/// Attack: more hops than anybody may give, to flood farther.
#[test]
fn too_many_hops_are_refused() {
    let mut gossip = node(1);
    for hops in [HOPS_MAX, 255] {
        assert_eq!(gossip.receive(key(1), &message(hops, b"a"), NOW), Err(GossipError::TooManyHops(hops)));
    }
    assert!(gossip.receive(key(1), &message(HOPS_MAX - 1, b"a"), NOW).is_ok());
}

#[test]
fn what_was_not_joined_is_neither_delivered_nor_passed_on_nor_remembered() {
    let mut gossip = node(2);
    let other = Topic::Id(Hash([8; 32]));
    gossip.receive(key(2), &Frame::Topics(vec![TOPIC, other]).encode(), NOW).unwrap();
    let foreign = Frame::Message { hops: 3, topic: other, payload: b"a".to_vec() }.encode();
    assert_eq!(gossip.receive(key(1), &foreign, NOW).unwrap(), []);
    assert_eq!(gossip.seen.order.len(), 0);
    // But this node may speak about it.
    assert_eq!(targets(&gossip.publish(other, b"b", NOW).unwrap()), [key(2)]);
}

/// Attack: a peer floods. It is cut to its rate, and what it said too fast can still come from others.
#[test]
fn a_flood_is_cut_to_the_rate() {
    let mut gossip = Gossip::new();
    gossip.join(TOPIC).unwrap();
    gossip.peer_up(key(1), NOW).unwrap();
    gossip.peer_up(key(2), NOW).unwrap();
    let mut taken = 0;
    let mut refused = None;
    for ms in 0..10_000u32 {
        let now = NOW.checked_add(Duration::from_millis(ms.into())).unwrap();
        match gossip.receive(key(1), &message(1, &ms.to_be_bytes()), now) {
            Ok(_) => taken += 1,
            Err(error) => {
                assert_eq!(error, GossipError::TooFast(key(1)));
                refused = refused.or(Some(ms));
            }
        }
    }
    let allowed = RATE_BURST + 10 * RATE_PER_SECOND;
    assert!((allowed - 1..=allowed).contains(&taken), "{taken}");
    let refused = message(1, &refused.unwrap().to_be_bytes());
    assert_eq!(deliveries(&gossip.receive(key(2), &refused, NOW).unwrap()), 1);
}

/// Attack: connect again for a new burst.
#[test]
fn a_second_connection_brings_no_new_burst() {
    let mut gossip = node(1);
    while gossip.receive(key(1), &[], NOW) != Err(GossipError::TooFast(key(1))) {}
    gossip.peer_up(key(1), NOW).unwrap();
    assert_eq!(gossip.receive(key(1), &message(1, b"a"), NOW), Err(GossipError::TooFast(key(1))));
    assert!(gossip.peers[&key(1)].topics.is_empty());
}

#[test]
fn a_clock_set_back_gives_no_tokens() {
    let mut bucket = Bucket::full(NOW);
    while bucket.take(NOW) {}
    assert!(!bucket.take(Timestamp::EPOCH));
    assert!(!bucket.take(Timestamp::EPOCH));
    assert!(bucket.take(Timestamp::from_millis(1000)));
}

#[test]
fn garbage_costs_tokens_and_changes_nothing() {
    let mut gossip = node(1);
    let unordered = Frame::Topics(vec![TOPIC, TOPIC]).encode();
    assert_eq!(gossip.receive(key(1), &unordered, NOW), Err(GossipError::Unordered));
    let many: Vec<Topic> = (0..=64).map(|n| Topic::Id(Hash([n; 32]))).collect();
    let many = Frame::Topics(many).encode();
    assert_eq!(gossip.receive(key(1), &many, NOW), Err(GossipError::TooManyTopics));
    for _ in 0..RATE_BURST - 3 {
        assert!(matches!(gossip.receive(key(1), &[1, 9], NOW), Err(GossipError::Decode(_))));
    }
    assert_eq!(gossip.receive(key(1), &[1, 9], NOW), Err(GossipError::TooFast(key(1))));
    assert_eq!(gossip.receive(key(9), &message(1, b"a"), NOW), Err(GossipError::NoPeer(key(9))));
    assert_eq!(gossip.peers[&key(1)].topics.len(), 1, "the last good announcement stands");
}

#[test]
fn memory_is_bounded_by_number_and_by_time() {
    let mut seen = Seen::default();
    for n in 0..SEEN_MAX as u64 + 100 {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_be_bytes());
        seen.see(Hash(id), 1, NOW);
    }
    assert_eq!((seen.hops.len(), seen.order.len()), (SEEN_MAX, SEEN_MAX));
    let later = NOW.checked_add(SEEN_FOR + Duration::from_millis(1)).unwrap();
    seen.see(Hash::ZERO, 1, later);
    assert_eq!((seen.hops.len(), seen.order.len()), (1, 1));

    let mut gossip = Gossip::new();
    for n in 0..64 {
        gossip.join(Topic::Id(Hash([n; 32]))).unwrap();
    }
    assert_eq!(gossip.join(Topic::Id(Hash([64; 32]))), Err(GossipError::TooManyTopics));
    for n in 0..PEERS_MAX {
        gossip.peer_up(key(n), NOW).unwrap();
    }
    assert_eq!(gossip.peer_up(key(PEERS_MAX), NOW), Err(GossipError::TooManyPeers(key(PEERS_MAX))));
    let too_large = gossip.publish(TOPIC, &[0; PAYLOAD_BYTES_MAX + 1], NOW);
    assert_eq!(too_large, Err(GossipError::TooLarge(PAYLOAD_BYTES_MAX + 1)));
}

/// Nodes 0 to n-1, some of them neighbours; frames are delivered in an order that `pick` chooses.
struct Village {
    nodes: Vec<Gossip>,
    keys: Vec<PublicKey>,
    delivered: Vec<usize>,
    on_the_way: Vec<(usize, usize, Vec<u8>)>,
    messages_passed: usize,
}

impl Village {
    fn new(count: usize, edges: &[(usize, usize)]) -> Self {
        let keys: Vec<PublicKey> = (0..count).map(key).collect();
        let mut village = Self {
            nodes: (0..count).map(|_| Gossip::new()).collect(),
            delivered: vec![0; count],
            on_the_way: Vec::new(),
            messages_passed: 0,
            keys,
        };
        village.nodes.iter_mut().for_each(|node| drop(node.join(TOPIC).unwrap()));
        for &(a, b) in edges {
            for (a, b) in [(a, b), (b, a)] {
                let actions = village.nodes[a].peer_up(village.keys[b], NOW).unwrap();
                village.perform(a, actions);
            }
        }
        village.run(|_| 0);
        village
    }

    fn perform(&mut self, from: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Deliver(_) => self.delivered[from] += 1,
                Action::Send { to, bytes } => {
                    let to = self.keys.iter().position(|key| *key == to).unwrap();
                    self.on_the_way.push((from, to, bytes));
                }
            }
        }
    }

    fn run(&mut self, mut pick: impl FnMut(usize) -> usize) {
        let mut steps = 0;
        while !self.on_the_way.is_empty() {
            steps += 1;
            assert!(steps < 100_000, "the flood does not end");
            let (from, to, bytes) = self.on_the_way.remove(pick(self.on_the_way.len()));
            self.messages_passed += usize::from(matches!(Frame::decode(&bytes), Ok(Frame::Message { .. })));
            let actions = self.nodes[to].receive(self.keys[from], &bytes, NOW).unwrap();
            self.perform(to, actions);
        }
    }

    fn distances(count: usize, edges: &[(usize, usize)], from: usize) -> Vec<usize> {
        let mut distances = vec![usize::MAX; count];
        distances[from] = 0;
        for round in 0..count {
            for &(a, b) in edges {
                for (a, b) in [(a, b), (b, a)] {
                    if distances[a] == round && distances[b] > round + 1 {
                        distances[b] = round + 1;
                    }
                }
            }
        }
        distances
    }
}

fn edges(count: usize) -> impl Strategy<Value = Vec<(usize, usize)>> {
    prop::collection::btree_set((0..count, 0..count), 1..count * 2)
        .prop_map(|edges| edges.into_iter().filter(|(a, b)| a < b).collect())
}

proptest! {
    /// Whatever the graph and whatever the order of arrival: the flood ends, every node within reach delivers
    /// exactly once, nobody beyond it does, and the frames are bounded.
    #[test]
    fn floods_end_and_reach_everybody_once(
        (count, edges) in (2usize..14).prop_flat_map(|count| (Just(count), edges(count))),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..50),
    ) {
        let mut village = Village::new(count, &edges);
        let actions = village.nodes[0].publish(TOPIC, b"news", NOW).unwrap();
        village.perform(0, actions);
        let mut turn = 0;
        village.run(|waiting| {
            turn += 1;
            picks[turn % picks.len()].index(waiting)
        });
        let distances = Village::distances(count, &edges, 0);
        for (node, distance) in distances.into_iter().enumerate().skip(1) {
            let expected = usize::from(distance <= usize::from(HOPS_MAX));
            prop_assert_eq!(village.delivered[node], expected, "node {} at {}", node, distance);
        }
        prop_assert_eq!(village.delivered[0], 0, "the author hears nothing new");
        prop_assert!(village.messages_passed <= 2 * edges.len() * usize::from(HOPS_MAX));
    }

    #[test]
    fn arbitrary_bytes_never_panic(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..50)) {
        let mut gossip = node(3);
        for frame in frames {
            let _ = gossip.receive(key(1), &frame, NOW);
        }
    }
}

#[test]
fn a_cycle_does_not_loop() {
    let edges: Vec<(usize, usize)> = (0..5).map(|n| (n, (n + 1) % 5)).collect();
    let mut village = Village::new(5, &edges);
    let actions = village.nodes[0].publish(TOPIC, b"news", NOW).unwrap();
    village.perform(0, actions);
    village.run(|_| 0);
    assert_eq!(village.delivered, [0, 1, 1, 1, 1]);
    assert!(village.messages_passed <= 10, "{}", village.messages_passed);
    assert_eq!(village.nodes[0].publish(TOPIC, b"news", NOW).unwrap(), [], "the same news is no news");
}
