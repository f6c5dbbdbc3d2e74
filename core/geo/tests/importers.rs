//! The importers on the checked-in extracts, on the whole registers when they are there, and on bad input.
#![allow(clippy::unwrap_used)]

mod common;

use common::{DE_EXTRACT, FR_EXTRACT};
use ohmesh_geo::{
    Availability, Connector, Connectors, Excerpt, Import, ImportError, MeterKey, MeterKeyError, Note, Reason,
    Station, french_irve, german_register,
};
use ohmesh_units::{Position, Power};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn at(lat_e7: i32, lon_e7: i32) -> Position {
    Position::from_e7(lat_e7, lon_e7).unwrap()
}

fn set(connectors: &[Connector]) -> Connectors {
    connectors.iter().copied().collect()
}

fn find(import: &Import, matches: impl Fn(&Station) -> bool) -> &Station {
    import.stations.iter().find(|station| matches(station)).unwrap()
}

fn kind(note: &Note) -> &'static str {
    match note {
        Note::Connector { .. } => "connector",
        Note::NoConnector => "no connector",
        Note::Power { .. } => "power",
        Note::HalfOutlet { .. } => "half outlet",
        Note::OutletCount { .. } => "outlet count",
        Note::MeterKey { .. } => "meter key",
        Note::Date(_) => "date",
        Note::OutsideState(_) => "state",
        Note::Overseas(_) => "overseas",
        Note::OperatorFrom(_) => "operator",
        Note::TwoWheelers => "two-wheelers",
    }
}

fn notes(import: &Import) -> BTreeMap<&'static str, usize> {
    import.noted.iter().fold(BTreeMap::new(), |mut count, noted| {
        *count.entry(kind(&noted.note)).or_default() += 1;
        count
    })
}

/// The text of a file's line, numbered as an editor does.
fn line(text: &str, number: usize) -> &str {
    text.split('\n').nth(number - 1).unwrap()
}

#[test]
fn a_german_row_becomes_a_station() {
    let import = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let first = &import.stations[0];
    assert_eq!(first.operator, "MVV Energie AG");
    assert_eq!(first.address, "Luisenring 49, 68159 Mannheim");
    assert_eq!(first.position, at(494_944_090, 84_680_980));
    assert_eq!(first.in_service_since.unwrap().to_string(), "2010-04-14");
    assert_eq!(first.availability, Availability::Unknown);
    assert_eq!(first.outlets.len(), 2);
    assert_eq!(first.outlets[0].connectors, set(&[Connector::Type2]));
    assert_eq!(first.outlets[1].connectors, set(&[Connector::Schuko]));
    assert_eq!(first.outlets[1].power, Some(Power::from_w(2_000)));
}

#[test]
fn a_field_may_hold_several_connectors_and_some_that_are_none() {
    let import = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let sets: Vec<Connectors> =
        import.stations.iter().flat_map(|station| &station.outlets).map(|outlet| outlet.connectors).collect();
    for several in [
        set(&[Connector::Ccs, Connector::Chademo]),
        set(&[Connector::Type2, Connector::Schuko]),
        set(&[Connector::Type2, Connector::Schuko, Connector::Cee3]),
    ] {
        assert!(sets.contains(&several), "{several}");
    }
    let strange: Vec<&Note> =
        import.noted.iter().map(|noted| &noted.note).filter(|note| kind(note) == "connector").collect();
    assert_eq!(strange, [&Note::Connector { outlet: 4, text: Excerpt::of("0") }; 2]);
    for noted in import.noted.iter().filter(|noted| kind(&noted.note) == "connector") {
        assert!(line(DE_EXTRACT, noted.line).contains("DC Kupplung Combo"), "the line is the row's");
    }
}

#[test]
fn devices_on_one_spot_are_one_station() {
    let import = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let stack = find(&import, |station| station.operator == "Energy Consulting Mai");
    let rows = DE_EXTRACT.lines().filter(|line| line.starts_with("Energy Consulting Mai;")).count();
    assert_eq!(rows, 31);
    assert_eq!(import.stations.iter().filter(|other| other.position == stack.position).count(), 1);
    assert!(stack.points() >= 31);
}

#[test]
fn a_position_outside_germany_is_reported_by_line() {
    let import = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let [outside] = import.rejected.as_slice() else { panic!("{:?}", import.rejected) };
    assert_eq!(outside.reason, Reason::OutsideCountry(at(506_815_190, 155_920_920)));
    assert!(
        line(DE_EXTRACT, outside.line).starts_with("envia Mitteldeutsche Energie AG;Arno-Schmidt-Straße 28;")
    );
    assert_eq!(import.rows_imported() + 1, import.rows);
    assert_eq!(import.rows, 94);
}

#[test]
fn meter_keys_are_read_in_every_form_of_the_register() {
    let import = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let keys: Vec<&MeterKey> = import
        .stations
        .iter()
        .flat_map(|station| &station.outlets)
        .filter_map(|outlet| outlet.meter_key.as_ref())
        .collect();
    let p192 = keys.iter().filter(|key| matches!(key, MeterKey::P192(_))).count();
    assert!(p192 >= 4 && keys.len() > p192 + 1, "{p192} of {}", keys.len());
    let broken: Vec<&MeterKeyError> = import
        .noted
        .iter()
        .filter_map(|noted| match &noted.note {
            Note::MeterKey { error, .. } => Some(error),
            _ => None,
        })
        .collect();
    assert!(broken.contains(&&MeterKeyError::Encoding), "91 hex digits: {broken:?}");
    assert!(broken.contains(&&MeterKeyError::Form { bytes: 46 }), "92 hex digits: {broken:?}");
    assert!(broken.contains(&&MeterKeyError::Form { bytes: 91 }), "a letter l for an I: {broken:?}");
    assert!(broken.contains(&&MeterKeyError::Form { bytes: 72 }), "a letter g among hex digits: {broken:?}");
}

#[test]
fn what_is_listed_counts_when_a_row_contradicts_itself() {
    let import = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let seen = notes(&import);
    assert_eq!(seen["half outlet"], 4, "{seen:?}");
    let three = find(&import, |station| station.operator == "symCharge GmbH");
    assert_eq!(three.outlets.len(), 3);
}

#[test]
fn a_french_row_becomes_a_station_without_power() {
    let import = french_irve(FR_EXTRACT.as_bytes()).unwrap();
    let first = &import.stations[0];
    assert_eq!(first.reference.as_deref(), Some("FR*ELC*PBORBL"));
    assert_eq!(
        (first.name.as_str(), first.operator.as_str()),
        ("Bordeaux - Novotel Bordeaux Lac", "ELECTRA")
    );
    assert_eq!(first.position, at(448_908_890, -5_671_110));
    assert_eq!(first.in_service_since.unwrap().to_string(), "2022-06-22");
    assert_eq!(first.points(), 8);
    assert_eq!(first.connectors(), set(&[Connector::Ccs]));
    assert!(import.stations.iter().all(|station| station.power_max().is_none()), "no power is made up");
}

#[test]
fn the_two_french_positions_outside_the_mainland_are_told_apart() {
    let import = french_irve(FR_EXTRACT.as_bytes()).unwrap();
    let [slip] = import.rejected.as_slice() else { panic!("{:?}", import.rejected) };
    assert_eq!(slip.reason, Reason::OutsideCountry(at(37_682_000, 12_945_600)), "Grenade has lost a 4");
    assert!(line(FR_EXTRACT, slip.line).contains("FR*S31*PQRKBCC"));
    let overseas = import.noted.iter().find(|noted| noted.note == Note::Overseas("La Réunion")).unwrap();
    assert!(line(FR_EXTRACT, overseas.line).contains("FR*E11*PLM974381"));
    let station = find(&import, |station| station.reference.as_deref() == Some("FR*E11*PLM974381"));
    assert_eq!(station.position, at(-209_016_170, 555_179_100));
}

#[test]
fn odd_french_rows_are_imported_and_noted() {
    let import = french_irve(FR_EXTRACT.as_bytes()).unwrap();
    assert_eq!(import.rows, 63);
    let seen = notes(&import);
    assert!(
        ["no connector", "date", "operator", "two-wheelers"].iter().all(|kind| seen.contains_key(kind)),
        "{seen:?}"
    );
    assert!(import.stations.iter().any(|station| station.address == "2 Bis route de Sémalens 81710 SAÏX"));
    let tesla = find(&import, |station| station.name == "Vierzon, France");
    assert_eq!((tesla.points(), tesla.connectors()), (28, Connectors::NONE), "unknown, not guessed");
    let [one, two] = [Note::OperatorFrom("nom_amenageur"), Note::OperatorFrom("nom_enseigne")];
    for note in [one, two] {
        assert!(import.noted.iter().any(|noted| noted.note == note), "{note}");
    }
}

/// A German file with these rows below its header; the first row is on line 5.
fn german(rows: &[u8]) -> Vec<u8> {
    let header: Vec<&str> = DE_EXTRACT.split_inclusive('\n').take(4).collect();
    [header.concat().as_bytes(), rows].concat()
}

const GOOD: &str = "A;Weg 1;1 Ort;Berlin;13,4;52,5;01.02.2018;22;N;1;AC Schuko;2,3;;;;;;;;;;\n";

fn import(rows: &str) -> Import {
    german_register(german(rows.as_bytes()).as_slice()).unwrap()
}

fn only_reason(rows: &str) -> Reason {
    let import = import(rows);
    assert_eq!(import.rejected.len(), 1, "{:?}", import.rejected);
    import.rejected[0].reason.clone()
}

#[test]
fn every_bad_row_has_a_reason_and_the_others_are_imported() {
    let bad: [(&str, &str, Reason); 8] = [
        ("52,5", "", Reason::Coordinate { column: "Breitengrad [DG]", text: Excerpt::of("") }),
        ("52,5", "52.5", Reason::Coordinate { column: "Breitengrad [DG]", text: Excerpt::of("52.5") }),
        ("13,4", "1340", Reason::Coordinate { column: "Längengrad [DG]", text: Excerpt::of("1340") }),
        ("13,4", "181,0", Reason::Coordinate { column: "Längengrad [DG]", text: Excerpt::of("181,0") }),
        ("13,4;52,5", "52,5;13,4", Reason::OutsideCountry(at(134_000_000, 525_000_000))),
        ("A;Weg", " ;Weg", Reason::Empty { column: "Betreiber" }),
        ("AC Schuko;2,3", ";", Reason::NoOutlet),
        (";Berlin;", ";", Reason::FieldCount { expected: 22, found: 21 }),
    ];
    for (good, replaced, reason) in bad {
        let row = GOOD.replace(good, replaced);
        let import = import(&format!("{GOOD}{row}{}", GOOD.replace("Weg 1", "Weg 2")));
        assert_eq!(import.rejected.len(), 1, "{row}");
        assert_eq!((import.rejected[0].line, &import.rejected[0].reason), (6, &reason), "{row}");
        assert_eq!((import.rows, import.rows_imported(), import.stations.len()), (3, 2, 2), "{row}");
    }
}

#[test]
fn a_field_that_a_station_can_do_without_is_left_out_and_noted() {
    for (good, replaced, note) in [
        ("01.02.2018", "31.02.2018", Note::Date(Excerpt::of("31.02.2018"))),
        ("2,3", "0", Note::Power { outlet: 1, text: Excerpt::of("0") }),
        ("2,3", "2.3", Note::Power { outlet: 1, text: Excerpt::of("2.3") }),
        ("2,3", "99999", Note::Power { outlet: 1, text: Excerpt::of("99999") }),
        ("AC Schuko", "Kurbel", Note::Connector { outlet: 1, text: Excerpt::of("Kurbel") }),
        ("13,4;52,5", "11,6;48,1", Note::OutsideState("Berlin")),
        (";1;AC", ";2;AC", Note::OutletCount { declared: Excerpt::of("2"), listed: 1 }),
        ("2,3;", "2,3;zz", Note::MeterKey { outlet: 1, error: MeterKeyError::Encoding }),
    ] {
        let import = import(&GOOD.replace(good, replaced));
        assert_eq!(import.noted.len(), 1, "{replaced}: {:?}", import.noted);
        assert_eq!((import.noted[0].line, &import.noted[0].note), (5, &note));
        assert_eq!(import.stations.len(), 1);
    }
}

#[test]
fn french_counts_and_references_are_checked() {
    let header = FR_EXTRACT.split_inclusive('\n').next().unwrap();
    let row = FR_EXTRACT.split_inclusive('\n').nth(1).unwrap();
    let import = |rows: &str| french_irve(format!("{header}{rows}").as_bytes()).unwrap();
    let twice = import(&format!("{row}{row}"));
    let duplicate = Reason::Duplicate { reference: Excerpt::of("FR*ELC*PBORBL"), line: 2 };
    assert_eq!((twice.rejected[0].line, &twice.rejected[0].reason), (3, &duplicate));
    for (points, reason) in [
        ("0", Reason::NoOutlet),
        ("-8", Reason::Count { column: "nbre_pdc", text: Excerpt::of("-8") }),
        ("70000", Reason::Count { column: "nbre_pdc", text: Excerpt::of("70000") }),
        ("8.0", Reason::Count { column: "nbre_pdc", text: Excerpt::of("8.0") }),
    ] {
        let changed = row.replace(",33063,8,", &format!(",33063,{points},"));
        // A row that is rejected does not take the reference away from one that follows.
        let import = import(&format!("{changed}{row}"));
        assert_eq!((import.rejected.len(), &import.rejected[0].reason), (1, &reason));
        assert_eq!(import.stations.len(), 1);
    }
}

#[test]
fn lines_are_numbered_as_an_editor_does() {
    let bad = GOOD.replace("52,5", "x");
    let unix = format!("\n\n{GOOD}\n{bad}");
    assert_eq!(import(&unix).rejected[0].line, 9);
    let windows = String::from_utf8(german(unix.as_bytes())).unwrap().replace('\n', "\r\n");
    assert_eq!(german_register(windows.as_bytes()).unwrap().rejected[0].line, 9);
    let key = GOOD.replace("2,3;", "2,3;\"00\n11\n22\"");
    assert_eq!(import(&format!("{key}{bad}")).rejected[0].line, 8, "a row on three lines comes before");
    let no_newline = bad.trim_end();
    assert_eq!(import(no_newline).rejected[0].line, 5);
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_change_nothing() {
    let plain = german_register(DE_EXTRACT.as_bytes()).unwrap();
    let mark = format!("\u{feff}{DE_EXTRACT}");
    assert_eq!(german_register(mark.as_bytes()).unwrap(), plain);
    let plain = french_irve(FR_EXTRACT.as_bytes()).unwrap();
    let mark = format!("\u{feff}{FR_EXTRACT}");
    assert_eq!(french_irve(mark.as_bytes()).unwrap(), plain, "the mark is not part of the first title");
    let unix = FR_EXTRACT.replace("\r\n", "\n");
    assert_eq!(french_irve(unix.as_bytes()).unwrap(), plain);
}

#[test]
fn bytes_that_are_not_utf8_are_reported_not_replaced() {
    let mut row = GOOD.as_bytes().to_vec();
    row[2] = 0xfc;
    let bytes = german(&[row, GOOD.as_bytes().to_vec()].concat());
    let import = german_register(bytes.as_slice()).unwrap();
    assert_eq!(import.rejected[0].reason, Reason::NotUtf8 { column: Excerpt::of("Adresse") });
    assert_eq!(import.stations.len(), 1);

    let latin1: Vec<u8> = DE_EXTRACT.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect();
    assert!(matches!(german_register(latin1.as_slice()), Err(ImportError::NotUtf8 { line: 1 })));
    let utf16: Vec<u8> = DE_EXTRACT.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(matches!(german_register(utf16.as_slice()), Err(ImportError::NotUtf8 { line: 1 })));
}

#[test]
fn a_file_that_is_not_the_register_is_a_clear_error() {
    for file in ["", "\n\n", "a;b;c\n1;2;3\n", FR_EXTRACT, "PK\u{3}\u{4}", "{\"stations\": []}"] {
        let error = german_register(file.as_bytes()).unwrap_err();
        assert!(matches!(error, ImportError::NoHeader { first: "Betreiber", .. }), "{error}");
        assert!(error.to_string().contains("Betreiber"));
    }
    let renamed = DE_EXTRACT.replacen("Breitengrad [DG]", "Breitengrad", 1);
    let error = german_register(renamed.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "line 4: the header lacks the column \"Breitengrad [DG]\"");
    let late = format!("{}{DE_EXTRACT}", "title\n".repeat(30));
    assert!(matches!(german_register(late.as_bytes()), Err(ImportError::NoHeader { .. })));
}

#[test]
fn a_quote_that_is_never_closed_does_not_swallow_the_rest() {
    let open = GOOD.replace("Weg 1", "\"Weg 1");
    let bytes = german(format!("{GOOD}{open}{GOOD}{GOOD}").as_bytes());
    let error = german_register(bytes.as_slice()).unwrap_err();
    assert!(matches!(error, ImportError::UnclosedQuote { line: 6 }), "{error}");

    // Closed by accident forty lines further on: one row, and its reason says how many lines it took.
    let closing = GOOD.replace("2,3;", "2,3;\"00\"");
    let import = import(&format!("{GOOD}{open}{}{closing}{GOOD}", GOOD.repeat(40)));
    assert_eq!((import.rejected[0].line, &import.rejected[0].reason), (6, &Reason::Lines(42)));
    assert_eq!(import.rows, 3);
}

#[test]
fn a_row_cannot_pretend_to_be_the_end() {
    let import = import(&format!("{GOOD}\u{3}end of file\u{3}\n{GOOD}"));
    assert_eq!(import.rejected[0].reason, Reason::FieldCount { expected: 22, found: 1 });
    assert_eq!(import.rows, 3);
}

#[test]
fn lengths_are_bounded() {
    let long = GOOD.replace("Weg 1", &"W".repeat(1025));
    assert_eq!(only_reason(&long), Reason::FieldTooLong { column: Excerpt::of("Adresse"), bytes: 1025 });
    assert!(import(&GOOD.replace("Weg 1", &"W".repeat(1024))).rejected.is_empty());
    let huge = std::io::Read::chain(DE_EXTRACT.as_bytes(), std::io::repeat(b'x'));
    assert!(matches!(german_register(huge), Err(ImportError::FileTooLong)));
    let wide = format!("{}\n{DE_EXTRACT}", ";".repeat(256));
    assert!(matches!(
        german_register(wide.as_bytes()),
        Err(ImportError::TooManyColumns { line: 1, found: 257 })
    ));
    let rows = german("x\n".repeat(1_000_001).as_bytes());
    assert!(matches!(german_register(rows.as_slice()), Err(ImportError::TooManyRows)));
    assert!(matches!(only_reason(&GOOD.replace("13,4", &"9".repeat(900))), Reason::Coordinate { text, .. }
        if text.as_str().len() == Excerpt::CHARS_MAX));
}

#[test]
fn a_source_that_fails_is_an_error() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
    }
    let source = std::io::Read::chain(DE_EXTRACT.as_bytes(), Broken);
    assert!(matches!(german_register(source), Err(ImportError::Read(_))));
}

#[test]
fn control_characters_do_not_reach_a_screen() {
    let import = import(&GOOD.replace("Weg 1", "Weg\u{1b}[2J\u{7}1"));
    assert_eq!(import.stations[0].address, "Weg[2J1, 1 Ort");
}

proptest! {
    #[test]
    fn any_damage_is_an_error_or_a_report(
        german in any::<bool>(),
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let text = if german { DE_EXTRACT } else { FR_EXTRACT };
        let mut bytes = text.as_bytes()[..=cut.index(text.len())].to_vec();
        for (hit, byte) in hits {
            let at = hit.index(bytes.len());
            bytes[at] = byte;
        }
        let result = if german { german_register(bytes.as_slice()) } else { french_irve(bytes.as_slice()) };
        if let Ok(import) = result {
            prop_assert!(import.stations.len() <= import.rows_imported());
            prop_assert!(import.stations.iter().all(|station| !station.outlets.is_empty()));
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
            prop_assert!(import.rejected.iter().all(|row| (1..=lines).contains(&row.line)));
        }
    }
}

#[test]
fn the_whole_german_register() {
    let Some(file) = common::register(common::DE_FILE) else { return };
    let import = german_register(file.as_slice()).unwrap();
    assert_eq!((import.rows, import.rejected.len()), (9_690, 1), "{:?}", import.rejected);
    let points: u32 = import.stations.iter().map(Station::points).sum();
    assert_eq!(points, 19_029 - 2, "the device outside Germany has two");
    assert_eq!(import.stations.len(), 8_814 - 1);
    let keys = import.stations.iter().flat_map(|station| &station.outlets);
    let keys: Vec<&MeterKey> = keys.filter_map(|outlet| outlet.meter_key.as_ref()).collect();
    let p192 = keys.iter().filter(|key| matches!(key, MeterKey::P192(_))).count();
    assert_eq!((p192, keys.len() - p192), (133, 272));
    let expected = [("connector", 2), ("half outlet", 4), ("meter key", 9), ("state", 23)];
    assert_eq!(
        notes(&import),
        BTreeMap::from(expected),
        "414 outlets have something in the field of the key"
    );
    assert!(import.stations.iter().flat_map(|station| &station.outlets).all(|outlet| outlet.power.is_some()));
}

#[test]
fn the_whole_french_register() {
    let Some(file) = common::register(common::FR_FILE) else { return };
    let import = french_irve(file.as_slice()).unwrap();
    assert_eq!((import.rows, import.rejected.len()), (10_469, 1), "{:?}", import.rejected);
    let points: u32 = import.stations.iter().map(Station::points).sum();
    assert_eq!(points, 32_557 - 2, "Grenade has two");
    let expected =
        [("date", 4), ("no connector", 353), ("operator", 887), ("overseas", 1), ("two-wheelers", 228)];
    assert_eq!(notes(&import), BTreeMap::from(expected));
    assert!(import.stations.iter().all(|station| station.power_max().is_none()));
}
