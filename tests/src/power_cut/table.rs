//! What came of the images, counted.

use super::Style;
use std::{collections::BTreeMap, fmt};

/// What came of one image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It opened, everything acknowledged was there, and the program went on.
    Whole,
    /// Something acknowledged was gone or different; what.
    Lost(String),
    /// It did not open, or the program could not go on; why.
    Unreadable(String),
}

/// Images by store and style.
#[derive(Default, Debug)]
pub struct Table {
    rows: BTreeMap<(String, Style), Row>,
    complaints: Vec<String>,
}

#[derive(Default, Debug)]
struct Row {
    whole: u64,
    lost: u64,
    unreadable: u64,
}

impl Table {
    /// Complaints kept in words at most; the rest are counted.
    const COMPLAINTS_MAX: usize = 8;

    /// Counts one image; `which` tells how to build it again.
    pub fn count(&mut self, store: &str, style: Style, which: impl fmt::Display, verdict: Verdict) {
        let row = self.rows.entry((store.to_owned(), style)).or_default();
        let reason = match verdict {
            Verdict::Whole => return row.whole += 1,
            Verdict::Lost(what) => {
                row.lost += 1;
                format!("lost: {what}")
            }
            Verdict::Unreadable(why) => {
                row.unreadable += 1;
                format!("unreadable: {why}")
            }
        };
        if self.complaints.len() < Self::COMPLAINTS_MAX {
            self.complaints.push(format!("{store}, {style}, {which}: {reason}"));
        }
    }

    /// Adds another table's counts.
    pub fn merge(&mut self, other: Self) {
        for (key, Row { whole, lost, unreadable }) in other.rows {
            let row = self.rows.entry(key).or_default();
            row.whole += whole;
            row.lost += lost;
            row.unreadable += unreadable;
        }
        let room = Self::COMPLAINTS_MAX.saturating_sub(self.complaints.len());
        self.complaints.extend(other.complaints.into_iter().take(room));
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.rows.values().map(|row| row.whole + row.lost + row.unreadable).sum()
    }

    /// Images counted for one store.
    pub fn images_of(&self, store: &str) -> u64 {
        let rows = self.rows.iter().filter(|((of, _), _)| of == store);
        rows.map(|(_, row)| row.whole + row.lost + row.unreadable).sum()
    }

    /// Images in which something acknowledged was gone.
    pub fn lost(&self) -> u64 {
        self.rows.values().map(|row| row.lost).sum()
    }

    /// Images that did not open.
    pub fn unreadable(&self) -> u64 {
        self.rows.values().map(|row| row.unreadable).sum()
    }

    /// Panics unless every image was whole.
    pub fn assert_whole(&self) {
        assert!(self.lost() == 0 && self.unreadable() == 0, "{self}\n{}", self.complaints.join("\n"));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<28}{:<10}{:>8}{:>8}{:>8}{:>12}",
            "store", "unsynced", "images", "opened", "lost", "unreadable"
        )?;
        for ((store, style), Row { whole, lost, unreadable }) in &self.rows {
            let (images, opened) = (whole + lost + unreadable, whole + lost);
            writeln!(f, "{store:<28}{style:<10}{images:>8}{opened:>8}{lost:>8}{unreadable:>12}")?;
        }
        Ok(())
    }
}
