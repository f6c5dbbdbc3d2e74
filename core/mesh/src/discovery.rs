//! Who is on this network: multicast DNS service discovery (RFC 6762, RFC 6763), service `_ohmesh._udp.local.`.
//!
//! A station advertises its port, its key and its zone; anybody may browse without showing anything. What is found is
//! a hint: [`Endpoint::connect`](crate::Endpoint::connect) with the key decides. Phones only browse: their keys
//! rotate and are told to nobody on the network. The library keeps its own thread, clock and random delays, so
//! discovery has no place in a simulation.

use mdns_sd::{Receiver, ResolvedService, ScopedIp, ServiceDaemon, ServiceEvent, ServiceInfo, TxtProperties};
use ohmesh_units::{PublicKey, ZoneId};
use std::{
    collections::VecDeque,
    fmt,
    net::{SocketAddr, SocketAddrV6},
};

/// The service that is advertised and browsed.
pub const SERVICE: &str = "_ohmesh._udp.local.";
/// Addresses of one station that are taken: 8; more are ignored.
pub const ADDRESSES_MAX: usize = 8;

/// Why discovery failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiscoveryError {
    /// No multicast socket, or the responder refused.
    #[error("multicast DNS: {0}")]
    Multicast(String),
    /// A record lacks a field.
    #[error("TXT record without {0}")]
    Missing(&'static str),
    /// A record's field is malformed.
    #[error("TXT record with malformed {0}")]
    Malformed(&'static str),
    /// A record of another version of this format.
    #[error("TXT record of unknown version {0:?}")]
    Version(String),
}

/// What a station says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Its static key.
    pub key: PublicKey,
    /// The zone whose ledger it keeps.
    pub zone: ZoneId,
}

impl Advert {
    /// The TXT record's fields (RFC 6763, 6): `v`, `key` and `zone`, the latter two as 64 hexadecimal digits.
    pub fn to_txt(&self) -> [(&'static str, String); 3] {
        [("v", VERSION.into()), ("key", self.key.to_string()), ("zone", self.zone.to_string())]
    }

    /// The advert in a TXT record; `field` looks one up. Unknown fields are left alone.
    pub fn from_txt<'a>(field: impl Fn(&str) -> Option<&'a str>) -> Result<Self, DiscoveryError> {
        let field = |name: &'static str| field(name).ok_or(DiscoveryError::Missing(name));
        let version = field("v")?;
        if version != VERSION {
            return Err(DiscoveryError::Version(version.chars().take(8).collect()));
        }
        Ok(Self {
            key: field("key")?.parse().map_err(|_| DiscoveryError::Malformed("key"))?,
            zone: field("zone")?.parse().map_err(|_| DiscoveryError::Malformed("zone"))?,
        })
    }
}

/// A station that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where it says it is.
    pub address: SocketAddr,
    /// The key it says it has.
    pub key: PublicKey,
    /// The zone it says it belongs to.
    pub zone: ZoneId,
}

/// Discovery on every network interface. Dropped, it takes its advert back and stops.
pub struct Discovery {
    responder: ServiceDaemon,
    events: Receiver<ServiceEvent>,
    found: VecDeque<Found>,
}

impl Discovery {
    /// Starts to browse; shows nothing.
    pub fn browse() -> Result<Self, DiscoveryError> {
        let responder = ServiceDaemon::new().map_err(multicast)?;
        let events = responder.browse(SERVICE).map_err(multicast)?;
        Ok(Self { responder, events, found: VecDeque::new() })
    }

    /// Advertises a station that listens on `port`, on every interface and as they come and go.
    pub fn advertise(&self, advert: &Advert, port: u16) -> Result<(), DiscoveryError> {
        let name = ohmesh_units::to_hex(&advert.key.to_bytes()[..8]);
        let host = format!("{name}.local.");
        let service = ServiceInfo::new(SERVICE, &name, &host, "", port, &advert.to_txt()[..]);
        let service = service.map_err(multicast)?.enable_addr_auto();
        self.responder.register(service).map_err(multicast)
    }

    /// The next station found; one that is found again, or has several addresses, comes again. Malformed adverts are
    /// skipped. `None` when discovery has stopped. Cancel-safe.
    pub async fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.found.pop_front() {
                return Some(found);
            }
            if let ServiceEvent::ServiceResolved(service) = self.events.recv_async().await.ok()? {
                self.found = found_in(&service);
            }
        }
    }
}

impl fmt::Debug for Discovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Discovery").field("waiting", &self.found.len()).finish_non_exhaustive()
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        // It fails only when the responder's thread has ended already.
        let _ = self.responder.shutdown();
    }
}

fn found_in(service: &ResolvedService) -> VecDeque<Found> {
    let txt: &TxtProperties = service.get_properties();
    let Ok(Advert { key, zone }) = Advert::from_txt(|name| txt.get_property_val_str(name)) else {
        return VecDeque::new();
    };
    let port = service.get_port();
    let mut addresses: Vec<SocketAddr> =
        service.get_addresses().iter().filter_map(|ip| socket_address(ip, port)).collect();
    addresses.sort();
    addresses.truncate(ADDRESSES_MAX);
    addresses.into_iter().map(|address| Found { address, key, zone }).collect()
}

/// A link-local address means something only with its interface.
fn socket_address(ip: &ScopedIp, port: u16) -> Option<SocketAddr> {
    match ip {
        ScopedIp::V4(v4) => Some(SocketAddr::new((*v4.addr()).into(), port)),
        ScopedIp::V6(v6) => {
            let scope = if v6.addr().is_unicast_link_local() { v6.scope_id().index } else { 0 };
            Some(SocketAddrV6::new(*v6.addr(), port, 0, scope).into())
        }
        // The library may learn other kinds; they are none of ours.
        _ => None,
    }
}

fn multicast(error: mdns_sd::Error) -> DiscoveryError {
    DiscoveryError::Multicast(error.to_string())
}

/// The version of the TXT record.
const VERSION: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_units::SigningKey;
    use std::collections::BTreeMap;

    fn advert(n: u8) -> Advert {
        Advert { key: SigningKey::from_seed([n; 32]).public(), zone: ohmesh_units::Hash([9; 32]).into() }
    }

    fn parse(fields: &BTreeMap<&str, String>) -> Result<Advert, DiscoveryError> {
        Advert::from_txt(|name| fields.get(name).map(String::as_str))
    }

    #[test]
    fn a_txt_record_is_read_as_it_was_written() {
        let fields = BTreeMap::from(advert(1).to_txt());
        assert_eq!(parse(&fields), Ok(advert(1)));
        // RFC 6763, 6.1: each string with its name and `=` has at most 255 bytes.
        assert!(fields.iter().all(|(name, value)| name.len() + 1 + value.len() <= 255));
        let mut more = fields.clone();
        more.insert("later", "?".into());
        assert_eq!(parse(&more), Ok(advert(1)));
    }

    #[test]
    fn a_bad_txt_record_is_named() {
        for name in ["v", "key", "zone"] {
            let mut fields = BTreeMap::from(advert(1).to_txt());
            fields.remove(name);
            assert_eq!(parse(&fields), Err(DiscoveryError::Missing(name)));
        }
        for name in ["key", "zone"] {
            for bad in ["", "abcd", &"g".repeat(64), &"0".repeat(65)] {
                let mut fields = BTreeMap::from(advert(1).to_txt());
                fields.insert(name, bad.into());
                assert_eq!(parse(&fields), Err(DiscoveryError::Malformed(name)));
            }
        }
        let mut fields = BTreeMap::from(advert(1).to_txt());
        fields.insert("v", "2 and a long tail".into());
        assert_eq!(parse(&fields), Err(DiscoveryError::Version("2 and a ".into())));
    }

    #[test]
    fn a_resolved_service_becomes_bounded_sorted_addresses() {
        let ips: Vec<String> = (1..=12).map(|n| format!("10.0.0.{n}")).collect();
        let service = |txt: &[(&str, String)]| {
            let info = ServiceInfo::new(SERVICE, "x", "x.local.", &ips.join(",")[..], 4433, txt).unwrap();
            info.as_resolved_service()
        };
        let found = found_in(&service(&advert(1).to_txt()));
        assert_eq!(found.len(), ADDRESSES_MAX);
        assert_eq!(found[0].address, "10.0.0.1:4433".parse().unwrap());
        assert!(found.iter().all(|found| (found.key, found.zone) == (advert(1).key, advert(1).zone)));
        assert!(found_in(&service(&[("v", "1".into())])).is_empty());
    }
}
