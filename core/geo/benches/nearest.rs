//! Nearest 10, with and without a filter: the packed index, an R*-tree with a filter, and SQLite's R*Tree, in one run
//! on the same stations and the same queries, one after the other for each query.
//!
//! `cargo bench --profile ci -p ohmesh-geo --bench nearest`; without `--bench` it checks answers on a few queries only.
//! Every answer of all three is compared; a difference ends the run.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]

use ohmesh_geo::{Connector, Connectors, Entry, Filter, Index, Station, french_irve, german_register};
use ohmesh_units::{Position, Power};
use rstar::{RTree, primitives::GeomWithData};
use rusqlite::{Connection, params};
use std::hint::black_box;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Instant;

fn main() {
    let measure = std::env::args().any(|arg| arg == "--bench");
    let mut random = Random(7);
    let entries = entries(&mut random);
    let queries = if measure { 4_000 } else { 40 };
    let asks = Filter { connectors: Connector::Ccs.into(), power_min: Power::from_w(150_000), free: true };
    let passing = entries.iter().filter(|entry| passes(entry, &asks)).count();
    println!(
        "{} stations; filter: CCS, at least 150 kW, free: {passing} pass ({:.1} %)",
        entries.len(),
        100.0 * passing as f64 / entries.len() as f64
    );
    let filtered = round(&entries, queries, &mut random, &asks, true);
    if !measure {
        println!("answers agree; times need --bench");
        return;
    }
    let million = jittered(&entries, 1_000_000, &mut random);
    println!("\n{} stations: jittered copies of the above (SQLite left out)", million.len());
    round(&million, 2_000, &mut random, &asks, false);
    changes(&million, &mut random);
    assert!(filtered >= 20.0, "filtered, SQLite takes {filtered:.1} times as long: the aim is 20");
    println!(
        "\naim: filtered at least 20 times faster than SQLite's R*Tree at p50: {filtered:.0} times, met"
    );
}

/// Times all structures; the ratio of SQLite's filtered p50 to ours.
fn round(entries: &[Entry], queries: usize, random: &mut Random, asks: &Filter, sqlite: bool) -> f64 {
    let start = Instant::now();
    let (index, order) = Index::build(entries).unwrap();
    println!(
        "build: packed {:.0} ms, {:.1} bytes a station",
        start.elapsed().as_secs_f64() * 1e3,
        index.bytes() as f64 / entries.len() as f64
    );
    let start = Instant::now();
    let located = entries.iter().enumerate().map(|(at, entry)| GeomWithData::new(axes(entry.position), at));
    let tree = RTree::bulk_load(located.collect());
    println!("build: rstar {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let database = sqlite.then(|| database(entries));
    if sqlite {
        println!("build: SQLite R*Tree {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    }
    let from: Vec<Position> = (0..queries)
        .map(|_| {
            let at = entries[random.below(entries.len())].position;
            moved(at, 0.03 * random.normal(), 0.03 * random.normal())
        })
        .collect();
    let mut ratio = 0.0;
    for (name, filter) in [("nearest 10", Filter::ANY), ("nearest 10, filtered", *asks)] {
        let start_km = database.as_ref().map(|database| best_start_km(database, &from, &filter));
        let mut times = [vec![], vec![], vec![]];
        for &from in &from {
            let ours = timed(&mut times[0], || index.nearest(10, from, &filter));
            let theirs = timed(&mut times[1], || by_rstar(&tree, entries, from, &filter));
            let theirs: Vec<f64> = theirs.iter().map(|&at| metres(entries[at].position, from)).collect();
            let ours: Vec<f64> = ours
                .iter()
                .map(|hit| metres(entries[order[hit.slot as usize] as usize].position, from))
                .collect();
            assert!(agree(&ours, &theirs), "rstar differs at {from}: {ours:?} {theirs:?}");
            if let (Some(database), Some(start_km)) = (&database, start_km) {
                let theirs = timed(&mut times[2], || by_sqlite(database, from, &filter, start_km));
                assert!(agree(&ours, &theirs), "SQLite differs at {from}: {ours:?} {theirs:?}");
            }
        }
        let [ours, rstar, sqlite] = times.map(quantiles);
        println!("{name}: p50 / p99 us, and times as long as packed");
        println!("  packed        {:9.2} {:9.2}", ours.0, ours.1);
        println!(
            "  rstar         {:9.2} {:9.2}   {:.1} / {:.1}",
            rstar.0,
            rstar.1,
            rstar.0 / ours.0,
            rstar.1 / ours.1
        );
        if let Some(start_km) = start_km {
            let (p50, p99) = (sqlite.0 / ours.0, sqlite.1 / ours.1);
            println!(
                "  SQLite R*Tree {:9.2} {:9.2}   {p50:.1} / {p99:.1}   (radius doubles from {start_km} km, its best)",
                sqlite.0, sqlite.1
            );
            ratio = p50;
        }
    }
    ratio
}

/// Availability changes a second: a bit, a leaf, and the summaries above it.
fn changes(entries: &[Entry], random: &mut Random) {
    let (mut index, _) = Index::build(entries).unwrap();
    let changes: Vec<(u32, bool)> =
        (0..1_000_000).map(|_| (random.below(entries.len()) as u32, random.unit() < 0.3)).collect();
    let start = Instant::now();
    for &(slot, free) in &changes {
        index.set_free(slot, free).unwrap();
    }
    black_box(&index);
    println!("availability: {:.1} million changes a second", 1.0 / start.elapsed().as_secs_f64());
}

/// The German and French registers, or points that stand for them; says which, and what is made up.
fn entries(random: &mut Random) -> Vec<Entry> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("OHMESH_DATA").map_or_else(beside, PathBuf::from);
    let read = |file: &str| {
        let mut bytes = Vec::new();
        let packed = std::fs::File::open(data.join(file)).ok()?;
        flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let german = read("stations/de_bnetza_2019-07-19.csv.gz");
    let french = read("stations/fr_irve_stations_2022-12-05.csv.gz");
    let (Some(german), Some(french)) = (german, french) else {
        println!("MISSING: stations/*.csv.gz under {} (set OHMESH_DATA)", data.display());
        println!("all 20,000 stations are made up: 100 jittered clusters, connectors, powers, 30 % free");
        let clusters: Vec<Entry> = (0..100)
            .map(|_| {
                let degrees = |low: f64, span: f64, share: f64| ((low + span * share) * 1e7) as i32;
                let position =
                    Position::from_e7(degrees(43.0, 11.0, random.unit()), degrees(-1.0, 15.0, random.unit()))
                        .unwrap();
                let fast = random.unit() < 0.15;
                let connectors = if fast { Connector::Ccs } else { Connector::Type2 }.into();
                Entry { position, connectors, power_max: Some(power(connectors, random)), free: false }
            })
            .collect();
        let mut points = jittered(&clusters, 20_000, random);
        points.iter_mut().for_each(|entry| entry.free = random.unit() < 0.3);
        return points;
    };
    let german = german_register(german.as_slice()).unwrap().stations;
    let french = french_irve(french.as_slice()).unwrap().stations;
    println!(
        "real: positions, connectors, German powers ({} German, {} French stations)",
        german.len(),
        french.len()
    );
    println!("made up: French powers (CCS 50 to 300 kW, others 22 kW), and who is free (30 %)");
    let with_power = |station: &Station| {
        let entry = Entry::from(station);
        (entry, entry.power_max)
    };
    german
        .iter()
        .chain(&french)
        .map(with_power)
        .map(|(entry, known)| Entry {
            power_max: Some(known.unwrap_or_else(|| power(entry.connectors, random))),
            free: random.unit() < 0.3,
            ..entry
        })
        .collect()
}

fn power(connectors: Connectors, random: &mut Random) -> Power {
    let kw = if connectors.contains(Connector::Ccs) { [50, 150, 300][random.below(3)] } else { 22 };
    Power::from_w(kw * 1000)
}

fn jittered(entries: &[Entry], count: usize, random: &mut Random) -> Vec<Entry> {
    (0..count)
        .map(|n| {
            let entry = entries[n % entries.len()];
            if n < entries.len() {
                return entry;
            }
            Entry { position: moved(entry.position, 0.05 * random.normal(), 0.05 * random.normal()), ..entry }
        })
        .collect()
}

fn moved(position: Position, north: f64, east: f64) -> Position {
    let lat = f64::from(position.lat_e7()) + north * 1e7;
    let lon = f64::from(position.lon_e7()) + east * 1e7 / (lat * 1e-7).to_radians().cos();
    Position::from_e7(lat as i32, lon as i32).unwrap()
}

fn passes(entry: &Entry, filter: &Filter) -> bool {
    filter.admits(entry.connectors, entry.power_max) && (!filter.free || entry.free)
}

fn by_rstar(
    tree: &RTree<GeomWithData<[f64; 3], usize>>,
    entries: &[Entry],
    from: Position,
    filter: &Filter,
) -> Vec<usize> {
    tree.nearest_neighbor_iter(axes(from))
        .filter(|found| passes(&entries[found.data], filter))
        .take(10)
        .map(|found| found.data)
        .collect()
}

/// In memory, with everything that a query needs in the R*Tree itself: no join.
fn database(entries: &[Entry]) -> Connection {
    let mut database = Connection::open_in_memory().unwrap();
    database
        .execute_batch(
            "CREATE VIRTUAL TABLE station USING
             rtree(id, south, north, west, east, +lat, +lon, +connectors, +power, +free)",
        )
        .unwrap();
    let insertion = database.transaction().unwrap();
    {
        let mut insert =
            insertion.prepare("INSERT INTO station VALUES (?1, ?2, ?2, ?3, ?3, ?4, ?5, ?6, ?7, ?8)").unwrap();
        for (at, entry) in (0i64..).zip(entries) {
            let (lat, lon) = (entry.position.lat_e7(), entry.position.lon_e7());
            let degrees = |e7: i32| f64::from(e7) * 1e-7;
            insert
                .execute(params![
                    at,
                    degrees(lat),
                    degrees(lon),
                    lat,
                    lon,
                    entry.connectors.bits(),
                    entry.power_max.unwrap_or_default().as_w(),
                    entry.free
                ])
                .unwrap();
        }
    }
    insertion.commit().unwrap();
    database
}

/// Boxes of twice the radius each time, until ten stations lie within the radius.
fn by_sqlite(database: &Connection, from: Position, filter: &Filter, start_km: f64) -> Vec<f64> {
    let any = *filter == Filter::ANY;
    let mut select = database
        .prepare_cached(if any {
            "SELECT lat, lon FROM station WHERE south <= ?1 AND north >= ?2 AND west <= ?3 AND east >= ?4"
        } else {
            "SELECT lat, lon FROM station WHERE south <= ?1 AND north >= ?2 AND west <= ?3 AND east >= ?4
             AND connectors & ?5 AND power >= ?6 AND free"
        })
        .unwrap();
    let [lat, lon] = [from.lat_e7(), from.lon_e7()].map(|e7| f64::from(e7) * 1e-7);
    let middle = axes(from);
    let mut radius_km = start_km;
    loop {
        // Rows are compared by chord, so that each costs no more trigonometry than its own place.
        let limit = (2.0 * (radius_km * 1e3 / (2.0 * EARTH_RADIUS_M)).min(1.5).sin()).powi(2);
        let high = radius_km / 111.0;
        let wide = high / (lat.abs() + high).min(89.0).to_radians().cos();
        let mut found = Vec::new();
        let mut take = |mut rows: rusqlite::Rows<'_>| {
            while let Some(row) = rows.next().unwrap() {
                let at = Position::from_e7(row.get_unwrap(0), row.get_unwrap(1)).unwrap();
                let squared = chord_squared(axes(at), middle);
                if squared <= limit {
                    found.push(squared);
                }
            }
        };
        let bounds = [lat + high, lat - high, lon + wide, lon - wide];
        if any {
            take(select.query(bounds).unwrap());
        } else {
            let [n, s, e, w] = bounds;
            let power = filter.power_min.as_w();
            take(select.query(params![n, s, e, w, filter.connectors.bits(), power]).unwrap());
        }
        if found.len() >= 10 || radius_km > 20_100.0 {
            found.sort_by(f64::total_cmp);
            found.truncate(10);
            return found.into_iter().map(metres_of_chord_squared).collect();
        }
        radius_km *= 2.0;
    }
}

/// The first radius with which SQLite is fastest in the median, of a few tried on the first queries.
fn best_start_km(database: &Connection, from: &[Position], filter: &Filter) -> f64 {
    let median = |start_km: &f64| {
        let mut times = Vec::new();
        for &from in from.iter().take(200) {
            timed(&mut times, || by_sqlite(database, from, filter, *start_km));
        }
        quantiles(times).0
    };
    let starts = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];
    starts.into_iter().min_by(|a, b| median(a).total_cmp(&median(b))).unwrap()
}

fn timed<T>(times: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = black_box(work());
    times.push(start.elapsed().as_secs_f64() * 1e6);
    result
}

fn quantiles(mut times: Vec<f64>) -> (f64, f64) {
    if times.is_empty() {
        return (0.0, 0.0);
    }
    times.sort_by(f64::total_cmp);
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// Distances of the same stations, up to those that are equally near within a few centimetres.
fn agree(ours: &[f64], theirs: &[f64]) -> bool {
    ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(a, b)| (a - b).abs() < 0.05)
}

fn axes(position: Position) -> [f64; 3] {
    let [lat, lon] = [position.lat_e7(), position.lon_e7()].map(|e7| (f64::from(e7) * 1e-7).to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}

fn chord_squared(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum()
}

fn metres_of_chord_squared(squared: f64) -> f64 {
    2.0 * EARTH_RADIUS_M * (squared.sqrt() / 2.0).min(1.0).asin()
}

fn metres(a: Position, b: Position) -> f64 {
    metres_of_chord_squared(chord_squared(axes(a), axes(b)))
}

const EARTH_RADIUS_M: f64 = 6_371_008.8;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.unit() * limit as f64) as usize
    }

    /// Roughly normal: the sum of 12 uniforms, less 6.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
