//! The stations that an operator sells at: `[[station]]` tables, and what they are on the ledger and to the seller.
//!
//! Keys of meters and for awards follow from the agent's key and the station's and outlet's numbers, so that there is one
//! secret to keep.

use crate::{
    command::position,
    seller::{SellerEvse, SellerStation},
};
use eyre::{Context, Result, bail, ensure, eyre};
use ohmesh_auction::{seal::SealSecret, strategy::CostPlus};
use ohmesh_geo::{Connector, Connectors};
use ohmesh_ledger::Body;
use ohmesh_ocpp::ChargerName;
use ohmesh_units::{AccountId, Domain, EvseId, Hash, Power, Price, SigningKey, StationId, ZoneId};
use serde::{Deserialize, Serialize};

/// One station: a `[[station]]` table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationConfig {
    /// The operator's own number for it.
    pub number: u32,
    /// What people call it, 1 to 64 bytes.
    pub name: String,
    /// Where it stands, as `"LAT,LON"` in degrees.
    pub position: String,
    /// What a kWh costs the operator in each hour of the day, UTC, midnight first, in micro-units: 24 numbers, or one for
    /// all hours.
    pub cost_micro: Vec<i64>,
    /// What is added to it.
    pub margin_micro: i64,
    /// What is added when every outlet is busy; in proportion below.
    #[serde(default)]
    pub full_load_micro: i64,
    /// Its outlets.
    pub evse: Vec<EvseConfig>,
}

/// One outlet of a station: a `[[station.evse]]` table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvseConfig {
    /// Its number at the station.
    pub number: u16,
    /// The charger that it is part of, by the name of its `[[charger]]` table.
    pub charger: String,
    /// Its number at the charger.
    pub charger_evse: u16,
    /// Its plugs: Type1, Type2, Ccs, Chademo, Schuko, Cee3, Cee5, TeslaS, Nacs.
    pub connectors: Vec<String>,
    /// Rated power, in watts.
    pub power_w: u32,
}

impl StationConfig {
    /// The station as the seller knows it.
    pub fn seller(&self, key: &SigningKey) -> Result<SellerStation> {
        let cost: Vec<Price> =
            self.cost_micro.iter().map(|micro| Price::from_micro_per_kwh(*micro)).collect();
        let cost = match cost[..] {
            [one] => [one; 24],
            _ => <[Price; 24]>::try_from(cost)
                .map_err(|cost| eyre!("cost_micro has {} numbers, 1 or 24 are allowed", cost.len()))?,
        };
        let (margin, full_load) =
            (Price::from_micro_per_kwh(self.margin_micro), Price::from_micro_per_kwh(self.full_load_micro));
        let id = self.id(key);
        let evse = |evse: &EvseConfig| {
            Ok(SellerEvse {
                id: EvseId::of(&id, evse.number),
                number: evse.number,
                charger: ChargerName::new(&evse.charger)
                    .map_err(|_| eyre!("charger {:?} is no charger's name", evse.charger))?,
                charger_evse: evse.charger_evse,
                power: Power::from_w(evse.power_w),
                connectors: evse.connectors()?.bits(),
                meter: self.meter(key, evse.number),
            })
        };
        Ok(SellerStation {
            seal: self.seal(key),
            strategy: CostPlus { cost, margin, full_load },
            evses: self.evse.iter().map(evse).collect::<Result<_>>()?,
            id,
        })
    }

    /// The transactions that put the station and its outlets, as they are here, into the registry of `zone`; each meter has
    /// signed that it serves there.
    pub fn registrations(&self, zone: &ZoneId, key: &SigningKey) -> Result<Vec<Body>> {
        self.check()?;
        let award_key = Hash(self.seal(key).public().to_bytes());
        let (number, name, position) = (self.number, self.name.clone(), position(&self.position)?);
        let mut bodies = vec![Body::RegisterStation { number, name, position, award_key }];
        let owner = AccountId::of(&key.public());
        for evse in &self.evse {
            let (outlet, meter) = ((self.id(key), evse.number), self.meter(key, evse.number));
            let plugs = (evse.connectors()?.bits(), Power::from_w(evse.power_w));
            bodies.push(Body::register_evse(zone, &owner, outlet, plugs, &meter));
        }
        Ok(bodies)
    }

    /// Whether the registry would take it.
    fn check(&self) -> Result<()> {
        ensure!(
            (1..=64).contains(&self.name.len()),
            "name has {} bytes, 1 to 64 are allowed",
            self.name.len()
        );
        ensure!(!self.evse.is_empty(), "there is no [[station.evse]]");
        position(&self.position)?;
        for evse in &self.evse {
            if evse.power_w == 0 {
                bail!("evse {}: power_w is 0", evse.number);
            }
            evse.connectors()?;
        }
        Ok(())
    }

    fn id(&self, key: &SigningKey) -> StationId {
        StationId::of(&AccountId::of(&key.public()), self.number)
    }

    fn seal(&self, key: &SigningKey) -> SealSecret {
        const SEAL: Domain = Domain::new("ohmesh/1 station seal seed");
        SealSecret::from_seed(&SEAL.hash(&[&*key.seed(), &self.number.to_be_bytes()]).0)
    }

    fn meter(&self, key: &SigningKey, evse: u16) -> SigningKey {
        const METER: Domain = Domain::new("ohmesh/1 evse meter seed");
        let numbers = [&self.number.to_be_bytes()[..], &evse.to_be_bytes()].concat();
        SigningKey::from_seed(METER.hash(&[&*key.seed(), &numbers]).0)
    }
}

impl EvseConfig {
    fn connectors(&self) -> Result<Connectors> {
        let named = |name: &String| {
            let found = Connector::ALL.into_iter().find(|connector| format!("{connector:?}") == *name);
            found.ok_or_else(|| {
                eyre!(
                    "{name:?} is no connector: Type1, Type2, Ccs, Chademo, Schuko, Cee3, Cee5, TeslaS, Nacs"
                )
            })
        };
        let connectors: Connectors = self.connectors.iter().map(named).collect::<Result<_>>()?;
        ensure!(!connectors.is_empty(), "there is no connector");
        Ok(connectors)
    }
}

/// Every station as the seller knows it; `chargers` are the names that are registered.
pub fn sellers(
    stations: &[StationConfig],
    chargers: &[String],
    key: &SigningKey,
) -> Result<Vec<SellerStation>> {
    let one = |station: &StationConfig| {
        let unknown = station.evse.iter().find(|evse| !chargers.contains(&evse.charger));
        if let Some(evse) = unknown {
            bail!("evse {}: there is no [[charger]] named {:?}", evse.number, evse.charger);
        }
        station.check()?;
        station.seller(key)
    };
    stations
        .iter()
        .map(|station| one(station).with_context(|| format!("station {}", station.number)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "number = 1\nname = \"Alex\"\nposition = \"52.52,13.405\"\ncost_micro = [200000]\nmargin_micro = 90000\n\
        [[evse]]\nnumber = 1\ncharger = \"CP1\"\ncharger_evse = 1\nconnectors = [\"Type2\", \"Ccs\"]\npower_w = 50000\n";

    fn check(text: &str) -> Result<SellerStation> {
        let station: StationConfig = toml::from_str(text)?;
        let key = SigningKey::from_seed([3; 32]);
        Ok(sellers(&[station], &["CP1".into()], &key)?.remove(0))
    }

    #[test]
    fn a_station_is_the_same_to_the_ledger_and_to_the_seller() {
        let key = SigningKey::from_seed([3; 32]);
        let station: StationConfig = toml::from_str(GOOD).unwrap();
        let seller = check(GOOD).unwrap();
        let bodies = station.registrations(&ZoneId([1; 32]), &key).unwrap();
        let Body::RegisterStation { award_key, .. } = &bodies[0] else { panic!("{bodies:?}") };
        assert_eq!(*award_key, Hash(seller.seal.public().to_bytes()));
        let Body::RegisterEvse { station, connectors, power, meter, .. } = &bodies[1] else {
            panic!("{bodies:?}")
        };
        let evse = &seller.evses[0];
        assert_eq!((*station, *connectors, *power), (seller.id, evse.connectors, evse.power));
        assert_eq!(*meter, evse.meter.public());
    }

    #[test]
    fn bad_stations_name_what_is_wrong() {
        for (from, to, named) in [
            ("CP1", "CP2", "CP2"),
            ("Type2", "Type9", "Type9"),
            ("[200000]", "[1, 2]", "cost_micro"),
            ("52.52,13.405", "52.52", "52.52"),
            ("50000", "0", "power_w"),
            ("Alex", "", "name"),
            ("margin_micro", "margin", "margin"),
            ("[\"Type2\", \"Ccs\"]", "[]", "connector"),
        ] {
            let error = check(&GOOD.replace(from, to)).err().map(|error| format!("{error:#}"));
            assert!(error.as_ref().is_some_and(|error| error.contains(named)), "{to}: {error:?}");
        }
    }
}
