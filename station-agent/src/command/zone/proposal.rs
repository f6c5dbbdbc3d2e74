//! A transaction in a file, on its way to those who sign it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use eyre::{Context, bail};
use ohmesh_ledger::{SignedTransaction, Verified};
use ohmesh_units::{Canonical, ZoneId};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file: only the canonical bytes, so that nothing in it can say another thing than what is signed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProposalFile {
    signed_transaction: String,
}

/// Reads a proposal of this zone and checks every signature in it.
pub(super) fn read(path: &Path, zone: &ZoneId) -> eyre::Result<SignedTransaction> {
    let name = || format!("proposal {}", path.display());
    let length = std::fs::metadata(path).with_context(name)?.len();
    if length > BYTES_MAX {
        bail!("{} has {length} bytes, which no proposal has", name());
    }
    let text = std::fs::read_to_string(path).with_context(name)?;
    let file: ProposalFile = toml::from_str(&text).with_context(name)?;
    let bytes = STANDARD.decode(file.signed_transaction).with_context(name)?;
    let signed = SignedTransaction::decode(&bytes).with_context(name)?;
    Ok(Verified::one(zone, signed).with_context(name)?.signed().clone())
}

/// Writes a proposal.
pub(super) fn write(path: &Path, signed: &SignedTransaction) -> eyre::Result<()> {
    let name = || format!("cannot write proposal {}", path.display());
    let file = ProposalFile { signed_transaction: STANDARD.encode(signed.encode()) };
    let text = format!(
        "# `station-agent zone sign` says in words what this is.\n{}",
        toml::to_string(&file).with_context(name)?
    );
    std::fs::write(path, text).with_context(name)
}

/// Longer than any decision of a zone's people: 32 validators with long names, and 33 signatures.
const BYTES_MAX: u64 = 64 << 10;
