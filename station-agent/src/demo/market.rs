//! Who sells where, and who needs what: real stations, real energies, and what the seed makes of them. No network here:
//! the same seed gives the same market and the same trades, however the agents behave.

use eyre::{Context, Result, bail, eyre};
use ohmesh_geo::{Catalogue, Connector, Filter, german_register};
use ohmesh_units::{AccountId, Domain, Energy, EvseId, Position, Power, Price, SigningKey, StationId};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::BTreeMap;

/// Everything that can be bought, and from whom.
pub(super) struct Market {
    /// Ordered by name.
    pub(super) operators: Vec<Operator>,
    /// In the order of the catalogue, which finds them by place.
    pub(super) stations: Vec<Station>,
    catalogue: Catalogue,
}

/// A firm that sells.
pub(super) struct Operator {
    /// As the register has it.
    pub(super) name: String,
    /// The key of its account.
    pub(super) key: SigningKey,
}

impl Operator {
    pub(super) fn account(&self) -> AccountId {
        AccountId::of(&self.key.public())
    }
}

/// One station of the register.
pub(super) struct Station {
    /// Its place in [`Market::operators`].
    pub(super) operator: usize,
    /// The operator's number for it.
    pub(super) number: u32,
    pub(super) id: StationId,
    /// Its address, cut to what the ledger takes.
    pub(super) name: String,
    pub(super) position: Position,
    pub(super) outlets: Vec<Outlet>,
}

/// One outlet whose connectors and power the register knows.
pub(super) struct Outlet {
    pub(super) number: u16,
    pub(super) id: EvseId,
    pub(super) connectors: ohmesh_geo::Connectors,
    pub(super) power: Power,
    /// Kept by the meter; here made from the seed.
    pub(super) meter: SigningKey,
    pub(super) price: Price,
}

/// One trade that is to happen: who, where, how much, at what price.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    /// Its place in [`Market::stations`].
    pub(super) station: usize,
    /// Its place in the station's outlets.
    pub(super) outlet: usize,
    /// What the meter will count: the energy of a real session.
    pub(super) energy: Energy,
    /// The operator's assumed list price.
    pub(super) price: Price,
    pub(super) distance_m: u32,
}

impl Plan {
    /// The most that may be sold: the energy in whole kWh, rounded up, as in auctions.
    pub(super) fn energy_max(&self) -> Energy {
        Energy::from_wh(self.energy.as_wh().div_ceil(1_000) * 1_000)
    }
}

impl Market {
    /// The market of a seed.
    pub(super) fn new(seed: u64) -> Result<Self> {
        let import = german_register(STATIONS).context("the station extract")?;
        let sites = Catalogue::new(import.stations)?;
        let names: BTreeMap<&str, usize> =
            sites.stations().iter().map(|site| (site.operator.as_str(), 0)).collect();
        let mut random = stream(seed, "operators");
        let operators: Vec<Operator> =
            names.keys().map(|name| Operator { name: (*name).to_owned(), key: key(&mut random) }).collect();
        let mut random = stream(seed, "meters");
        let mut numbers = vec![0u32; operators.len()];
        let mut stations = Vec::with_capacity(sites.stations().len());
        for site in sites.stations() {
            let operator = operators
                .binary_search_by(|operator| operator.name.as_str().cmp(&site.operator))
                .map_err(|_| eyre!("operator {:?} is not listed", site.operator))?;
            numbers[operator] += 1;
            let id = StationId::of(&operators[operator].account(), numbers[operator]);
            stations.push(Station {
                operator,
                number: numbers[operator],
                id,
                name: short(&site.name),
                position: site.position,
                outlets: outlets(id, operator, &site.outlets, &mut random),
            });
        }
        Ok(Self { operators, stations, catalogue: sites })
    }

    /// One trade for each driver.
    pub(super) fn plan(&self, seed: u64, drivers: usize) -> Result<Vec<Plan>> {
        let sessions = sessions()?;
        if drivers > sessions.len() {
            bail!("{drivers} drivers, but only {} real sessions", sessions.len());
        }
        let mut random = stream(seed, "needs");
        let mut unused = sessions;
        (0..drivers)
            .map(|_| {
                let energy = unused.swap_remove(below(&mut random, unused.len()));
                let connector = CARS[below(&mut random, CARS.len())];
                let between = |random: &mut ChaCha20Rng, [from, to]: [i32; 2]| {
                    from + i32::try_from(below(random, from.abs_diff(to) as usize)).unwrap_or(0)
                };
                let (lat, lon) = (between(&mut random, LAT_E7), between(&mut random, LON_E7));
                self.nearest(Position::from_e7(lat, lon)?, connector, energy)
            })
            .collect()
    }

    /// The nearest outlet that fits; where several of a station do, the strongest, then the first.
    fn nearest(&self, from: Position, connector: Connector, energy: Energy) -> Result<Plan> {
        let filter = Filter { connectors: connector.into(), power_min: Power::from_w(1), ..Filter::ANY };
        let found = self.catalogue.nearest(1, from, &filter);
        let found = found.first().ok_or_else(|| eyre!("no station has a {} outlet", connector.name()))?;
        let station = usize::try_from(found.slot)?;
        let outlets = self.stations[station].outlets.iter().enumerate();
        let (outlet, offer) = outlets
            .filter(|(_, outlet)| outlet.connectors.contains(connector))
            .max_by_key(|(at, outlet)| (outlet.power, usize::MAX - at))
            .ok_or_else(|| eyre!("station {} has no such outlet", self.stations[station].name))?;
        // Within one city: metres fit.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let distance_m = found.distance_m.round() as u32;
        Ok(Plan { station, outlet, energy, price: offer.price, distance_m })
    }

    pub(super) fn outlet(&self, plan: &Plan) -> &Outlet {
        &self.stations[plan.station].outlets[plan.outlet]
    }

    pub(super) fn seller(&self, plan: &Plan) -> usize {
        self.stations[plan.station].operator
    }

    pub(super) fn outlets(&self) -> usize {
        self.stations.iter().map(|station| station.outlets.len()).sum()
    }
}

/// The assumed price a kWh at an outlet of this power: the class's, and a cent more for each next operator.
pub(super) fn list_price(operator: usize, power: Power) -> Price {
    let class = LIST_PRICES.iter().find(|(power_w_max, _)| power.as_w() <= *power_w_max);
    let base = class.map_or(LIST_PRICE_FASTEST, |(_, price)| *price);
    let cents = i64::try_from(operator).unwrap_or(0);
    Price::from_micro_per_kwh(base + 10_000 * cents)
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

fn outlets(
    station: StationId,
    operator: usize,
    outlets: &[ohmesh_geo::Outlet],
    random: &mut ChaCha20Rng,
) -> Vec<Outlet> {
    let known = outlets.iter().filter_map(|outlet| Some((outlet.connectors, outlet.power?)));
    (1u16..)
        .zip(known.filter(|(connectors, _)| !connectors.is_empty()))
        .map(|(number, (connectors, power))| Outlet {
            number,
            id: EvseId::of(&station, number),
            connectors,
            power,
            meter: key(random),
            price: list_price(operator, power),
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
/// What drivers' cars take; of three, one charges with direct current.
const CARS: [Connector; 6] = [
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Type2,
    Connector::Ccs,
    Connector::Chademo,
];
/// Assumed: up to this many watts, so many micro-EUR a kWh.
const LIST_PRICES: [(u32, i64); 2] = [(22_000, 390_000), (49_999, 490_000)];
/// Assumed: above that.
const LIST_PRICE_FASTEST: i64 = 590_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extracts_are_whole() {
        let market = Market::new(1).unwrap();
        assert_eq!(german_register(STATIONS).unwrap().rejected, []);
        assert_eq!(market.operators.len(), 4);
        assert!(market.outlets() >= 70 && market.stations.iter().all(|s| !s.outlets.is_empty()));
        let sessions = sessions().unwrap();
        assert_eq!(sessions.len(), 200);
        assert!(sessions.iter().all(|energy| (1_000..=60_000).contains(&energy.as_wh())));
    }

    #[test]
    fn the_seed_alone_decides_the_trades() {
        let plan = |seed, drivers| Market::new(seed).unwrap().plan(seed, drivers).unwrap();
        let ids = |seed| -> Vec<EvseId> {
            Market::new(seed).unwrap().stations.iter().flat_map(|s| &s.outlets).map(|o| o.id).collect()
        };
        assert_eq!(plan(7, 30), plan(7, 30));
        assert_eq!(plan(7, 30)[..10], plan(7, 10), "more drivers change nothing for the first");
        assert_ne!(plan(7, 30), plan(8, 30));
        assert_eq!(ids(7), ids(7));
        assert_ne!(ids(7), ids(8));
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
