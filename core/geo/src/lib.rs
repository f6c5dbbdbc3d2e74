//! Where the stations are: a catalogue from public registers, the index that answers "which near me can serve me",
//! the areas that drivers name instead of positions, and the polygons of zones.
//!
//! What it is: data and searches in memory. A phone holds the whole catalogue (70,000 stations are about 2 MB of
//! index) and searches it itself, so that looking for a station tells nobody where the driver is. Only an [`Area`]
//! leaves the phone.
//!
//! What it never does: I/O. Importers take a reader, give stations and a report, and open nothing. It makes nothing
//! up: a power, a connector or an operator that a register does not name is unknown, and stays unknown.
//!
//! How data moves:
//!
//! ```text
//!   register's CSV --german_register, french_irve--> Import: stations | rejected rows | notes, by line
//!                                                       |
//!                                                   Catalogue = stations + Index (packed tree of points in space)
//!   position + Filter --nearest, within----------------'|--> Found: station, distance
//!   position ----------choose_area----------------------'--> Area (H3 cell, at least 20 stations) --frame--> Frame
//!   peers that move ---Peers (R*-tree)---> nearest
//!   ring of positions --ZonePolygon--> contains             two positions --geodesic_m--> metres to show
//! ```
//!
//! Distances in space replace latitude and longitude everywhere: planar degrees get most real queries wrong.
//!
//! ```
//! use ohmesh_geo::{Catalogue, Connector, Filter, german_register};
//! use ohmesh_units::{Position, Power};
//!
//! let csv = "Betreiber;Adresse;Postleitzahl Ort;Bundesland;Längengrad [DG];Breitengrad [DG];Inbetriebnahmedatum;\
//!            Anzahl Ladepunkte;Steckertypen1;P1 [kW];Public Key1;Steckertypen2;P2 [kW];Public Key2;\
//!            Steckertypen3;P3 [kW];Public Key3;Steckertypen4;P4 [kW];Public Key4\n\
//!            Stadtwerke;Am Markt 1;10178 Berlin;Berlin;13,40;52,52;14.04.2018;1;DC Kupplung Combo;50;;;;;;;;;;\n\
//!            Stadtwerke;Nirgendwo 1;10178 Berlin;Berlin;1340;52,52;14.04.2018;1;DC Kupplung Combo;50;;;;;;;;;;\n";
//! let import = german_register(csv.as_bytes())?;
//! assert_eq!(import.rejected[0].to_string(), r#"line 3: skipped: Längengrad [DG]: "1340" is no coordinate"#);
//!
//! let catalogue = Catalogue::new(import.stations)?;
//! let filter =
//!     Filter { connectors: Connector::Ccs.into(), power_min: Power::from_w(50_000), ..Filter::ANY };
//! let near = catalogue.nearest(10, Position::from_e7(525_000_000, 134_000_000)?, &filter);
//! assert_eq!(near[0].station.operator, "Stadtwerke");
//! assert_eq!(near[0].distance_m.round(), 2224.0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Area`]: ohmesh_units::Area

#![deny(missing_docs)]

mod area;
mod catalogue;
mod import;
mod index;
mod peers;
mod sphere;
mod station;
mod zone;

pub use area::{
    AREA_RESOLUTION_FINEST, AREA_STATIONS_MIN, AreaChoiceError, FRAME_SPAN_DEGREES_MAX, area_at, choose_area,
    frame,
};
pub use catalogue::{Catalogue, Found};
pub use import::{
    COLUMNS_MAX, Excerpt, FIELD_BYTES_MAX, FILE_BYTES_MAX, HEADER_ROWS_MAX, Import, ImportError, Note, Noted,
    OUTLETS_MAX, POWER_W_MAX, ROW_LINES_MAX, ROWS_MAX, Reason, Rejected, french_irve, german_register,
};
pub use index::{ENTRIES_MAX, Entry, Filter, Hit, Index, NEAREST_MAX, TooManyEntries};
pub use peers::{PEERS_MAX, Peers, TooManyPeers};
pub use sphere::geodesic_m;
pub use station::{
    Availability, Connector, Connectors, ConnectorsError, Date, DateError, MeterKey, MeterKeyError, Outlet,
    Station,
};
pub use zone::{ZONE_POINTS_MAX, ZoneError, ZonePolygon};
