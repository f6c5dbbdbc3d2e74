//! Who sells where, and who needs what: real stations, real energies, and what the seed makes of them. No network here:
//! the same seed gives the same stations, the same sellers' costs and the same needs; who wins depends on who is free.

use eyre::{Context, Result, bail, eyre};
use ohmesh_auction::{seal::SealSecret, strategy::CostPlus};
use ohmesh_geo::{Catalogue, Connector, choose_area, frame, german_register};
use ohmesh_ledger::ZoneArea;
use ohmesh_node::Need;
use ohmesh_ocpp::{ChargerName, Version};
use ohmesh_units::{AccountId, Domain, Energy, EvseId, Position, Power, Price, SigningKey, StationId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// Everything that can be bought, and from whom.
pub(super) struct Market {
    /// Ordered by name.
    pub(super) operators: Vec<String>,
    /// The keys of the agents. Each is the account of the operators whose stations it sells for.
    pub(super) agents: Vec<SigningKey>,
    /// In the order of the catalogue, which finds them by place.
    pub(super) stations: Vec<Station>,
    pub(super) catalogue: Catalogue,
}

/// One station of the register: one charger.
pub(super) struct Station {
    /// Its place in [`Market::operators`].
    pub(super) operator: usize,
    /// Its place in [`Market::agents`].
    pub(super) agent: usize,
    /// The owner's number for it.
    pub(super) number: u32,
    pub(super) id: StationId,
    /// Its address, cut to what the ledger takes.
    pub(super) name: String,
    pub(super) position: Position,
    pub(super) outlets: Vec<Outlet>,
    pub(super) charger: ChargerName,
    /// What its charger speaks.
    pub(super) version: Version,
    seal: [u8; 32],
    /// What it asks for: assumed.
    pub(super) strategy: CostPlus,
}

impl Station {
    /// Opens its awards.
    pub(super) fn seal(&self) -> SealSecret {
        SealSecret::from_seed(&self.seal)
    }
}

/// One outlet whose connectors and power the register knows.
pub(super) struct Outlet {
    pub(super) number: u16,
    pub(super) id: EvseId,
    pub(super) connectors: ohmesh_geo::Connectors,
    pub(super) power: Power,
    /// Kept by the meter; here made from the seed.
    pub(super) meter: SigningKey,
}

impl Market {
    /// The market of a seed, sold by so many agents.
    pub(super) fn new(seed: u64, agents: usize) -> Result<Self> {
        let import = german_register(STATIONS).context("the station extract")?;
        let sites = Catalogue::new(import.stations)?;
        let names: BTreeMap<&str, usize> =
            sites.stations().iter().map(|site| (site.operator.as_str(), 0)).collect();
        let operators: Vec<String> = names.keys().map(|name| (*name).to_owned()).collect();
        let mut random = stream(seed, "agents");
        let agents: Vec<SigningKey> = (0..agents).map(|_| key(&mut random)).collect();
        let mut meters = stream(seed, "meters");
        let mut seals = stream(seed, "seals");
        let mut costs = stream(seed, "costs");
        let mut numbers = vec![0u32; agents.len()];
        let mut stations = Vec::with_capacity(sites.stations().len());
        for (at, site) in sites.stations().iter().enumerate() {
            let operator = operators
                .binary_search(&site.operator)
                .map_err(|_| eyre!("operator {:?} is not listed", site.operator))?;
            let agent = operator % agents.len();
            numbers[agent] += 1;
            let id = StationId::of(&AccountId::of(&agents[agent].public()), numbers[agent]);
            let outlets = outlets(id, &site.outlets, &mut meters);
            let power = outlets.iter().map(|outlet| outlet.power).max().unwrap_or(Power::from_w(0));
            stations.push(Station {
                operator,
                agent,
                number: numbers[agent],
                id,
                name: short(&site.name),
                position: site.position,
                strategy: strategy(power, &mut costs),
                outlets,
                charger: ChargerName::new(&format!("CP{:03}", at + 1)).map_err(|error| eyre!("{error}"))?,
                version: if at % 2 == 0 { Version::V16 } else { Version::V201 },
                seal: *key(&mut seals).seed(),
            });
        }
        Ok(Self { operators, agents, stations, catalogue: sites })
    }

    /// One need for each driver.
    pub(super) fn needs(&self, seed: u64, drivers: usize) -> Result<Vec<Need>> {
        let mut unused = sessions()?;
        if drivers > unused.len() {
            bail!("{drivers} drivers, but only {} real sessions", unused.len());
        }
        let mut random = stream(seed, "needs");
        (0..drivers)
            .map(|_| {
                let energy = unused.swap_remove(below(&mut random, unused.len())).min(ENERGY_MAX);
                let connector = CARS[below(&mut random, CARS.len())];
                let between = |random: &mut ChaCha20Rng, [from, to]: [i32; 2]| {
                    from + i32::try_from(below(random, from.abs_diff(to) as usize)).unwrap_or(0)
                };
                let (lat, lon) = (between(&mut random, LAT_E7), between(&mut random, LON_E7));
                Ok(Need {
                    position: Position::from_e7(lat, lon)?,
                    energy,
                    connectors: connector.into(),
                    // Whoever needs little has time.
                    power_min: if energy <= ENERGY_SLOW { POWER_SLOW } else { POWER_FAST },
                    price_cap: PRICE_CAP,
                    reserve: None,
                })
            })
            .collect()
    }

    /// The areas in which auctions are held: those that hide a driver or a station here.
    pub(super) fn areas(&self, needs: &[Need]) -> Result<Vec<ZoneArea>> {
        let drivers = needs.iter().map(|need| need.position);
        let positions = drivers.chain(self.stations.iter().map(|station| station.position));
        let mut areas = BTreeMap::new();
        for position in positions {
            let area = choose_area(position, &self.catalogue)?;
            areas.insert(area, ZoneArea { area, frame: frame(area)? });
        }
        Ok(areas.into_values().collect())
    }

    /// The place of a station's outlet here: station, outlet.
    pub(super) fn find(&self, evse: &EvseId) -> Option<(usize, usize)> {
        let mut stations = self.stations.iter().enumerate();
        stations.find_map(|(at, station)| {
            Some((at, station.outlets.iter().position(|outlet| outlet.id == *evse)?))
        })
    }

    pub(super) fn outlets(&self) -> usize {
        self.stations.iter().map(|station| station.outlets.len()).sum()
    }
}

/// The assumed list price of a kWh at an outlet of this power; here all of up to 43 kW are AC and all others DC.
pub(super) fn list_price(power: Power) -> Price {
    if power > POWER_AC_MAX { LIST_PRICE_DC } else { LIST_PRICE_AC }
}

/// What a station of this power asks for: energy that is cheap at noon, a margin that grows with its power, and more when
/// it is busy. Between stations the seed decides. All of it is assumed.
fn strategy(power: Power, random: &mut ChaCha20Rng) -> CostPlus {
    let cents = |cents: usize| Price::from_micro_per_kwh(10_000 * i64::try_from(cents).unwrap_or(0));
    let base = 24 + below(random, 5);
    let cost = std::array::from_fn(|hour| cents(if (9..16).contains(&hour) { base - 4 } else { base }));
    let class = if power > POWER_AC_MAX { 12 } else { 6 };
    CostPlus { cost, margin: cents(class + below(random, 7)), full_load: cents(8) }
}

/// A stream of random bytes of the seed, for one use.
pub(super) fn stream(seed: u64, what: &str) -> ChaCha20Rng {
    const DEMO: Domain = Domain::new("ohmesh/1 demo seed");
    ChaCha20Rng::from_seed(DEMO.hash(&[&seed.to_be_bytes(), what.as_bytes()]).0)
}

/// The next key of a stream.
pub(super) fn key(random: &mut ChaCha20Rng) -> SigningKey {
    let mut seed = [0; 32];
    random.fill_bytes(&mut seed);
    SigningKey::from_seed(seed)
}

fn outlets(station: StationId, outlets: &[ohmesh_geo::Outlet], random: &mut ChaCha20Rng) -> Vec<Outlet> {
    let known = outlets.iter().filter_map(|outlet| Some((outlet.connectors, outlet.power?)));
    (1u16..)
        .zip(known.filter(|(connectors, _)| !connectors.is_empty()))
        .map(|(number, (connectors, power))| Outlet {
            number,
            id: EvseId::of(&station, number),
            connectors,
            power,
            meter: key(random),
        })
        .collect()
}

/// A number below `end`; the bias of the remainder is below 2^-50.
fn below(random: &mut ChaCha20Rng, end: usize) -> usize {
    usize::try_from(random.next_u64() % end as u64).expect("below a usize")
}

/// At most 64 bytes of a name, cut between characters.
fn short(name: &str) -> String {
    let end = (0..=name.len().min(64)).rev().find(|at| name.is_char_boundary(*at));
    name[..end.unwrap_or(0)].to_owned()
}

/// The energies of the session extract, in its order.
fn sessions() -> Result<Vec<Energy>> {
    let mut lines = SESSIONS.lines();
    if lines.next() != Some("Start_Date___Time,Energy__kWh_") {
        bail!("the session extract has another header");
    }
    lines.map(|line| energy(line).ok_or_else(|| eyre!("session {line:?}"))).collect()
}

/// The second field as energy: kWh with at most three decimals, read as digits.
fn energy(line: &str) -> Option<Energy> {
    let (_, kwh) = line.split_once(',')?;
    let (whole, decimals) = kwh.split_once('.').unwrap_or((kwh, ""));
    let is_number = !whole.is_empty() && decimals.len() <= 3;
    let wh = format!("{whole}{decimals:0<3}");
    (is_number && wh.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| wh.parse().ok().map(Energy::from_wh))?
}

/// Forty devices of the German register in Berlin and Potsdam: see `data/README.md`.
const STATIONS: &[u8] = include_bytes!("../../data/berlin_stations.csv");
/// Two hundred real sessions: see `data/README.md`.
const SESSIONS: &str = include_str!("../../data/sessions.csv");
/// Where drivers are when they need energy: Potsdam in the south-west, Berlin's east in the north-east.
const LAT_E7: [i32; 2] = [523_800_000, 525_600_000];
const LON_E7: [i32; 2] = [130_200_000, 135_500_000];
/// What drivers' cars take; of ten, two charge with direct current.
const CARS: [Connector; 10] = [
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Ccs,
    Connector::Chademo,
];
/// A session that counted more is cut here: charging is most of the demo's time.
pub(super) const ENERGY_MAX: Energy = Energy::from_wh(8_000);
/// Up to this much a driver takes any outlet of [`POWER_SLOW`], beyond it one of [`POWER_FAST`].
const ENERGY_SLOW: Energy = Energy::from_wh(4_000);
const POWER_SLOW: Power = Power::from_w(11_000);
const POWER_FAST: Power = Power::from_w(22_000);
/// Assumed: nobody pays more.
const PRICE_CAP: Price = Price::from_micro_per_kwh(690_000);
/// The most that an outlet of the extract gives with alternating current.
pub(super) const POWER_AC_MAX: Power = Power::from_w(43_000);
/// A public tariff without a monthly fee, assumed to hold at every outlet: see `data/README.md`.
const LIST_PRICE_AC: Price = Price::from_micro_per_kwh(390_000);
const LIST_PRICE_DC: Price = Price::from_micro_per_kwh(490_000);
/// What a person is told of where these two come from.
pub(super) const LIST_PRICE_SOURCE: &str = "EnBW mobility+ Standard in 2020, as heise.de reported";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extracts_are_whole() {
        let market = Market::new(1, 4).unwrap();
        assert_eq!(german_register(STATIONS).unwrap().rejected, []);
        assert_eq!(market.operators.len(), 4);
        assert!(market.outlets() >= 70 && market.stations.iter().all(|s| !s.outlets.is_empty()));
        let sessions = sessions().unwrap();
        assert_eq!(sessions.len(), 200);
        assert!(sessions.iter().all(|energy| (1_000..=60_000).contains(&energy.as_wh())));
    }

    #[test]
    fn the_seed_alone_decides_what_is_needed() {
        let needs = |seed, drivers, agents| Market::new(seed, agents).unwrap().needs(seed, drivers).unwrap();
        let ids = |seed| -> Vec<EvseId> {
            let market = Market::new(seed, 4).unwrap();
            market.stations.iter().flat_map(|station| &station.outlets).map(|outlet| outlet.id).collect()
        };
        assert_eq!(needs(7, 30, 4), needs(7, 30, 1));
        assert_eq!(needs(7, 30, 4)[..10], needs(7, 10, 4), "more drivers change nothing for the first");
        assert_ne!(needs(7, 30, 4), needs(8, 30, 4));
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
    }

    #[test]
    fn every_need_has_an_area_and_several_stations() {
        let market = Market::new(5, 4).unwrap();
        let needs = market.needs(5, 200).unwrap();
        let areas = market.areas(&needs).unwrap();
        assert!(!areas.is_empty() && areas.is_sorted_by(|one, next| one.area < next.area));
        for need in needs {
            let wanted = |outlet: &Outlet| {
                u16::from(outlet.connectors) & u16::from(need.connectors) != 0
                    && outlet.power >= need.power_min
            };
            assert!(market.stations.iter().filter(|s| s.outlets.iter().any(wanted)).count() >= 4, "{need:?}");
        }
    }

    #[test]
    fn energies_are_read_as_digits() {
        assert_eq!(energy("2018,6.706"), Some(Energy::from_wh(6_706)));
        assert_eq!(energy("2018,14"), Some(Energy::from_wh(14_000)));
        assert_eq!(energy("2018,0.5"), Some(Energy::from_wh(500)));
        for bad in ["2018", "2018,", "2018,.5", "2018,1.2345", "2018,-1", "2018,1e3", "2018,1.2.3"] {
            assert_eq!(energy(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_cut_between_characters() {
        let long = "ü".repeat(40);
        assert_eq!(short(&long), "ü".repeat(32));
        assert_eq!(short(&format!("x{long}")).len(), 63);
    }
}
