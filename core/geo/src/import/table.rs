//! A CSV file as numbered rows under a header that may come after title lines.

use super::{
    COLUMNS_MAX, Excerpt, FIELD_BYTES_MAX, FILE_BYTES_MAX, HEADER_ROWS_MAX, ImportError, ROW_LINES_MAX,
    ROWS_MAX, Reason,
};
use csv::ByteRecord;
use std::io::Read;

/// One row: the fields of the columns that were asked for.
pub(super) struct Row<'a> {
    pub(super) line: usize,
    columns: &'a [usize],
    fields: Vec<&'a str>,
}

impl Row<'_> {
    /// The field of the `column`-th of the columns that the file was read for.
    pub(super) fn field(&self, column: usize) -> &str {
        self.fields[self.columns[column]]
    }
}

/// Reads a whole file, separated by `delimiter`, whose header has all of `columns`, and gives `take` each row below
/// the header with its line, or why it cannot be used. Only the file's bytes and one row are held.
pub(super) fn read(
    source: impl Read,
    delimiter: u8,
    columns: &[&'static str],
    mut take: impl FnMut(usize, Result<Row<'_>, Reason>),
) -> Result<(), ImportError> {
    let bytes = whole(source)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(bytes.as_slice());
    let mut lines = Lines { bytes: &bytes, at: 0, line: 1 };
    let mut record = ByteRecord::new();
    let mut header: Option<Header> = None;
    let (mut titles, mut rows) = (0, 0);
    loop {
        let start = reader.position().byte();
        if !reader.read_byte_record(&mut record)? {
            break;
        }
        let (line, spans) = lines.advance(start, reader.position().byte());
        if reader.position().byte() >= length {
            if record.len() == 1 && &record[0] == LAST_ROW {
                break;
            }
            return Err(ImportError::UnclosedQuote { line });
        }
        match &header {
            None if titles == HEADER_ROWS_MAX => break,
            None => {
                titles += 1;
                header = Header::find(&record, line, columns)?;
            }
            Some(_) if rows == ROWS_MAX => return Err(ImportError::TooManyRows),
            Some(header) => {
                rows += 1;
                take(line, header.row(&record, line, spans));
            }
        }
    }
    let (first, last) = (columns[0], columns[columns.len() - 1]);
    header.map(|_| ()).ok_or(ImportError::NoHeader { first, last })
}

/// All bytes of the source, and a last row of our own.
///
/// The reader takes an open quote at the end of a file for closed, and with it all that follows the quote for one
/// field. A last row that we know comes back whole only if no quote is open.
fn whole(source: impl Read) -> Result<Vec<u8>, ImportError> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    source.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(ImportError::FileTooLong);
    }
    bytes.push(b'\n');
    bytes.extend_from_slice(LAST_ROW);
    Ok(bytes)
}

struct Header {
    titles: Vec<Excerpt>,
    columns: Vec<usize>,
}

impl Header {
    /// `None` for a title line: it lacks the first and the last column.
    fn find(record: &ByteRecord, line: usize, columns: &[&'static str]) -> Result<Option<Self>, ImportError> {
        if record.len() > COLUMNS_MAX {
            return Err(ImportError::TooManyColumns { line, found: record.len() });
        }
        let titles: Vec<&str> = record
            .iter()
            .map(|field| std::str::from_utf8(field).map(str::trim))
            .collect::<Result<_, _>>()
            .map_err(|_| ImportError::NotUtf8 { line })?;
        let find = |column: &str| titles.iter().position(|&title| title == column);
        if find(columns[0]).is_none() && find(columns[columns.len() - 1]).is_none() {
            return Ok(None);
        }
        let columns = columns
            .iter()
            .map(|&column| find(column).ok_or(ImportError::MissingColumn { line, column }))
            .collect::<Result<_, _>>()?;
        Ok(Some(Self { titles: titles.into_iter().map(Excerpt::of).collect(), columns }))
    }

    fn row<'a>(&'a self, record: &'a ByteRecord, line: usize, spans: usize) -> Result<Row<'a>, Reason> {
        if spans > ROW_LINES_MAX {
            return Err(Reason::Lines(spans));
        }
        if record.len() != self.titles.len() {
            return Err(Reason::FieldCount { expected: self.titles.len(), found: record.len() });
        }
        let parse = |(field, title): (&'a [u8], &Excerpt)| {
            if field.len() > FIELD_BYTES_MAX {
                return Err(Reason::FieldTooLong { column: title.clone(), bytes: field.len() });
            }
            std::str::from_utf8(field).map_err(|_| Reason::NotUtf8 { column: title.clone() })
        };
        let fields = record.iter().zip(&self.titles).map(parse).collect::<Result<_, _>>()?;
        Ok(Row { line, columns: &self.columns, fields })
    }
}

/// Turns the byte ranges of records into lines as an editor numbers them.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line on which the record in `start..end` starts, and how many lines it spans. Line ends before the record
    /// belong to blank lines or to the record before; the reader counts them to this one.
    fn advance(&mut self, start: u64, end: u64) -> (usize, usize) {
        let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.bytes.len());
        let (start, end) = (clamp(start), clamp(end));
        let range = self.bytes.get(start..end).unwrap_or_default();
        let blank = range.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n')).count();
        let first = start + blank;
        self.line += count_lines(&self.bytes[self.at..first]);
        self.at = first;
        let content = range[blank..].trim_ascii_end();
        (self.line, 1 + count_lines(content))
    }
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

/// A row that no register has.
const LAST_ROW: &[u8] = b"\x03end of file\x03";
