//! OCPP 1.6J and 2.0.1: the codec, one charger's session as the agent sees it, and the charger's own side for
//! simulations.
//!
//! What it is: pure state machines. Text, time and commands go in; text to send, events, deviations and one timer come
//! out. Inbound is tolerant: what real chargers get wrong is read as far as it makes sense and reported, and a message
//! that carries money is never refused. Outbound is strict: nothing leaves that the schema forbids.
//!
//! What it never does: I/O. It owns no socket, clock or random source. No float touches a meter reading: numbers are
//! kept as the decimal text they came in and become whole watt-hours by the house's one rounding rule. It decides
//! nothing about prices: it says what energy flowed, never more than the outlet's rating allows in the time.
//!
//! How data moves:
//!
//! ```text
//!              headers, path -- negotiate, ChargerName, check_basic --> upgrade or refuse
//!                                                                         |
//!   charger ==text==> frame::Frame --> v16 | v201 message + flaws --> session::Charger --> Event ---> agent, contract
//!           <==text==              <-- strict message            <--                  --> Deviation (keeps the frame)
//!                                                                     ^-- Command <------ agent
//!   client::ChargePoint speaks the other end of the same text: simulated chargers are genuine OCPP clients.
//! ```
//!
//! ```
//! use ohmesh_ocpp::session::{Action, Charger, Outlet, Settings};
//! use ohmesh_ocpp::{ChargerName, Version};
//! use ohmesh_units::{Power, Timestamp};
//!
//! let outlet = Outlet { evse: 1, rated: Power::from_w(22_000) };
//! let mut charger = Charger::new(ChargerName::new("CP1")?, &[outlet], Settings::default(), [7; 32])?;
//! let now = Timestamp::from_millis(1_795_300_496_789);
//! let (epoch, _) = charger.reconnect(now, Version::V16);
//! let actions = charger.on_text(now, epoch, r#"[2,"1","Heartbeat",{}]"#);
//! assert_eq!(actions[0], Action::Send(r#"[3,"1",{"currentTime":"2026-11-21T22:34:56.789Z"}]"#.into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

pub mod client;
pub mod frame;
pub mod json;
pub mod session;
mod upgrade;
pub mod v16;
pub mod v201;
pub mod wire;

pub use upgrade::{
    ChargerName, MAX_HEADER_BYTES, MAX_NAME_CHARS, MAX_PASSWORD_BYTES, Negotiated, UpgradeError, Version,
    check_basic, negotiate,
};
