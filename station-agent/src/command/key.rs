//! `station-agent key`.

use super::print;
use crate::key_file;
use clap::Subcommand;
use ohmesh_units::{AccountId, PublicKey, SigningKey};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum KeyCommand {
    /// Make a fresh secret key in a new file that only you can read.
    New {
        /// The file; it must not exist.
        file: PathBuf,
    },
    /// Show the public key and account of a key file.
    Show {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Shown {
    public_key: PublicKey,
    account: AccountId,
}

pub(super) fn run(command: KeyCommand, json: bool) -> eyre::Result<()> {
    let key: SigningKey = match command {
        KeyCommand::New { file } => {
            let key = key_file::generate()?;
            key_file::write(&file, &key)?;
            key
        }
        KeyCommand::Show { file } => key_file::read(&file)?,
    };
    let shown = Shown { public_key: key.public(), account: AccountId::of(&key.public()) };
    print(json, &shown, || format!("public key  {}\naccount     {}", shown.public_key, shown.account))
}
