//! The agent's configuration: a TOML file, overruled by `OHMESH_*` variables, overruled by flags. Unknown keys are errors.

use eyre::{Context, Result, bail, eyre};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use ohmesh_committee::{Pace, Timeouts};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Everything that can be configured. Relative paths are relative to the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The zone file.
    pub zone_file: PathBuf,
    /// The file of the agent's secret key.
    pub key_file: PathBuf,
    /// The folder of its logs.
    pub data_dir: PathBuf,
    /// Where it listens, for agents and phones alike (QUIC over UDP).
    pub listen: SocketAddr,
    /// From block to block while transactions wait, in milliseconds: 10 to 60,000.
    pub block_ms: u64,
    /// From block to block while none wait, in milliseconds: at least `block_ms`, at most 600,000.
    pub idle_block_ms: u64,
    /// How many times shorter than usual the committee waits for its members: 1 to 100. Test networks on one machine.
    pub clock_factor: u64,
    /// What is logged: error, warn, info, debug or trace.
    pub log: String,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            zone_file: "zone.toml".into(),
            key_file: "agent.key".into(),
            data_dir: "data".into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 7700)),
            block_ms: 1_000,
            idle_block_ms: 10_000,
            clock_factor: 1,
            log: "info".into(),
        }
    }
}

impl AgentConfig {
    /// Reads the file, if there is one, then the environment; `flags` come last.
    pub fn load(path: &Path, flags: &impl Serialize) -> Result<Self> {
        let name = path.display();
        if !path.is_file() {
            bail!("there is no configuration file {name}");
        }
        let read = |figment: Figment| figment.extract::<Self>();
        let figment = Figment::from(Serialized::defaults(Self::default()))
            .merge(Toml::file_exact(path))
            .merge(Env::prefixed("OHMESH_"))
            .merge(Serialized::defaults(flags));
        let mut config = read(figment).map_err(|error| eyre!("configuration {name}: {error}"))?;
        config.check().with_context(|| format!("configuration {name}"))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for file in [&mut config.zone_file, &mut config.key_file, &mut config.data_dir] {
            *file = folder.join(&*file);
        }
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        if !(10..=60_000).contains(&self.block_ms) {
            bail!("block_ms is {}, 10 to 60000 are allowed", self.block_ms);
        }
        if !(self.block_ms..=600_000).contains(&self.idle_block_ms) {
            bail!(
                "idle_block_ms is {}, {} (block_ms) to 600000 are allowed",
                self.idle_block_ms,
                self.block_ms
            );
        }
        if !(1..=100).contains(&self.clock_factor) {
            bail!("clock_factor is {}, 1 to 100 are allowed", self.clock_factor);
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log.as_str()) {
            bail!("log is {:?}: error, warn, info, debug or trace are allowed", self.log);
        }
        Ok(())
    }

    /// How often there is a block.
    pub fn pace(&self) -> Pace {
        Pace { busy_ms: self.block_ms, idle_ms: self.idle_block_ms }
    }

    /// How long the committee waits.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts::default().divided_by(self.clock_factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<AgentConfig> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        AgentConfig::load(&path, &serde_json::json!({}))
    }

    #[test]
    fn bad_configurations_name_what_is_wrong() {
        for (text, named) in [
            ("zone_fil = \"x\"", "zone_fil"),
            ("block_ms = 5", "block_ms"),
            ("block_ms = \"soon\"", "block_ms"),
            ("idle_block_ms = 500", "idle_block_ms"),
            ("clock_factor = 0", "clock_factor"),
            ("listen = \"nowhere\"", "listen"),
            ("log = \"loud\"", "log"),
            ("= 3", "agent.toml"),
        ] {
            let error = format!("{:#}", load(text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = load("log = \"warn\"").unwrap();
        assert!(config.zone_file.ends_with("zone.toml") && config.zone_file.is_absolute());
    }
}
