//! One QUIC endpoint: who is at the other end, messages both ways, who is near, and gossip by area.
//!
//! What it is: quinn and rustls with raw Ed25519 keys on both sides (RFC 7250), so that an address leads to a key or
//! to nothing. Over an open connection a [`Peer`] sends messages and asks requests, each on a QUIC stream of its own,
//! each with a bound. UDP and small links (BLE) are one socket; a link has a synthetic address and is dialled like
//! any other.
//!
//! What it never does: it gives no meaning to a message, stores nothing, and reads no clock, random source or socket
//! that its [`Builder`] was not given. With a seed, a [`sim::SimNet`] and a [`sim::SimClock`] a whole node
//! runs on virtual time and sends the same bytes in every run. It sends no session ticket, no address token, no
//! early data and no server name that says anything, so that two connections cannot be linked by them.
//!
//! How data moves:
//!
//! ```text
//!   Endpoint::connect(address, key) --TLS: that key or WrongKey--> Peer <--any key-- Endpoint::accept
//!
//!   Peer::send    --uni stream: u32 length, bytes-->  Inbound::Message
//!   Peer::request --bi stream:  u32 length, bytes-->  Inbound::Request{reply}   Peer::next
//!                 <-------------u32 length, bytes---  Reply::send
//!
//!   QUIC datagrams --MeshSocket--+-- UDP (system, or simulated)
//!                                +-- Link: frames of 20..512 bytes (BLE, or simulated)
//! ```
//!
//! A message over its bound is refused alone, by name on both sides, and the connection goes on. Whoever does not read
//! makes the other side wait; every queue's bound is in [`Limits`].
//!
//! ```
//! use ohmesh_mesh::{Endpoint, Inbound};
//! use ohmesh_units::SigningKey;
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
//! # runtime.block_on(async {
//! let (phone, station) = (SigningKey::from_seed([1; 32]), SigningKey::from_seed([2; 32]));
//! let station_key = station.public();
//! let station = Endpoint::builder(station).bind("127.0.0.1:0".parse().unwrap()).start()?;
//! let phone = Endpoint::builder(phone).bind("127.0.0.1:0".parse().unwrap()).start()?;
//!
//! let (to_station, to_phone) = tokio::join!(phone.connect(station.address()?, station_key), station.accept());
//! let (to_station, to_phone) = (to_station?, to_phone.expect("the station is open")?);
//! assert_eq!(to_phone.key(), phone.key());
//!
//! let answering = async {
//!     if let Inbound::Request { bytes, reply } = to_phone.next().await? {
//!         reply.send(&[b"you said: ", &bytes[..]].concat()).await?;
//!     }
//!     Ok::<(), ohmesh_mesh::MeshError>(())
//! };
//! let (answer, answered) = tokio::join!(to_station.request(b"hello"), answering);
//! assert_eq!(answer?, b"you said: hello");
//! # answered?;
//! # Ok::<(), ohmesh_mesh::MeshError>(())
//! # }).unwrap();
//! ```

#![deny(missing_docs)]

mod clock;
pub mod discovery;
mod endpoint;
mod error;
pub mod frame;
pub mod gossip;
mod limits;
mod link;
mod message;
mod peer;
mod random;
pub mod sim;
mod socket;
mod timer;
mod tls;

pub use clock::{Clock, SystemClock};
pub use endpoint::{Builder, Endpoint};
pub use error::{Closed, MeshError, Refusal};
pub use limits::{
    IDLE_MAX, KEEP_ALIVE, LINK_RTT_INITIAL, Limits, RECEIVE_WINDOW_BYTES, SEND_WINDOW_BYTES,
    STREAM_WINDOW_BYTES,
};
pub use link::{FRAME_BYTES_MAX, FRAME_BYTES_MIN, Link, LinkStats, LinkUp, Sent};
pub use peer::{Inbound, Peer, Reply};
pub use quinn;
pub use socket::{LINK_PREFIX, LINKS_MAX};
pub use tls::{ALPN, SERVER_NAME};
