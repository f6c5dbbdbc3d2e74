//! The charging register of the German network agency (Bundesnetzagentur), as published in 2019.

use super::table::{self, Row};
use super::{Bounds, Excerpt, Import, ImportError, Note, Noted, POWER_W_MAX, Reason, Rejected, field};
use crate::{Availability, Connector, Connectors, MeterKey, Outlet, Station};
use ohmesh_units::{Position, Power};
use std::collections::BTreeMap;
use std::io::Read;

/// Imports the German charging register: `;`, decimal commas, title lines before the header, dates as `14.04.2010`,
/// up to four outlets a row with several connectors in one field.
///
/// A row is one device. Devices of one operator at one address and position are one station, whose
/// `in_service_since` is that of its oldest device. The register names no sites: a station's name is its address.
/// A position outside the rectangle around Germany is rejected; one outside its federal state is imported and noted,
/// since either of the two may be wrong.
///
/// # Errors
/// [`ImportError`] when the file as a whole is not the register; single rows are reported in the [`Import`].
pub fn german_register(source: impl Read) -> Result<Import, ImportError> {
    let mut import = Import { stations: vec![], rows: 0, rejected: vec![], noted: vec![] };
    let mut sites: BTreeMap<(String, String, Position), usize> = BTreeMap::new();
    table::read(source, b';', &COLUMNS, |line, row| {
        import.rows += 1;
        let mut notes = Vec::new();
        match row.and_then(|row| device(&row, &mut notes)) {
            Err(reason) => import.rejected.push(Rejected { line, reason }),
            Ok(device) => {
                import.noted.extend(notes.into_iter().map(|note| Noted { line, note }));
                let site = (device.operator.clone(), device.address.clone(), device.position);
                let next = import.stations.len();
                match *sites.entry(site).or_insert(next) {
                    at if at == next => import.stations.push(device),
                    at => extend(&mut import.stations[at], device),
                }
            }
        }
    })?;
    Ok(import)
}

fn extend(station: &mut Station, device: Station) {
    station.outlets.extend(device.outlets);
    station.in_service_since =
        [station.in_service_since, device.in_service_since].into_iter().flatten().min();
}

fn device(row: &Row<'_>, notes: &mut Vec<Note>) -> Result<Station, Reason> {
    let operator = field::required(row.field(OPERATOR), COLUMNS[OPERATOR])?;
    let street = field::required(row.field(STREET), COLUMNS[STREET])?;
    let town = field::required(row.field(TOWN), COLUMNS[TOWN])?;
    let [lat, lon] = [LAT, LON].map(|column| (row.field(column), COLUMNS[column]));
    let position = field::position([lat, lon], b',')?;
    if !GERMANY.contain(position) {
        return Err(Reason::OutsideCountry(position));
    }
    let state = STATES.iter().find(|(name, _)| *name == row.field(STATE).trim());
    if let Some((name, _)) = state.filter(|(_, bounds)| !bounds.contain(position)) {
        notes.push(Note::OutsideState(name));
    }
    let in_service_since = field::date(row.field(SINCE), '.', [2, 1, 0]).unwrap_or_else(|note| {
        notes.push(note);
        None
    });
    let outlets: Vec<Outlet> = (0..4).filter_map(|at| outlet(row, at, notes)).collect();
    if outlets.is_empty() {
        return Err(Reason::NoOutlet);
    }
    let declared = row.field(OUTLETS).trim();
    if declared.parse() != Ok(outlets.len()) {
        notes.push(Note::OutletCount { declared: Excerpt::of(declared), listed: outlets.len() });
    }
    let address = format!("{street}, {town}");
    Ok(Station {
        reference: None,
        name: address.clone(),
        operator,
        address,
        position,
        outlets,
        in_service_since,
        availability: Availability::Unknown,
    })
}

/// The outlet in the `at`-th group of columns; `None` if the group names no connector.
fn outlet(row: &Row<'_>, at: usize, notes: &mut Vec<Note>) -> Option<Outlet> {
    let [plugs, power, key] = [0, 1, 2].map(|column| row.field(FIRST_OUTLET + 3 * at + column).trim());
    let number = at + 1;
    if plugs.is_empty() {
        if !power.is_empty() || !key.is_empty() {
            notes.push(Note::HalfOutlet { outlet: number });
        }
        return None;
    }
    let mut connectors = Connectors::NONE;
    for plug in plugs.split(',').map(str::trim) {
        match connector(plug) {
            Some(connector) => connectors = connectors | connector.into(),
            None => notes.push(Note::Connector { outlet: number, text: Excerpt::of(plug) }),
        }
    }
    let watts = field::decimal(power, b',', 3).and_then(|watts| u32::try_from(watts).ok());
    let watts = watts.filter(|watts| (1..=POWER_W_MAX).contains(watts));
    if watts.is_none() {
        notes.push(Note::Power { outlet: number, text: Excerpt::of(power) });
    }
    let meter_key = (!key.is_empty()).then(|| key.parse::<MeterKey>()).transpose();
    let meter_key = meter_key.unwrap_or_else(|error| {
        notes.push(Note::MeterKey { outlet: number, error });
        None
    });
    Some(Outlet { count: 1, connectors, power: watts.map(Power::from_w), meter_key })
}

fn connector(plug: &str) -> Option<Connector> {
    Some(match plug {
        "AC Steckdose Typ 2" | "AC Kupplung Typ 2" => Connector::Type2,
        "DC Kupplung Combo" => Connector::Ccs,
        "DC CHAdeMO" => Connector::Chademo,
        "AC Schuko" => Connector::Schuko,
        "AC CEE 3 polig" => Connector::Cee3,
        "AC CEE 5 polig" => Connector::Cee5,
        "Steckdose Typ 1" | "AC Steckdose Typ 1" => Connector::Type1,
        _ => return None,
    })
}

const COLUMNS: [&str; 20] = [
    "Betreiber",
    "Adresse",
    "Postleitzahl Ort",
    "Bundesland",
    "Längengrad [DG]",
    "Breitengrad [DG]",
    "Inbetriebnahmedatum",
    "Anzahl Ladepunkte",
    "Steckertypen1",
    "P1 [kW]",
    "Public Key1",
    "Steckertypen2",
    "P2 [kW]",
    "Public Key2",
    "Steckertypen3",
    "P3 [kW]",
    "Public Key3",
    "Steckertypen4",
    "P4 [kW]",
    "Public Key4",
];
const OPERATOR: usize = 0;
const STREET: usize = 1;
const TOWN: usize = 2;
const STATE: usize = 3;
const LON: usize = 4;
const LAT: usize = 5;
const SINCE: usize = 6;
const OUTLETS: usize = 7;
const FIRST_OUTLET: usize = 8;

/// List auf Sylt to the Haldenwanger Eck, Isenbruch to Neißeaue.
const GERMANY: Bounds = Bounds::new([47_27, 55_06, 5_86, 15_05]);

/// The federal states, two hundredths of a degree wider than they are. Hamburg has an island in the North Sea.
const STATES: [(&str, Bounds); 16] = [
    ("Baden-Württemberg", Bounds::new([47_51, 49_82, 7_49, 10_52])),
    ("Bayern", Bounds::new([47_25, 50_59, 8_95, 13_86])),
    ("Berlin", Bounds::new([52_31, 52_70, 13_06, 13_79])),
    ("Brandenburg", Bounds::new([51_33, 53_58, 11_24, 14_79])),
    ("Bremen", Bounds::new([52_99, 53_63, 8_46, 9_01])),
    ("Hamburg", Bounds::new([53_37, 53_99, 8_40, 10_35])),
    ("Hessen", Bounds::new([49_37, 51_68, 7_75, 10_26])),
    ("Mecklenburg-Vorpommern", Bounds::new([53_09, 54_71, 10_57, 14_44])),
    ("Niedersachsen", Bounds::new([51_27, 53_92, 6_63, 11_62])),
    ("Nordrhein-Westfalen", Bounds::new([50_30, 52_56, 5_84, 9_49])),
    ("Rheinland-Pfalz", Bounds::new([48_94, 50_97, 6_09, 8_53])),
    ("Saarland", Bounds::new([49_09, 49_66, 6_33, 7_43])),
    ("Sachsen", Bounds::new([50_15, 51_71, 11_85, 15_07])),
    ("Sachsen-Anhalt", Bounds::new([50_91, 53_07, 10_54, 13_21])),
    ("Schleswig-Holstein", Bounds::new([53_33, 55_08, 7_84, 11_34])),
    ("Thüringen", Bounds::new([50_18, 51_67, 9_85, 12_68])),
];
