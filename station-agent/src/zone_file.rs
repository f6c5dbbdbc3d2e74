//! Zone files as people keep them: TOML, with the same content as the signed bytes.

use eyre::{Context, Result, bail};
use ohmesh_ledger::ZoneFile;
use ohmesh_units::Canonical;
use std::path::Path;

/// Reads a zone file and checks it; it may lack signatures.
pub fn read(path: &Path) -> Result<ZoneFile> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read zone file {name}"))?;
    // Text is at most some times longer than the signed bytes.
    if metadata.len() > 8 * ZoneFile::MAX_BYTES as u64 {
        bail!("zone file {name} has {} bytes, which no zone has", metadata.len());
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read zone file {name}"))?;
    let file: ZoneFile = toml::from_str(&text).with_context(|| format!("zone file {name}"))?;
    file.check().with_context(|| format!("zone file {name}"))?;
    Ok(file)
}

/// Writes a zone file whole or not at all: beside it first, then over it.
pub fn write(path: &Path, file: &ZoneFile) -> Result<()> {
    let name = path.display();
    let text = toml::to_string(file).with_context(|| format!("zone file {name}"))?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::File::open(&beside)?.sync_all())
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write zone file {name}"))
}
