//! Whatever is offered in whatever order, the replica never holds something unproven, and never goes back.

use crate::{replica::replica, town::*};
use ohmesh_ledger::*;
use ohmesh_node::{Certified, ReplicaError};
use ohmesh_units::*;
use proptest::prelude::*;
use std::time::Duration;

/// What is offered: a moment of the ledger, and what is done to it.
#[derive(Clone, Debug)]
struct Offer {
    moment: usize,
    what: What,
    harm: Harm,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Head,
    Account,
    Object,
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    None,
    /// A byte of a proof's content is changed.
    Content(usize),
    /// A hash of a path is changed.
    Path(usize),
    /// A signature is taken away.
    Signature,
    /// The header is of another moment.
    Header(usize),
    /// The proofs are of another moment.
    Proofs(usize),
    /// The certified twin of the moment's block.
    Twin,
}

struct Moment {
    certified: Certified,
    twin: Certified,
    proofs: Vec<Proof>,
}

const MOMENTS: usize = 6;

fn history() -> Vec<Moment> {
    let mut town = Town::new();
    (0..MOMENTS)
        .map(|_| {
            let twin = town.other_next(Duration::from_secs(2), &[2, 3, 4]);
            town.pay(BUYER, SELLER, 1_000_000);
            Moment { certified: town.head(), twin, proofs: town.proofs(BUYER) }
        })
        .collect()
}

fn offers() -> impl Strategy<Value = Vec<Offer>> {
    let harm = prop_oneof![
        4 => Just(Harm::None),
        1 => (0..200usize).prop_map(Harm::Content),
        1 => (0..8usize).prop_map(Harm::Path),
        1 => Just(Harm::Signature),
        1 => (0..MOMENTS).prop_map(Harm::Header),
        1 => (0..MOMENTS).prop_map(Harm::Proofs),
        1 => Just(Harm::Twin),
    ];
    let what = prop_oneof![Just(What::Head), Just(What::Account), Just(What::Object)];
    let offer = (0..MOMENTS, what, harm).prop_map(|(moment, what, harm)| Offer { moment, what, harm });
    prop::collection::vec(offer, 1..24)
}

/// The offer as it goes in, and whether it was harmed at all.
fn harmed(history: &[Moment], offer: &Offer) -> (Certified, Vec<Proof>, bool) {
    let moment = &history[offer.moment];
    let (mut certified, mut proofs) = (moment.certified.clone(), moment.proofs.clone());
    let takes_proofs = !matches!(offer.what, What::Head);
    // Only the first proof is offered as an object.
    let parts = if matches!(offer.what, What::Object) { 1 } else { proofs.len() };
    let is_harmed = match offer.harm {
        Harm::None => false,
        Harm::Content(at) => {
            let content = &mut proofs[at % parts].content;
            let at = at % content.len();
            content[at] ^= 1;
            takes_proofs
        }
        Harm::Path(at) => {
            let path = &mut proofs[at % parts].path;
            let at = at % path.len();
            path[at].0[at] ^= 1;
            takes_proofs
        }
        Harm::Signature => {
            certified.1.signatures.pop();
            true
        }
        Harm::Header(other) => {
            certified.0 = history[other].certified.0.clone();
            other != offer.moment
        }
        Harm::Proofs(other) => {
            proofs = history[other].proofs.clone();
            // A payment changes balances, not the account object: its proof may hold at every moment.
            takes_proofs && proofs[..parts] != moment.proofs[..parts]
        }
        Harm::Twin => {
            certified = moment.twin.clone();
            true
        }
    };
    (certified, proofs, is_harmed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn nothing_unproven_is_ever_held(offers in offers()) {
        let history = history();
        let replica = replica();
        let (buyer, id) = (account(BUYER), Hash::from(account(BUYER)));
        let mut head: Option<u64> = None;
        for offer in &offers {
            let before = (replica.account(&buyer).unwrap(), replica.object(&id).unwrap());
            let (certified, proofs, is_harmed) = harmed(&history, offer);
            let height = certified.0.height;
            let result = match offer.what {
                What::Head => replica.store_head(&certified),
                What::Account => replica.store_account(&buyer, &certified, &proofs).map(drop),
                What::Object => replica.store_object(&id, &certified, &proofs[0]).map(drop),
            };
            prop_assert_eq!(replica.audit().unwrap(), vec![]);
            match result {
                Ok(()) => {
                    prop_assert!(head.is_none_or(|head| head <= height), "went back to {}", height);
                    head = Some(height);
                    // A twin can come first; anything else that was harmed must not pass.
                    prop_assert!(!is_harmed || matches!(offer.harm, Harm::Twin), "{:?}", offer);
                }
                Err(error) => {
                    let after = (replica.account(&buyer).unwrap(), replica.object(&id).unwrap());
                    prop_assert_eq!(before, after, "a refusal changes nothing");
                    let is_contradiction =
                        matches!(error, ReplicaError::Older { .. } | ReplicaError::Fork { .. });
                    prop_assert!(is_harmed || is_contradiction, "{:?}: {}", offer, error);
                }
            }
            prop_assert_eq!(replica.head().unwrap().map(|header| header.height), head);
        }
    }
}
