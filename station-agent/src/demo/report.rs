//! What came out: a table for people, one line of JSON for programs, and a verdict for each check.

use super::{
    DemoArgs,
    clock::FACTOR,
    market::{ENERGY_MAX, LIST_PRICE_SOURCE, list_price},
    trade::Sold,
    verify::Replay,
    world::{GRID_FEE, World},
};
use eyre::{Result, bail, ensure};
use ohmesh_units::{BlockId, Energy, Money, Power, Price};
use serde::Serialize;
use std::fmt::Write as _;

/// What the stages gave, before it is counted.
pub(super) struct Outcome {
    pub(super) args: DemoArgs,
    /// By driver.
    pub(super) trades: Vec<Result<Sold>>,
    /// One for each sale.
    pub(super) winners: Vec<Verdict>,
    pub(super) block_log_bytes: u64,
    pub(super) executed: Verdict,
    pub(super) money: Verdict,
    /// By driver.
    pub(super) replicas: Vec<Verdict>,
    pub(super) roots: Verdict,
}

/// Whether a check holds; if not, why not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Verdict(Option<String>);

impl Verdict {
    /// The verdict of a check.
    pub(super) fn of(check: Result<()>) -> Self {
        Self(check.err().map(|error| format!("{error:#}")))
    }

    fn holds(&self) -> bool {
        self.0.is_none()
    }
}

/// Everything that is shown. Its fields are the fields of the JSON.
#[derive(Serialize, Default)]
pub(super) struct Report {
    seed: u64,
    validators: u8,
    drivers: u16,
    stations: usize,
    outlets: usize,
    intents: usize,
    bids: u64,
    auctions_settled: usize,
    energy_wh: u64,
    paid_micro: i64,
    price_paid_micro_per_kwh_mean: i64,
    price_list_micro_per_kwh_mean: i64,
    price_list_is_assumed: bool,
    grid_fee_micro_per_kwh: i64,
    clock_factor: u64,
    ms_intent_to_contract_p50: u64,
    ms_intent_to_contract_p99: u64,
    blocks: u64,
    transactions: u64,
    block_log_bytes: u64,
    replica_bytes_mean: u64,
    blocks_verified: bool,
    money_conserved: bool,
    winners_verified: usize,
    replicas_verified: usize,
    roots_equal: bool,
    /// Why each failed check failed.
    failures: Vec<String>,
    trades: Vec<TradeLine>,
    #[serde(skip)]
    operators: Vec<OperatorLine>,
    #[serde(skip)]
    classes: Vec<ClassLine>,
    #[serde(skip)]
    checks: Vec<(String, Verdict)>,
}

/// One driver: what was needed, and what came of it.
#[derive(Serialize, Default)]
struct TradeLine {
    driver: usize,
    /// What the seed says; the same for the same seed.
    need_wh: u64,
    settled: bool,
    /// Empty, and 0 below, of a driver that bought nothing.
    operator: String,
    station: String,
    outlet: u16,
    ocpp: String,
    auctions: u32,
    energy_wh: u64,
    price_micro_per_kwh: i64,
}

/// Sales at outlets of one price class.
#[derive(Default)]
struct ClassLine {
    name: &'static str,
    list: Price,
    sales: usize,
    energy_wh: u64,
    paid_micro: i64,
}

struct OperatorLine {
    name: String,
    stations: usize,
    sales: usize,
    energy: Energy,
    revenue: Money,
}

impl Report {
    /// Counts an outcome and judges it.
    pub(super) fn new(world: &World, replay: &Replay, outcome: Outcome) -> Result<Self> {
        let sold: Vec<&Sold> = outcome.trades.iter().flatten().collect();
        let energy_wh: u64 = sold.iter().map(|sold| billed(sold).as_wh()).sum();
        let paid_micro: i64 = sold.iter().map(|sold| sold.paid).sum();
        let mut latencies_ms: Vec<u64> =
            sold.iter().map(|sold| u64::try_from(sold.to_contract.as_millis()).unwrap_or(u64::MAX)).collect();
        latencies_ms.sort_unstable();
        let mut bytes = 0;
        for driver in 0..world.needs.len() {
            bytes += std::fs::metadata(world.replica_file(driver)).map_or(0, |metadata| metadata.len());
        }
        let listed_micro: i128 = sold
            .iter()
            .map(|sold| {
                let listed = list_price(world.market.stations[sold.place.0].outlets[sold.place.1].power);
                i128::from(listed.as_micro_per_kwh()) * i128::from(billed(sold).as_wh())
            })
            .sum();
        let listed = ohmesh_units::round_half_away(listed_micro, i128::from(energy_wh)).unwrap_or(0);
        let checks = checks(world, replay, &outcome, energy_wh);
        Ok(Self {
            seed: outcome.args.seed,
            validators: outcome.args.validators,
            drivers: outcome.args.drivers,
            stations: world.market.stations.len(),
            outlets: world.market.outlets(),
            intents: replay.intents(),
            bids: replay.bids(),
            auctions_settled: sold.len(),
            energy_wh,
            paid_micro,
            price_paid_micro_per_kwh_mean: mean_price(paid_micro, energy_wh),
            price_list_micro_per_kwh_mean: listed,
            price_list_is_assumed: true,
            grid_fee_micro_per_kwh: GRID_FEE.as_micro_per_kwh(),
            clock_factor: FACTOR,
            ms_intent_to_contract_p50: percentile(&latencies_ms, 50),
            ms_intent_to_contract_p99: percentile(&latencies_ms, 99),
            blocks: replay.height(),
            transactions: replay.transactions(),
            block_log_bytes: outcome.block_log_bytes,
            replica_bytes_mean: bytes / u64::from(outcome.args.drivers),
            blocks_verified: outcome.executed.holds(),
            money_conserved: outcome.money.holds() && outcome.executed.holds(),
            winners_verified: outcome.winners.iter().filter(|verdict| verdict.holds()).count(),
            replicas_verified: outcome.replicas.iter().filter(|verdict| verdict.holds()).count(),
            roots_equal: outcome.roots.holds(),
            failures: failures(&checks),
            trades: trades(world, &outcome),
            operators: operators(world, &outcome),
            classes: classes(world, &sold),
            checks,
        })
    }

    /// An error that names every check that failed, if one did.
    pub(super) fn passed(&self) -> Result<()> {
        if !self.failures.is_empty() {
            bail!(
                "{} of {} checks failed: {}",
                self.failures.len(),
                self.checks.len(),
                self.failures.join("; ")
            );
        }
        Ok(())
    }

    /// One line for programs.
    pub(super) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }

    /// Some lines for people.
    pub(super) fn table(&self) -> String {
        let energy = Energy::from_wh(self.energy_wh);
        let mean = |micro| euros(Price::from_micro_per_kwh(micro));
        let agents = match self.validators {
            1 => "1 agent, which owns every station: trust its operator".to_owned(),
            count => format!("{count} agents over QUIC, one an operator: any one may fail or lie"),
        };
        let unsold = self.intents.saturating_sub(self.auctions_settled);
        let rows = [
            (
                "stations",
                format!("{} with {} outlets in Berlin and Potsdam, 2019", self.stations, self.outlets),
            ),
            ("chargers", format!("{} simulated, OCPP 1.6 and 2.0.1 by turns, over WebSocket", self.stations)),
            ("ledger", agents),
            ("drivers", format!("{}, each with a replica of its own part of the ledger", self.drivers)),
            ("clock", format!("{FACTOR}x, one for blocks, contracts and chargers")),
            ("", String::new()),
            (
                "intents",
                format!("{}; {unsold} auctions sold nothing, and their drivers asked again", self.intents),
            ),
            ("bids", self.bids.to_string()),
            (
                "settled auctions",
                format!("{} of {} drivers have charged and paid", self.auctions_settled, self.drivers),
            ),
            ("energy", format!("{energy}; needs are real sessions, each cut at {ENERGY_MAX}")),
            ("paid", format!("{} EUR", cents(Money::from_micro(self.paid_micro)))),
            (
                "price paid",
                format!(
                    "{} EUR/kWh on average; list price there {} (assumed)",
                    mean(self.price_paid_micro_per_kwh_mean),
                    mean(self.price_list_micro_per_kwh_mean)
                ),
            ),
            ("list price", format!("{LIST_PRICE_SOURCE} (assumed)")),
            ("grid fee in it", format!("{} EUR/kWh (assumed)", euros(GRID_FEE))),
            ("", String::new()),
            (
                "intent to contract",
                format!(
                    "p50 {} ms, p99 {} ms by this machine's clock",
                    self.ms_intent_to_contract_p50, self.ms_intent_to_contract_p99
                ),
            ),
            ("blocks", format!("{} with {} transactions", self.blocks, self.transactions)),
            ("block log", format!("{} at each agent", size(self.block_log_bytes))),
            ("replica", format!("{} on each phone", size(self.replica_bytes_mean))),
        ];
        let mut text = format!(
            "ohmesh demo: {} drivers buy energy from {} operators at auction, without a middleman (seed {})\n\n",
            self.drivers,
            self.operators.len(),
            self.seed
        );
        for (name, value) in rows {
            let _ = writeln!(text, "{}", format!("  {name:<20}{value}").trim_end());
        }
        let _ = writeln!(
            text,
            "\n  {:<57}{:>8}{:>7}{:>14}{:>10}",
            "operator", "stations", "sales", "energy", "EUR"
        );
        for line in &self.operators {
            let name: String = line.name.chars().take(56).collect();
            let (energy, revenue) = (line.energy.to_string(), cents(line.revenue));
            let _ =
                writeln!(text, "  {name:<57}{:>8}{:>7}{energy:>14}{revenue:>10}", line.stations, line.sales);
        }
        let _ = writeln!(
            text,
            "\n  {:<33}{:>24}{:>7}{:>14}{:>18}",
            "power class", "list EUR/kWh (assumed)", "sales", "energy", "paid EUR/kWh"
        );
        for class in &self.classes {
            let paid = mean(mean_price(class.paid_micro, class.energy_wh));
            let (list, energy) = (euros(class.list), Energy::from_wh(class.energy_wh).to_string());
            let paid = if class.sales == 0 { "-".to_owned() } else { paid };
            let _ = writeln!(text, "  {:<33}{list:>24}{:>7}{energy:>14}{paid:>18}", class.name, class.sales);
        }
        text.push('\n');
        for (name, verdict) in &self.checks {
            let _ = match &verdict.0 {
                None => writeln!(text, "  ok      {name}"),
                Some(why) => writeln!(text, "  FAILED  {name}: {why}"),
            };
        }
        let held = self.checks.iter().filter(|(_, verdict)| verdict.holds()).count();
        let _ = write!(text, "\n{held} of {} checks hold.", self.checks.len());
        if self.failures.is_empty() {
            text.push_str(
                "\nStations and energies are real (sources: station-agent/data/README.md). Sellers' costs and the grid fee\n\
                 are this demo's own assumptions; drivers and chargers are simulated.",
            );
        }
        text
    }
}

/// Every check by what it says when it holds.
fn checks(world: &World, replay: &Replay, outcome: &Outcome, energy_wh: u64) -> Vec<(String, Verdict)> {
    let settled = || {
        for (driver, trade) in (1..).zip(&outcome.trades) {
            if let Err(error) = trade {
                bail!("driver {driver}: {error:#}");
            }
        }
        for (need, sold) in world.needs.iter().zip(outcome.trades.iter().flatten()) {
            let (energy, billed) = (need.energy, billed(sold));
            ensure!(
                billed == energy && sold.metered == energy,
                "a car wanted {energy}, its charger counted {}, {billed} are billed",
                sold.metered
            );
        }
        let counted = replay.state().totals().sold.as_wh();
        ensure!(counted == energy_wh, "phones prove {energy_wh} Wh, the ledger counts {counted} Wh");
        Ok(())
    };
    let failed: Vec<&str> = outcome.replicas.iter().filter_map(|verdict| verdict.0.as_deref()).collect();
    let replicas = Verdict((!failed.is_empty()).then(|| failed.join("; ")));
    let (height, head) = (replay.height(), BlockId::from(replay.state().head().block).to_string());
    let issued = cents(Money::from_micro(world.issued()));
    let drivers = world.needs.len();
    let winners: Vec<&str> = outcome.winners.iter().filter_map(|verdict| verdict.0.as_deref()).collect();
    let won = Verdict(match outcome.winners.len() {
        found if found != drivers => Some(format!("only {found} drivers have a winner")),
        _ => (!winners.is_empty()).then(|| winners.join("; ")),
    });
    vec![
        (
            format!(
                "every driver has charged: {drivers} phones, {drivers} chargers and the ledger count the same energy"
            ),
            Verdict::of(settled()),
        ),
        (
            format!("{height} blocks are certified, executed again from genesis, and keep every invariant"),
            outcome.executed.clone(),
        ),
        (
            format!(
                "{drivers} winners are those of the ledger executed again, each proven to be the best bid"
            ),
            won,
        ),
        (
            format!(
                "money is conserved: {issued} EUR issued, {issued} EUR in {} accounts",
                replay.accounts()
            ),
            outcome.money.clone(),
        ),
        (format!("{drivers} replicas verify, and show the balance that was executed again"), replicas),
        (
            match outcome.args.validators {
                1 => format!("the agent's root at height {height} is that of block {}", &head[..16]),
                count => {
                    format!("{count} agents have the same root at height {height}: block {}", &head[..16])
                }
            },
            outcome.roots.clone(),
        ),
    ]
}

/// The checks that failed, each with its reason.
fn failures(checks: &[(String, Verdict)]) -> Vec<String> {
    let failed = checks.iter().filter_map(|(name, verdict)| Some((name, verdict.0.as_ref()?)));
    failed.map(|(name, why)| format!("{name}: {why}")).collect()
}

/// What was billed.
fn billed(sold: &Sold) -> Energy {
    sold.receipt.sale.bill.energy
}

fn trades(world: &World, outcome: &Outcome) -> Vec<TradeLine> {
    let lines = (1..).zip(world.needs.iter().zip(&outcome.trades)).map(|(driver, (need, trade))| {
        let need_wh = need.energy.as_wh();
        let Ok(sold) = trade else {
            return TradeLine { driver, need_wh, ..TradeLine::default() };
        };
        let station = &world.market.stations[sold.place.0];
        TradeLine {
            driver,
            need_wh,
            settled: true,
            operator: world.market.operators[station.operator].clone(),
            station: station.name.clone(),
            outlet: station.outlets[sold.place.1].number,
            ocpp: station.version.to_string(),
            auctions: sold.attempts,
            energy_wh: billed(sold).as_wh(),
            price_micro_per_kwh: sold.receipt.sale.price.as_micro_per_kwh(),
        }
    });
    lines.collect()
}

fn operators(world: &World, outcome: &Outcome) -> Vec<OperatorLine> {
    let of = |sold: &&Sold| world.market.stations[sold.place.0].operator;
    let lines = world.market.operators.iter().enumerate().map(|(at, name)| {
        let sold: Vec<&Sold> = outcome.trades.iter().flatten().filter(|sold| of(sold) == at).collect();
        OperatorLine {
            name: name.clone(),
            stations: world.market.stations.iter().filter(|station| station.operator == at).count(),
            sales: sold.len(),
            energy: Energy::from_wh(sold.iter().map(|sold| billed(sold).as_wh()).sum()),
            revenue: Money::from_micro(sold.iter().map(|sold| sold.paid).sum()),
        }
    });
    lines.collect()
}

fn classes(world: &World, sold: &[&Sold]) -> Vec<ClassLine> {
    let mut classes = PRICE_CLASSES.map(|(name, power_w)| ClassLine {
        name,
        list: list_price(Power::from_w(power_w)),
        ..ClassLine::default()
    });
    for sold in sold {
        let list = list_price(world.market.stations[sold.place.0].outlets[sold.place.1].power);
        if let Some(class) = classes.iter_mut().find(|class| class.list == list) {
            class.sales += 1;
            class.energy_wh += billed(sold).as_wh();
            class.paid_micro += sold.paid;
        }
    }
    classes.into()
}

/// The smallest of sorted values that at least `percent` of them do not exceed; 0 of none.
fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Micro-units a kWh, rounded; 0 for no energy.
fn mean_price(paid_micro: i64, energy_wh: u64) -> i64 {
    ohmesh_units::round_half_away(i128::from(paid_micro) * 1_000, i128::from(energy_wh)).unwrap_or(0)
}

/// A price with three decimals.
fn euros(price: Price) -> String {
    let tenths = ohmesh_units::round_half_away(price.as_micro_per_kwh().into(), 1_000).unwrap_or(0);
    format!("{}.{:03}", tenths / 1_000, tenths % 1_000)
}

/// An amount, not negative, with two decimals.
fn cents(money: Money) -> String {
    let cents = ohmesh_units::round_half_away(money.as_micro().into(), 10_000).unwrap_or(0);
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn size(bytes: u64) -> String {
    format!("{}.{} KiB", bytes / 1_024, bytes % 1_024 * 10 / 1_024)
}

/// The price classes, each with a power in it.
const PRICE_CLASSES: [(&str, u32); 2] = [("up to 43 kW, AC", 43_000), ("50 kW and more, DC", 50_000)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 50)), (7, 7, 0));
        assert_eq!(percentile(&[1, 2, 3], 99), 3);
    }

    #[test]
    fn a_failed_check_is_shown_and_fails_the_demo() {
        let check = |name: &str, result| (name.to_owned(), Verdict::of(result));
        let good =
            Report { checks: vec![check("money is conserved", Ok(()))], validators: 4, ..Report::default() };
        good.passed().unwrap();
        assert!(good.table().contains("  ok      money is conserved\n\n1 of 1 checks hold."));
        let checks =
            vec![check("roots", Ok(())), check("money is conserved", Err(eyre::eyre!("a cent is gone")))];
        let bad = Report { failures: failures(&checks), checks, ..Report::default() };
        assert!(bad.table().contains("  FAILED  money is conserved: a cent is gone\n\n1 of 2 checks hold."));
        let error = bad.passed().unwrap_err().to_string();
        assert_eq!(error, "1 of 2 checks failed: money is conserved: a cent is gone");
    }

    #[test]
    fn amounts_are_rounded_once() {
        assert_eq!(mean_price(1_234_567, 3_000), 411_522);
        assert_eq!(mean_price(0, 0), 0);
        assert_eq!(euros(Price::from_micro_per_kwh(411_522)), "0.412");
        assert_eq!(cents(Money::from_micro(12_345_000)), "12.35");
    }
}
