//! Importers: a public register's CSV in, stations out, and a line for everything that could not be used.
//!
//! ```text
//!   bytes --table--> rows --one register's rules--> Station
//!                      |                               '--> Noted     the row is in, one field of it is not
//!                      '--> Rejected                                  the row is out
//! ```
//!
//! A row is never dropped without a line, and nothing is made up: a power that a register does not publish is `None`.
//! `rows = rows imported + rejected` holds for every import.
//!
//! | bound | value | beyond it |
//! |---|---|---|
//! | file | [`FILE_BYTES_MAX`] | the import fails |
//! | columns | [`COLUMNS_MAX`] | the import fails |
//! | rows | [`ROWS_MAX`] | the import fails |
//! | lines of one row | [`ROW_LINES_MAX`] | the row is rejected: most likely a quote was never closed |
//! | bytes of one field | [`FIELD_BYTES_MAX`] | the row is rejected |

mod field;
mod french;
mod german;
mod table;

pub use french::french_irve;
pub use german::german_register;

use crate::{MeterKeyError, Station};
use ohmesh_units::Position;
use std::fmt;

/// What an importer made of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Import {
    /// The stations, in the order in which the file first names them.
    pub stations: Vec<Station>,
    /// Rows of data that were read.
    pub rows: usize,
    /// Rows that are not in `stations`, in file order.
    pub rejected: Vec<Rejected>,
    /// Rows that are in `stations` although something about them is odd or was left out, in file order.
    pub noted: Vec<Noted>,
}

impl Import {
    /// Rows that became a station or a part of one.
    pub fn rows_imported(&self) -> usize {
        self.rows - self.rejected.len()
    }
}

/// A row that was not imported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: skipped: {reason}")]
pub struct Rejected {
    /// The line of the file on which the row starts, from 1.
    pub line: usize,
    /// Why.
    pub reason: Reason,
}

/// Why a row was not imported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Reason {
    /// Another number of fields than the header has.
    #[error("{found} fields where the header has {expected}")]
    FieldCount {
        /// Fields of the header.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
    /// The row spans too many lines.
    #[error("spans {0} lines: a quote is probably not closed")]
    Lines(usize),
    /// A field is longer than [`FIELD_BYTES_MAX`].
    #[error("{column}: {bytes} bytes are too many")]
    FieldTooLong {
        /// Title of the column.
        column: Excerpt,
        /// Bytes of the field.
        bytes: usize,
    },
    /// A field is not UTF-8.
    #[error("{column}: not UTF-8")]
    NotUtf8 {
        /// Title of the column.
        column: Excerpt,
    },
    /// A field that a station cannot do without is empty.
    #[error("{column}: empty")]
    Empty {
        /// Title of the column.
        column: &'static str,
    },
    /// A coordinate is no decimal number in the register's notation, or none of the globe.
    #[error("{column}: {text:?} is no coordinate")]
    Coordinate {
        /// Title of the column.
        column: &'static str,
        /// What it says.
        text: Excerpt,
    },
    /// The position lies in no part of the register's country.
    #[error("position {0} is outside the country")]
    OutsideCountry(Position),
    /// A number is none, or beyond what a station can have.
    #[error("{column}: {text:?} is no count of outlets")]
    Count {
        /// Title of the column.
        column: &'static str,
        /// What it says.
        text: Excerpt,
    },
    /// The row names no outlet.
    #[error("no outlet")]
    NoOutlet,
    /// Another row has the same reference.
    #[error("{reference:?} is already on line {line}")]
    Duplicate {
        /// The number in the register.
        reference: Excerpt,
        /// The line of the first row with it.
        line: usize,
    },
}

/// Something odd about a row that was imported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {note}")]
pub struct Noted {
    /// The line of the file on which the row starts, from 1.
    pub line: usize,
    /// What.
    pub note: Note,
}

/// What is odd about a row that was imported.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Note {
    /// A connector that we do not know; it was left out.
    #[error("outlet {outlet}: connector {text:?} is unknown")]
    Connector {
        /// Which outlet of the row, from 1.
        outlet: usize,
        /// What it says.
        text: Excerpt,
    },
    /// The row names no connector; the station's are unknown.
    #[error("names no connector")]
    NoConnector,
    /// A power that is no number or beyond [`POWER_W_MAX`]; the outlet's power is unknown.
    #[error("outlet {outlet}: {text:?} is no power")]
    Power {
        /// Which outlet of the row, from 1.
        outlet: usize,
        /// What it says.
        text: Excerpt,
    },
    /// A power or a meter key without a connector; there is no such outlet.
    #[error("outlet {outlet} has a power or a key but no connector")]
    HalfOutlet {
        /// Which outlet of the row, from 1.
        outlet: usize,
    },
    /// The number of outlets is not the number that the row says; those it lists count.
    #[error("says {declared:?} outlets and lists {listed}")]
    OutletCount {
        /// What it says.
        declared: Excerpt,
        /// How many it lists.
        listed: usize,
    },
    /// A meter key that could not be read; the outlet has none.
    #[error("outlet {outlet}: {error}")]
    MeterKey {
        /// Which outlet of the row, from 1.
        outlet: usize,
        /// Why.
        error: MeterKeyError,
    },
    /// A date that is none; it was left out.
    #[error("{0:?} is no date of a station")]
    Date(Excerpt),
    /// The position lies outside the federal state that the row names: one of the two is wrong.
    #[error("position is outside {0}")]
    OutsideState(&'static str),
    /// The station stands in an overseas department.
    #[error("stands in {0}, overseas")]
    Overseas(&'static str),
    /// The row names no operator; another column stands for it.
    #[error("operator taken from {0}")]
    OperatorFrom(&'static str),
    /// The row says that the station is for two-wheelers. Cars may find a connector that fits all the same.
    #[error("marked as a station for two-wheelers")]
    TwoWheelers,
}

/// Why a file could not be imported at all.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source failed.
    #[error("the file cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// More bytes than [`FILE_BYTES_MAX`].
    #[error("the file has more than {FILE_BYTES_MAX} bytes")]
    FileTooLong,
    /// More rows than [`ROWS_MAX`].
    #[error("the file has more than {ROWS_MAX} rows")]
    TooManyRows,
    /// The first lines hold no header.
    #[error("no header with the columns {first:?} and {last:?} in the first {HEADER_ROWS_MAX} rows")]
    NoHeader {
        /// The first column that the register's header has.
        first: &'static str,
        /// The last.
        last: &'static str,
    },
    /// The header lacks a column.
    #[error("line {line}: the header lacks the column {column:?}")]
    MissingColumn {
        /// The line of the header.
        line: usize,
        /// Title of the column.
        column: &'static str,
    },
    /// The header or a title line has more fields than [`COLUMNS_MAX`].
    #[error("line {line}: {found} columns; a register has at most {COLUMNS_MAX}")]
    TooManyColumns {
        /// The line.
        line: usize,
        /// Fields on it.
        found: usize,
    },
    /// The header or a title line before it is not UTF-8, so no other line can be trusted to be.
    #[error("line {line}: not UTF-8 (saved as Latin-1, UTF-16 or a spreadsheet?)")]
    NotUtf8 {
        /// The line.
        line: usize,
    },
    /// A quote is opened and the file ends before it is closed.
    #[error("line {line}: a quote is opened in this row and never closed")]
    UnclosedQuote {
        /// The line on which the row starts.
        line: usize,
    },
    /// The CSV reader gave up.
    #[error("not readable as CSV: {0}")]
    Csv(#[from] csv::Error),
}

/// The beginning of a field, for a message: at most [`Excerpt::CHARS_MAX`] characters.
#[derive(Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// Characters that are kept.
    pub const CHARS_MAX: usize = 40;

    /// The beginning of `text`.
    pub fn of(text: &str) -> Self {
        Self(text.chars().take(Self::CHARS_MAX).collect())
    }

    /// The kept text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A rectangle of latitudes and longitudes that a country, or a part of it, lies in. It takes in border regions of
/// the neighbours: it finds slips of the pen, not border disputes.
struct Bounds {
    south_e7: i32,
    north_e7: i32,
    west_e7: i32,
    east_e7: i32,
}

impl Bounds {
    /// From hundredths of a degree: south, north, west, east. None crosses the antimeridian.
    const fn new([south, north, west, east]: [i32; 4]) -> Self {
        Self {
            south_e7: south * 100_000,
            north_e7: north * 100_000,
            west_e7: west * 100_000,
            east_e7: east * 100_000,
        }
    }

    fn contain(&self, position: Position) -> bool {
        (self.south_e7..=self.north_e7).contains(&position.lat_e7())
            && (self.west_e7..=self.east_e7).contains(&position.lon_e7())
    }
}

/// The most bytes of one file: ten times the German register of 2025.
pub const FILE_BYTES_MAX: usize = 256 << 20;

/// The most rows of one file.
pub const ROWS_MAX: usize = 1_000_000;

/// The most bytes of one field; the longest real one has 265.
pub const FIELD_BYTES_MAX: usize = 1024;

/// The most columns of one file; the widest real one has 34.
pub const COLUMNS_MAX: usize = 256;

/// The most lines that one row may span; the longest real one, a meter key on four lines, has 4.
pub const ROW_LINES_MAX: usize = 16;

/// The header stands in one of the first rows of a file, after titles.
pub const HEADER_ROWS_MAX: usize = 20;

/// No outlet gives more: 5 MW. (The megawatt charging system ends at 3.75 MW.)
pub const POWER_W_MAX: u32 = 5_000_000;

/// No station has more outlets; the largest real one has 505.
pub const OUTLETS_MAX: u16 = 10_000;
