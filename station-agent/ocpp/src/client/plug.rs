//! One outlet of a simulated charger: its meter, its car, its transaction.

use ohmesh_units::{Energy, Power, Timestamp};
use std::time::Duration;

/// Watt-milliseconds of one watt-hour.
const WH: u128 = 3_600_000;

/// A car: what it takes, and how fast over time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Car {
    /// Power over time from the first moment of charging. After the last step it takes nothing.
    pub curve: Vec<CurveStep>,
    /// When it has this much it is full.
    pub wants: Energy,
}

/// One step of a power curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CurveStep {
    /// How long.
    pub lasts: Duration,
    /// How much, before the outlet's rating and limit cut it.
    pub power: Power,
}

/// A car while it charges.
pub(super) struct Charge {
    car: Car,
    /// Milliseconds of charging behind it.
    ran_ms: u64,
    /// Watt-milliseconds still wanted.
    left: u128,
}

impl Charge {
    pub(super) fn new(car: Car) -> Self {
        let left = u128::from(car.wants.as_wh()) * WH;
        Self { car, ran_ms: 0, left }
    }

    /// The curve's power now, and how many milliseconds it lasts; `None` at the end of the curve.
    fn step(&self) -> Option<(u64, u64)> {
        let mut end = 0_u64;
        for step in &self.car.curve {
            end = end.saturating_add(u64::try_from(step.lasts.as_millis()).unwrap_or(u64::MAX));
            if self.ran_ms < end {
                return Some((u64::from(step.power.as_w()), end - self.ran_ms));
            }
        }
        None
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0 || self.step().is_none()
    }
}

/// A transaction that runs.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) number: u64,
    /// 1.6: the number told by the other side, once it is.
    pub(super) key: Option<i64>,
    pub(super) token: String,
    pub(super) remote_start: Option<i64>,
    pub(super) reservation: Option<i64>,
    pub(super) start: Energy,
    pub(super) sequence: i64,
    meter_at: Option<Timestamp>,
}

impl Running {
    /// Whether meter values are due; sets when they are next.
    pub(super) fn meter_due(&mut self, now: Timestamp, every: Duration) -> bool {
        if self.meter_at.is_none_or(|at| at > now) {
            return false;
        }
        self.meter_at = now.checked_add(every);
        true
    }
}

/// A transaction that ended, as it is to be told.
#[derive(Clone)]
pub(super) struct Stopped {
    pub(super) running: Running,
    pub(super) register: Energy,
    pub(super) at: Timestamp,
    pub(super) why: Why,
}

/// Why a transaction ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Local,
    Remote,
    Unplugged,
    Full,
    Refused,
    Reset,
}

/// A remote start that waits for a car.
pub(super) struct Wanted {
    pub(super) token: String,
    pub(super) remote_start: Option<i64>,
    pub(super) limit: Option<Power>,
    pub(super) until: Timestamp,
}

/// A reservation.
pub(super) struct Reserved {
    pub(super) number: i64,
    pub(super) token: String,
    pub(super) until: Timestamp,
}

/// An outlet.
pub(super) struct Plug {
    rated: Power,
    /// The register in watt-milliseconds.
    meter: u128,
    flowed_to: Option<Timestamp>,
    pub(super) car: Option<Charge>,
    pub(super) running: Option<Running>,
    /// A transaction ended, and the car is still there.
    pub(super) ended: bool,
    pub(super) unsent: Option<Stopped>,
    pub(super) wanted: Option<Wanted>,
    pub(super) reserved: Option<Reserved>,
    pub(super) limit: Option<Power>,
    /// The limit for transactions to come.
    pub(super) default_limit: Option<Power>,
    pub(super) operative: bool,
}

impl Plug {
    pub(super) fn new(rated: Power, register: Energy) -> Self {
        Self {
            rated,
            meter: u128::from(register.as_wh()) * WH,
            flowed_to: None,
            car: None,
            running: None,
            ended: false,
            unsent: None,
            wanted: None,
            reserved: None,
            limit: None,
            default_limit: None,
            operative: true,
        }
    }

    pub(super) fn start(
        &mut self,
        now: Timestamp,
        number: u64,
        token: String,
        remote_start: Option<i64>,
        limit: Option<Power>,
        meter_every: Duration,
    ) {
        let reserved = self.reserved.take_if(|reserved| reserved.token.eq_ignore_ascii_case(&token));
        self.running = Some(Running {
            number,
            key: None,
            token,
            remote_start,
            reservation: reserved.map(|reserved| reserved.number),
            start: self.register(),
            sequence: 0,
            meter_at: now.checked_add(meter_every),
        });
        self.limit = limit.or(self.default_limit);
        self.flowed_to = Some(now);
    }

    /// Lets energy flow until `now`.
    pub(super) fn flow(&mut self, now: Timestamp) {
        let Some(from) = self.flowed_to else { return };
        let mut left_ms = now.as_millis().saturating_sub(from.as_millis());
        if self.running.is_some() {
            // Each turn of the loop ends a step of the curve, the time or the need.
            while left_ms > 0 {
                let Some((power, until_ms)) = self.power_and_duration() else { break };
                let Some(charge) = &mut self.car else { break };
                let slice_ms = until_ms.min(left_ms);
                let energy = (u128::from(power) * u128::from(slice_ms)).min(charge.left);
                charge.left -= energy;
                charge.ran_ms += slice_ms;
                self.meter += energy;
                left_ms -= slice_ms;
            }
        }
        self.flowed_to = Some(now.max(from));
    }

    /// The power now, W, and for how many milliseconds nothing changes; `None` when nothing flows any more.
    fn power_and_duration(&self) -> Option<(u64, u64)> {
        let charge = self.car.as_ref().filter(|charge| !charge.is_full())?;
        let (asked, step_ms) = charge.step()?;
        let cap = self.limit.map_or(self.rated, |limit| limit.min(self.rated));
        let power = asked.min(u64::from(cap.as_w()));
        if power == 0 {
            return Some((0, step_ms));
        }
        let need_ms = u64::try_from(charge.left.div_ceil(u128::from(power))).unwrap_or(u64::MAX);
        Some((power, step_ms.min(need_ms)))
    }

    /// Power now.
    pub(super) fn power_w(&self) -> i64 {
        let flows = self.running.as_ref().and_then(|_| self.power_and_duration());
        flows.map_or(0, |(power, _)| i64::try_from(power).unwrap_or(i64::MAX))
    }

    /// What the register shows.
    pub(super) fn register(&self) -> Energy {
        Energy::from_wh(u64::try_from(self.meter / WH).unwrap_or(u64::MAX))
    }

    /// When something happens here next by itself.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let running = self.running.as_ref();
        let meter = running.and_then(|running| running.meter_at);
        let change = running
            .and_then(|_| self.power_and_duration())
            .and_then(|(_, ms)| now.checked_add(Duration::from_millis(ms)));
        let wanted = self.wanted.as_ref().map(|wanted| wanted.until);
        let reserved = self.reserved.as_ref().map(|reserved| reserved.until);
        [meter, change, wanted, reserved].into_iter().flatten().min()
    }
}
