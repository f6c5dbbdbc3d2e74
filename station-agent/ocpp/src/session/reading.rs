//! Meter values of both versions as one kind of reading: the outlet's imported-energy register, power, state of charge
//! and signed records. Values of single phases and of other places are left out.

use super::{Oddity, SignedRecord};
use crate::wire::{Decimal, Text};
use crate::{v16, v201};
use ohmesh_units::{Energy, Power, Timestamp};

/// The standard's default measurand (1.6 section 7.31).
const REGISTER: &str = "Energy.Active.Import.Register";

/// Powers of ten that a unit's multiplier may name; anything else is nonsense.
const MULTIPLIERS: std::ops::RangeInclusive<i64> = -12..=12;

/// What was measured at one moment.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) at: Option<Timestamp>,
    pub(super) register: Option<Energy>,
    pub(super) power: Option<Power>,
    pub(super) soc_percent: Option<u8>,
    pub(super) signed: Vec<SignedRecord>,
}

impl Reading {
    /// Whether nothing in it is of use here.
    pub(super) fn is_empty(&self) -> bool {
        self.register.is_none()
            && self.power.is_none()
            && self.soc_percent.is_none()
            && self.signed.is_empty()
    }

    fn take(
        &mut self,
        measurand: &str,
        unit: Option<&str>,
        multiplier: i32,
        value: Decimal,
        odd: &mut Vec<Oddity>,
    ) {
        let kilo = |plain: &str, thousand: &str| match unit.unwrap_or(plain) {
            unit if unit.eq_ignore_ascii_case(plain) => Some(0),
            unit if unit.eq_ignore_ascii_case(thousand) => Some(3),
            _ => None,
        };
        let power_of_ten = match measurand {
            REGISTER => kilo("Wh", "kWh"),
            "Power.Active.Import" => kilo("W", "kW"),
            "SoC" => Some(0),
            _ => return,
        };
        let Some(power_of_ten) = power_of_ten else {
            let unit = unit.unwrap_or_default().to_owned();
            return odd.push(Oddity::WrongUnit { measurand: measurand.into(), unit });
        };
        let whole = value.scaled(power_of_ten + multiplier);
        let taken = match measurand {
            REGISTER => {
                let register = whole.and_then(|wh| u64::try_from(wh).ok()).map(Energy::from_wh);
                self.register = register.or(self.register);
                register.is_some()
            }
            "SoC" => {
                let soc =
                    whole.and_then(|percent| u8::try_from(percent).ok()).filter(|percent| *percent <= 100);
                self.soc_percent = soc.or(self.soc_percent);
                soc.is_some()
            }
            _ => {
                // A car that feeds back reports negative power; it imports none.
                let power = whole.and_then(|w| u32::try_from(w.max(0)).ok()).map(Power::from_w);
                self.power = power.or(self.power);
                power.is_some()
            }
        };
        if !taken {
            odd.push(Oddity::UnreadableValue { measurand: measurand.into(), value: value.to_string() });
        }
    }
}

/// 1.6's readings, in the order they came.
pub(super) fn readings_v16(values: Vec<v16::MeterValue>, odd: &mut Vec<Oddity>) -> Vec<Reading> {
    let of_moment = |value: v16::MeterValue| {
        let mut reading = Reading { at: value.at.0, ..Reading::default() };
        for sample in value.samples {
            if is(sample.format.as_ref(), "SignedData") {
                let record = sample.value.into_string();
                reading.signed.push(SignedRecord { record, encoding: None, signing: None, public_key: None });
            } else if sample.phase.is_none() && at_outlet(sample.location.as_ref()) {
                let measurand = sample.measurand.as_ref().map_or(REGISTER, Text::as_str);
                match Decimal::parse(sample.value.as_str()) {
                    Some(value) => {
                        reading.take(measurand, sample.unit.as_ref().map(Text::as_str), 0, value, odd)
                    }
                    None => odd.push(unreadable(measurand, sample.value.as_str())),
                }
            }
        }
        reading
    };
    values.into_iter().map(of_moment).collect()
}

/// 2.0.1's readings, in the order they came.
pub(super) fn readings_v201(values: Vec<v201::MeterValue>, odd: &mut Vec<Oddity>) -> Vec<Reading> {
    let of_moment = |value: v201::MeterValue| {
        let mut reading = Reading { at: value.at.0, ..Reading::default() };
        for sample in value.samples {
            if let Some(signed) = sample.signed {
                reading.signed.push(SignedRecord {
                    record: signed.data.into_string(),
                    encoding: signed.encoding.0.map(Text::into_string),
                    signing: signed.signing.0.map(Text::into_string),
                    public_key: signed.public_key.0.map(Text::into_string),
                });
            }
            let (Some(value), None, true) =
                (sample.value.0, &sample.phase, at_outlet(sample.location.as_ref()))
            else {
                continue;
            };
            let measurand = sample.measurand.as_ref().map_or(REGISTER, Text::as_str);
            let multiplier = sample.unit.as_ref().and_then(|unit| unit.multiplier).unwrap_or(0);
            let unit = sample.unit.as_ref().and_then(|unit| unit.unit.as_ref()).map(Text::as_str);
            match i32::try_from(multiplier).ok().filter(|_| MULTIPLIERS.contains(&multiplier)) {
                Some(multiplier) => reading.take(measurand, unit, multiplier, value, odd),
                None => odd.push(unreadable("multiplier", &multiplier.to_string())),
            }
        }
        reading
    };
    values.into_iter().map(of_moment).collect()
}

fn is<const MAX: usize>(text: Option<&Text<MAX>>, word: &str) -> bool {
    text.is_some_and(|text| text.as_str().eq_ignore_ascii_case(word))
}

/// The register at the grid's side of the charger counts its own losses too; the car's side is not a meter at all.
fn at_outlet<const MAX: usize>(location: Option<&Text<MAX>>) -> bool {
    location.is_none() || is(location, "Outlet") || is(location, "Cable")
}

fn unreadable(measurand: &str, value: &str) -> Oddity {
    let short = |text: &str| text.chars().take(64).collect();
    Oddity::UnreadableValue { measurand: short(measurand), value: short(value) }
}
