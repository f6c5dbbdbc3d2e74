//! What came out: a table for people, one line of JSON for programs, and a verdict for each check.

use super::{
    DemoArgs,
    market::{Plan, list_price},
    trade::Sold,
    verify::Replay,
    world::{GRID_FEE, PACE_FACTOR, World},
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
    sales_settled: usize,
    energy_wh: u64,
    paid_micro: i64,
    price_paid_micro_per_kwh_mean: i64,
    price_list_is_assumed: bool,
    grid_fee_micro_per_kwh: i64,
    ms_intent_to_contract_p50: u64,
    ms_intent_to_contract_p99: u64,
    blocks: u64,
    transactions: u64,
    block_log_bytes: u64,
    replica_bytes_mean: u64,
    blocks_verified: bool,
    money_conserved: bool,
    replicas_verified: usize,
    roots_equal: bool,
    /// Why each failed check failed.
    failures: Vec<String>,
    trades: Vec<TradeLine>,
    #[serde(skip)]
    operators: Vec<OperatorLine>,
    #[serde(skip)]
    checks: Vec<(String, Verdict)>,
}

/// One trade as planned; the same for the same seed.
#[derive(Serialize)]
struct TradeLine {
    driver: usize,
    operator: String,
    station: String,
    outlet: u16,
    distance_m: u32,
    energy_wh: u64,
    price_micro_per_kwh: i64,
    settled: bool,
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
        let energy_wh: u64 = sold.iter().map(|sold| sold.energy.as_wh()).sum();
        let paid_micro: i64 = sold.iter().map(|sold| sold.paid).sum();
        let mut latencies_ms: Vec<u64> =
            sold.iter().map(|sold| u64::try_from(sold.to_contract.as_millis()).unwrap_or(u64::MAX)).collect();
        latencies_ms.sort_unstable();
        let mut bytes = 0;
        for driver in 0..world.plans.len() {
            bytes += std::fs::metadata(world.replica_file(driver)).map_or(0, |metadata| metadata.len());
        }
        let checks = checks(world, replay, &outcome, energy_wh);
        Ok(Self {
            seed: outcome.args.seed,
            validators: outcome.args.validators,
            drivers: outcome.args.drivers,
            stations: world.market.stations.len(),
            outlets: world.market.outlets(),
            sales_settled: sold.len(),
            energy_wh,
            paid_micro,
            price_paid_micro_per_kwh_mean: mean_price(paid_micro, energy_wh),
            price_list_is_assumed: true,
            grid_fee_micro_per_kwh: GRID_FEE.as_micro_per_kwh(),
            ms_intent_to_contract_p50: percentile(&latencies_ms, 50),
            ms_intent_to_contract_p99: percentile(&latencies_ms, 99),
            blocks: replay.height(),
            transactions: replay.transactions(),
            block_log_bytes: outcome.block_log_bytes,
            replica_bytes_mean: bytes / u64::from(outcome.args.drivers),
            blocks_verified: outcome.executed.holds(),
            money_conserved: outcome.money.holds() && outcome.executed.holds(),
            replicas_verified: outcome.replicas.iter().filter(|verdict| verdict.holds()).count(),
            roots_equal: outcome.roots.holds(),
            failures: failures(&checks),
            trades: trades(world, &outcome),
            operators: operators(world, &outcome),
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
        let [slow, fast, fastest] = PRICE_CLASSES_W.map(Power::from_w);
        let of = |power| format!("{} to {}", euros(list_price(0, power)), euros(list_price(3, power)));
        let agents = match self.validators {
            1 => "1 agent: trust its operator".to_owned(),
            count => format!("{count} agents over QUIC: any one may fail or lie"),
        };
        let rows = [
            (
                "stations",
                format!("{} with {} outlets in Berlin and Potsdam, 2019", self.stations, self.outlets),
            ),
            ("ledger", agents),
            ("drivers", format!("{}, each with a replica of its own part of the ledger", self.drivers)),
            ("", String::new()),
            ("sales settled", format!("{} of {}", self.sales_settled, self.drivers)),
            ("energy", energy.to_string()),
            ("paid", format!("{} EUR", cents(Money::from_micro(self.paid_micro)))),
            (
                "price paid",
                format!(
                    "{} EUR/kWh on average",
                    euros(Price::from_micro_per_kwh(self.price_paid_micro_per_kwh_mean))
                ),
            ),
            ("list price", format!("{} EUR/kWh up to 22 kW, {} below", of(slow), of(fast))),
            ("", format!("50 kW, {} above (assumed)", of(fastest))),
            ("grid fee in it", format!("{} EUR/kWh (assumed)", euros(GRID_FEE))),
            ("", String::new()),
            (
                "intent to contract",
                format!(
                    "p50 {} ms, p99 {} ms (measured; blocks {PACE_FACTOR}x as often as usual)",
                    self.ms_intent_to_contract_p50, self.ms_intent_to_contract_p99
                ),
            ),
            ("blocks", format!("{} with {} transactions", self.blocks, self.transactions)),
            ("block log", format!("{} at each agent", size(self.block_log_bytes))),
            ("replica", format!("{} on each phone", size(self.replica_bytes_mean))),
        ];
        let mut text = format!(
            "ohmesh demo: {} drivers buy energy from {} operators; their agents are the ledger (seed {})\n\n",
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
                "\nStations and sessions are real (station-agent/data); prices, drivers and meters are made up.",
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
        let planned: u64 = world.plans.iter().map(|plan| plan.energy.as_wh()).sum();
        let counted = replay.state().totals().sold.as_wh();
        ensure!(
            energy_wh == planned && counted == planned,
            "phones prove {energy_wh} Wh, the ledger counts {counted} Wh, meters counted {planned} Wh"
        );
        Ok(())
    };
    let failed: Vec<&str> = outcome.replicas.iter().filter_map(|verdict| verdict.0.as_deref()).collect();
    let replicas = Verdict((!failed.is_empty()).then(|| failed.join("; ")));
    let (height, head) = (replay.height(), BlockId::from(replay.state().head().block).to_string());
    let issued = cents(Money::from_micro(world.issued()));
    let drivers = world.plans.len();
    vec![
        (
            format!(
                "every sale is settled: {drivers} phones, {drivers} meters and the ledger count the same energy"
            ),
            Verdict::of(settled()),
        ),
        (
            format!("{height} blocks are certified, executed again from genesis, and keep every invariant"),
            outcome.executed.clone(),
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

fn trades(world: &World, outcome: &Outcome) -> Vec<TradeLine> {
    let line = |(driver, (plan, trade)): (usize, (&Plan, &Result<Sold>))| TradeLine {
        driver: driver + 1,
        operator: world.market.operators[world.market.seller(plan)].name.clone(),
        station: world.market.stations[plan.station].name.clone(),
        outlet: world.market.outlet(plan).number,
        distance_m: plan.distance_m,
        energy_wh: plan.energy.as_wh(),
        price_micro_per_kwh: plan.price.as_micro_per_kwh(),
        settled: trade.is_ok(),
    };
    world.plans.iter().zip(&outcome.trades).enumerate().map(line).collect()
}

fn operators(world: &World, outcome: &Outcome) -> Vec<OperatorLine> {
    let lines = world.market.operators.iter().enumerate().map(|(at, operator)| {
        let own = world.plans.iter().zip(&outcome.trades).filter(|(plan, _)| world.market.seller(plan) == at);
        let sold: Vec<&Sold> = own.filter_map(|(_, trade)| trade.as_ref().ok()).collect();
        OperatorLine {
            name: operator.name.clone(),
            stations: world.market.stations.iter().filter(|station| station.operator == at).count(),
            sales: sold.len(),
            energy: Energy::from_wh(sold.iter().map(|sold| sold.energy.as_wh()).sum()),
            revenue: Money::from_micro(sold.iter().map(|sold| sold.paid).sum()),
        }
    });
    lines.collect()
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

/// One outlet of each price class.
const PRICE_CLASSES_W: [u32; 3] = [22_000, 43_000, 50_000];

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
