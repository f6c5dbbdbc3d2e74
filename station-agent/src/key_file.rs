//! Secret keys in files that only their owner can read: 64 hex digits and a line end.

use eyre::{Context, Result, bail};
use ohmesh_units::{SigningKey, from_hex, to_hex};
use std::{
    fs::OpenOptions,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};
use zeroize::Zeroizing;

/// A fresh key from the operating system's randomness.
pub fn generate() -> Result<SigningKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| eyre::eyre!("no randomness from the system: {error}"))?;
    Ok(SigningKey::from_seed(*seed))
}

/// Writes a key to a file that must not be there yet.
pub fn write(path: &Path, key: &SigningKey) -> Result<()> {
    let text = Zeroizing::new(to_hex(&*key.seed()) + "\n");
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("cannot make key file {}", path.display()))?;
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write key file {}", path.display()))
}

/// Reads a key; refuses a file that others can read.
pub fn read(path: &Path) -> Result<SigningKey> {
    let name = path.display();
    let metadata = std::fs::metadata(path).with_context(|| format!("cannot read key file {name}"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("key file {name} can be read by others (mode {mode:o}): chmod 600 {name}");
    }
    let text = Zeroizing::new(
        std::fs::read_to_string(path).with_context(|| format!("cannot read key file {name}"))?,
    );
    let seed = from_hex(text.trim_end()).with_context(|| format!("key file {name} does not hold a key"))?;
    Ok(SigningKey::from_seed(seed))
}
