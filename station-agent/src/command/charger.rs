//! `station-agent charger`.

use super::print;
use crate::charging::{PasswordHash, generate};
use clap::Subcommand;
use eyre::eyre;
use ohmesh_ocpp::ChargerName;
use serde::Serialize;

#[derive(Subcommand)]
pub(super) enum ChargerCommand {
    /// Make a fresh password for a charger. It is shown once: the configuration keeps its hash.
    Password {
        /// The charger's name: the last part of its URL, and its user.
        name: String,
    },
}

#[derive(Serialize)]
struct Made<'n> {
    name: &'n str,
    password: &'n str,
    password_hash: String,
}

pub(super) fn run(command: ChargerCommand, json: bool) -> eyre::Result<()> {
    let ChargerCommand::Password { name } = command;
    let named = ChargerName::new(&name)
        .map_err(|_| eyre!("{name:?}: 1 to 48 letters, digits and *-_=|@. are a charger's name"))?;
    let password = generate()?;
    let password_hash = PasswordHash::of(&named, password.as_bytes()).to_string();
    let made = Made { name: &name, password: &password, password_hash };
    print(json, &made, || {
        format!(
            "password       {}   (for the charger; not shown again)\npassword_hash  {}   (for its [[charger]] table)",
            made.password, made.password_hash
        )
    })
}
