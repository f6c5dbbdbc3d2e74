//! The French IRVE file (infrastructures de recharge pour véhicules électriques), grouped by station.

use super::table::{self, Row};
use super::{Bounds, Excerpt, Import, ImportError, Note, Noted, OUTLETS_MAX, Reason, Rejected, field};
use crate::{Availability, Connector, Connectors, Outlet, Station};
use ohmesh_units::Position;
use std::collections::BTreeMap;
use std::io::Read;

/// Imports the French IRVE file, one row a station: `,`, decimal points, ISO dates.
///
/// The file counts a station's outlets and each kind of connector, but does not say which outlet has which, nor any
/// power: a station gets one [`Outlet`] that stands for all of them, with every connector that is counted, and no
/// power. A missing operator is taken from the owner, else from the brand, and noted.
///
/// A position outside metropolitan France is imported and noted when it lies in an overseas department, and
/// rejected otherwise: the first is a place, the second a slip of the pen.
///
/// # Errors
/// [`ImportError`] when the file as a whole is not the register; single rows are reported in the [`Import`].
pub fn french_irve(source: impl Read) -> Result<Import, ImportError> {
    let mut import = Import { stations: vec![], rows: 0, rejected: vec![], noted: vec![] };
    let mut references: BTreeMap<String, usize> = BTreeMap::new();
    table::read(source, b',', &COLUMNS, |line, row| {
        import.rows += 1;
        let mut notes = Vec::new();
        match row.and_then(|row| station(&row, &mut references, &mut notes)) {
            Err(reason) => import.rejected.push(Rejected { line, reason }),
            Ok(station) => {
                import.noted.extend(notes.into_iter().map(|note| Noted { line, note }));
                import.stations.push(station);
            }
        }
    })?;
    Ok(import)
}

fn station(
    row: &Row<'_>,
    references: &mut BTreeMap<String, usize>,
    notes: &mut Vec<Note>,
) -> Result<Station, Reason> {
    let reference = field::required(row.field(REFERENCE), COLUMNS[REFERENCE])?;
    if let Some(&line) = references.get(&reference) {
        return Err(Reason::Duplicate { reference: Excerpt::of(&reference), line });
    }
    let name = field::required(row.field(NAME), COLUMNS[NAME])?;
    let address = field::required(row.field(ADDRESS), COLUMNS[ADDRESS])?;
    let [lat, lon] = [LAT, LON].map(|column| (row.field(column), COLUMNS[column]));
    let position = field::position([lat, lon], b'.')?;
    if !METROPOLE.contain(position) {
        notes.push(Note::Overseas(department(position).ok_or(Reason::OutsideCountry(position))?));
    }
    let operator = operator(row, notes)?;
    let in_service_since = field::date(row.field(SINCE), '-', [0, 1, 2]).unwrap_or_else(|note| {
        notes.push(note);
        None
    });
    let count = count_in(row, OUTLETS)?;
    if count == 0 {
        return Err(Reason::NoOutlet);
    }
    let mut connectors = Connectors::NONE;
    for (column, connector) in CONNECTORS {
        if count_in(row, column)? > 0 {
            connectors = connectors | connector.into();
        }
    }
    if connectors.is_empty() {
        notes.push(Note::NoConnector);
    }
    if matches!(row.field(TWO_WHEELERS).trim().to_ascii_lowercase().as_str(), "true" | "1") {
        notes.push(Note::TwoWheelers);
    }
    references.insert(reference.clone(), row.line);
    Ok(Station {
        reference: Some(reference),
        name,
        operator,
        address,
        position,
        outlets: vec![Outlet { count, connectors, power: None, meter_key: None }],
        in_service_since,
        availability: Availability::Unknown,
    })
}

fn operator(row: &Row<'_>, notes: &mut Vec<Note>) -> Result<String, Reason> {
    for column in [OPERATOR, OWNER, BRAND] {
        let name = field::text(row.field(column));
        if !name.is_empty() {
            if column != OPERATOR {
                notes.push(Note::OperatorFrom(COLUMNS[column]));
            }
            return Ok(name);
        }
    }
    Err(Reason::Empty { column: COLUMNS[OPERATOR] })
}

fn department(position: Position) -> Option<&'static str> {
    OVERSEAS.iter().find(|(_, bounds)| bounds.contain(position)).map(|(name, _)| *name)
}

fn count_in(row: &Row<'_>, column: usize) -> Result<u16, Reason> {
    let text = row.field(column).trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let count = if digits { text.parse().ok() } else { None };
    count
        .filter(|&count| count <= OUTLETS_MAX)
        .ok_or(Reason::Count { column: COLUMNS[column], text: Excerpt::of(text) })
}

const COLUMNS: [&str; 16] = [
    "nom_amenageur",
    "nom_operateur",
    "nom_enseigne",
    "id_station_itinerance",
    "nom_station",
    "adresse_station",
    "Xlongitude",
    "Ylatitude",
    "date_mise_en_service",
    "nbre_pdc",
    "station_deux_roues",
    "nb_EF_grouped",
    "nb_T2_grouped",
    "nb_combo_ccs_grouped",
    "nb_chademo_grouped",
    "nb_autre_grouped",
];
const OWNER: usize = 0;
const OPERATOR: usize = 1;
const BRAND: usize = 2;
const REFERENCE: usize = 3;
const NAME: usize = 4;
const ADDRESS: usize = 5;
const LON: usize = 6;
const LAT: usize = 7;
const SINCE: usize = 8;
const OUTLETS: usize = 9;
const TWO_WHEELERS: usize = 10;
const CONNECTORS: [(usize, Connector); 5] = [
    (11, Connector::Schuko),
    (12, Connector::Type2),
    (13, Connector::Ccs),
    (14, Connector::Chademo),
    (15, Connector::Other),
];

/// Bray-Dunes to southern Corsica, Ouessant to eastern Corsica.
const METROPOLE: Bounds = Bounds::new([41_30, 51_10, -5_20, 9_60]);

const OVERSEAS: [(&str, Bounds); 5] = [
    ("Guadeloupe", Bounds::new([15_80, 16_55, -61_85, -60_95])),
    ("Martinique", Bounds::new([14_35, 14_92, -61_27, -60_77])),
    ("Guyane", Bounds::new([2_08, 5_80, -54_65, -51_57])),
    ("La Réunion", Bounds::new([-21_45, -20_83, 55_18, 55_88])),
    ("Mayotte", Bounds::new([-13_05, -12_60, 44_98, 45_33])),
];
