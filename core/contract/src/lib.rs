//! Metered contract between a buyer and a station
