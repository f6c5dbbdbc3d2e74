//! What an app holds: a wallet, a replica of the own part of the ledger, and the agents they speak with.
//!
//! What it is: [`Node`]. It keeps, in one SQLite file, what a certificate and proofs back ([`Replica`]) and what it has
//! signed itself ([`Wallet`]); it asks the agents of the zone file, in an order drawn by lot, and tells an app what
//! changed ([`Event`]).
//!
//! What it never does: believe an agent. A balance is shown because more than two thirds of the zone's stake signed a
//! header that a proof leads to; an answer that does not hold is dropped and its agent named. What cannot be proven to a
//! phone yet (that a certain transfer was applied) is marked as hearsay ([`Status`]). It reads no clock, random source,
//! socket or file that its [`Builder`] was not given, so that a whole node runs in a simulation.
//!
//! How data moves:
//!
//! ```text
//!  Body --Wallet::sign--> SignedTransaction (durable) --Query::Submit--> an agent
//!  an agent --Answer::Proofs--> Replica::store_account: certificate, proofs, height --> SQLite --> Event, Node::account
//!                                     '-- does not hold: Event::AgentFailed, next agent
//! ```
//!
//! Buying is one more noun: [`Node::buy`] gives a [`Purchase`], which runs from the intent to the receipt, survives a
//! restart, and tells each step ([`PurchaseNews`]); [`find`] looks for stations without asking anybody.
//!
//! Who may certify changes with every epoch. A node follows that from an anchor on ([`Builder::anchor`]; the genesis
//! serves while a zone is young), by one hand-over an epoch and no block in between, and learns from the proven validators
//! of the newest epoch whom it can ask. What it trusts is good for 21 days: who was away for longer is told so
//! ([`ReplicaError::AnchorTooOld`]), and anchors again by a newer release of the app or by two operators
//! ([`Node::anchor_by`]).
//!
//! Epochs, heights and times never go back. A header older than a minute is stale ([`Freshness`]). Two certified headers
//! that contradict each other are kept as evidence ([`Fork`]), an old history that was signed once more among them. When
//! the file is opened, everything in it is verified again ([`Damage`]), from the oldest epoch that it still has; that one
//! is trusted as it stands there, unless it is the zone file's.
//!
//! The file is trusted as the phone's own disk, with what is secret in it, and no further than that: nothing in it is
//! bound to a key, as whoever can write it can put back an older copy that is whole, and read an open purchase. An older
//! copy is repaired by the next fresh answer. With other voters in the oldest epoch, and all after it to match, whoever
//! wrote them and answers for every agent can show the phone a zone of its own; no true answer then fits. Keep the file
//! where no other app can write, and anchor again in a new file when agents are refused.
//!
//! Cost: a write is one SQLite transaction with one fsync on the calling task; a read verifies one certificate. Every
//! epoch that was followed takes 1 to 3 kB of the file; 32 are kept. A week offline with five settlements costs 27 kB on
//! the wire with 4 validators, 29 kB with 7 and 50 kB with 32 (new vote keys every day, a million objects in the ledger);
//! 11 kB of that is the connection itself.
//!
//! ```
//! use ohmesh_ledger::{Distributor, KeyGroup, Rules, Validator, ValidatorSet, Zone, ZoneFile};
//! use ohmesh_mesh::{Clock, Endpoint, SystemClock};
//! use ohmesh_node::{Builder, NodeError, Place};
//! use ohmesh_units::{Position, Price, SigningKey};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! # let (agent, treasurer) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
//! # let (name, address) = ("north".to_owned(), String::new());
//! # let validators = vec![Validator { name, key: agent.public(), vote: agent.public(), stake: 1, address }];
//! # let mut zone_file = ZoneFile::new(Zone {
//! #     name: "testville".into(),
//! #     currency: "EUR".parse().unwrap(),
//! #     created: SystemClock.now(),
//! #     polygon: [(1, 1), (1, 2), (2, 2)].map(|(lat, lon)| Position::from_e7(lat, lon).unwrap()).to_vec(),
//! #     regulators: None,
//! #     rules: Rules::default(),
//! #     treasury: KeyGroup { threshold: 1, keys: vec![treasurer.public()] },
//! #     distributor: Distributor { key: treasurer.public(), tariff: Price::from_micro_per_kwh(0) },
//! #     areas: Vec::new(),
//! #     validators: ValidatorSet::new(validators).unwrap(),
//! # }).unwrap();
//! # zone_file.sign(&agent).unwrap();
//! let seen_by_agents = SigningKey::from_seed([8; 32]);
//! let endpoint = Endpoint::builder(seen_by_agents).bind("127.0.0.1:0".parse().unwrap()).start().unwrap();
//! let node = Builder::new(zone_file, SigningKey::from_seed([9; 32]))
//!     .endpoint(endpoint)
//!     .store(Place::Memory)
//!     .build()?;
//! assert_eq!(node.account()?, None, "nothing is shown before it is proven");
//! assert_eq!(node.sync().await, Err(NodeError::NoAgent { asked: 1 }), "the zone's agent has no address");
//! # Ok::<(), NodeError>(())
//! # }).unwrap();
//! ```

#![deny(missing_docs)]

mod agents;
mod buyer;
mod error;
mod event;
mod freshness;
mod node;
mod replica;
mod store;
mod timer;
mod wallet;

pub use buyer::{
    BuyError, Ended, Nearby, Need, OpenedBid, Purchase, PurchaseNews, PurchaseReceipt, Settings, Timings,
    find,
};
pub use error::{AgentFault, Damage, NodeError, Part, ReplicaError, StoreError, WalletError};
pub use event::Event;
pub use freshness::{Freshness, STALE_AFTER};
pub use node::{AccountView, Builder, Node, Submitted, Synced};
pub use replica::{Certified, Fork, OnDamage, Replica};
pub use store::{Place, Store};
pub use wallet::{Sent, Status, Wallet};
