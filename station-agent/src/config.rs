//! The agent's configuration: a TOML file, overruled by `OHMESH_*` variables, overruled by flags. Unknown keys are errors.

use crate::{
    agent::Keep,
    charging::{PasswordHash, Registered},
    seller::SellerStation,
    stations::{StationConfig, sellers},
};
use eyre::{Context, Result, bail, ensure, eyre};
use figment::{
    Figment,
    providers::{Env, Format, Serialized, Toml},
};
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ocpp::{
    ChargerName,
    session::{MAX_OUTLETS, Outlet},
};
use ohmesh_units::{Power, SigningKey};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
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
    /// After how many blocks the agent writes a snapshot of the whole state; 0: never, and every block is kept.
    pub snapshot_blocks: u64,
    /// How many days of blocks it keeps; those after the older of its two snapshots it keeps anyway. 1 to 36,500.
    pub keep_days: u64,
    /// What is logged: error, warn, info, debug or trace.
    pub log: String,
    /// Where chargers connect (OCPP over WebSocket, TCP); none: no charger does.
    pub ocpp_listen: Option<SocketAddr>,
    /// The chargers that may connect.
    pub charger: Vec<ChargerConfig>,
    /// The stations at which it sells.
    pub station: Vec<StationConfig>,
}

/// One charger that may connect: a `[[charger]]` table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargerConfig {
    /// Its name: the last part of its URL, and its user.
    pub name: String,
    /// The hash of its password: `station-agent charger password NAME` makes both.
    pub password_hash: String,
    /// Its outlets.
    pub outlets: Vec<OutletConfig>,
    /// Tokens of the operator's own, which may always charge here without a contract: at most 64, of 1 to 36 characters.
    #[serde(default)]
    pub cards: Vec<String>,
}

/// One outlet of a charger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutletConfig {
    /// Its number, from 1; the connector's number in OCPP 1.6.
    pub evse: u16,
    /// The most power it can deliver, in watts: 1 to 2,000,000.
    pub power_w: u32,
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
            snapshot_blocks: Keep::default().snapshot_blocks,
            keep_days: Keep::default().blocks_for.as_secs() / DAY_SECONDS,
            log: "info".into(),
            ocpp_listen: None,
            charger: Vec::new(),
            station: Vec::new(),
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
        if !(1..=36_500).contains(&self.keep_days) {
            bail!("keep_days is {}, 1 to 36500 are allowed", self.keep_days);
        }
        if !["error", "warn", "info", "debug", "trace"].contains(&self.log.as_str()) {
            bail!("log is {:?}: error, warn, info, debug or trace are allowed", self.log);
        }
        if self.ocpp_listen.is_none() && !self.charger.is_empty() {
            bail!("there is a [[charger]], but ocpp_listen does not say where chargers connect");
        }
        self.chargers().map(|_| ())
    }

    /// The folder of the chargers' journal and the operator's socket.
    pub fn charging_dir(&self) -> PathBuf {
        self.data_dir.join("charging")
    }

    /// The chargers that may connect.
    pub fn chargers(&self) -> Result<Vec<Registered>> {
        if self.charger.len() > CHARGERS_MAX {
            bail!("{} chargers, at most {CHARGERS_MAX} are allowed", self.charger.len());
        }
        let mut names = BTreeSet::new();
        let mut register = |charger: &ChargerConfig| {
            ensure!(names.insert(charger.name.clone()), "the name is taken by another");
            charger.registered()
        };
        let named = |charger: &ChargerConfig| format!("charger {:?}", charger.name);
        self.charger.iter().map(|charger| register(charger).with_context(|| named(charger))).collect()
    }

    /// The stations at which an agent with `key` sells.
    pub fn sellers(&self, key: &SigningKey) -> Result<Vec<SellerStation>> {
        let chargers: Vec<String> = self.charger.iter().map(|charger| charger.name.clone()).collect();
        sellers(&self.station, &chargers, key)
    }

    /// How often there is a block.
    pub fn pace(&self) -> Pace {
        Pace { busy_ms: self.block_ms, idle_ms: self.idle_block_ms }
    }

    /// What the agent keeps of its past.
    pub fn keep(&self) -> Keep {
        let blocks_for = Duration::from_secs(self.keep_days * DAY_SECONDS);
        Keep { snapshot_blocks: self.snapshot_blocks, blocks_for }
    }

    /// How long the committee waits.
    pub fn timeouts(&self) -> Timeouts {
        Timeouts::default().divided_by(self.clock_factor)
    }
}

impl ChargerConfig {
    fn registered(&self) -> Result<Registered> {
        let name = ChargerName::new(&self.name)
            .map_err(|_| eyre!("name: 1 to 48 letters, digits and *-_=|@. are allowed"))?;
        let password = PasswordHash::from_hex(&self.password_hash).context("password_hash")?;
        let numbers: BTreeSet<u16> = self.outlets.iter().map(|outlet| outlet.evse).collect();
        if !(1..=MAX_OUTLETS).contains(&self.outlets.len())
            || numbers.len() != self.outlets.len()
            || numbers.contains(&0)
        {
            bail!("outlets: 1 to {MAX_OUTLETS} with different evse numbers from 1 are allowed");
        }
        if let Some(outlet) = self.outlets.iter().find(|outlet| !(1..=POWER_W_MAX).contains(&outlet.power_w))
        {
            bail!("outlets: power_w is {}, 1 to {POWER_W_MAX} are allowed", outlet.power_w);
        }
        if self.cards.len() > CARDS_MAX {
            bail!("{} cards, at most {CARDS_MAX} are allowed", self.cards.len());
        }
        if let Some(card) =
            self.cards.iter().find(|card| !(1..=CARD_CHARS_MAX).contains(&card.chars().count()))
        {
            bail!("cards: {card:?} does not have 1 to {CARD_CHARS_MAX} characters");
        }
        let outlet =
            |outlet: &OutletConfig| Outlet { evse: outlet.evse, rated: Power::from_w(outlet.power_w) };
        let outlets = self.outlets.iter().map(outlet).collect();
        Ok(Registered { name, password, outlets, cards: self.cards.clone() })
    }
}

/// The most chargers of one agent: one task and a few kilobytes each.
const CHARGERS_MAX: usize = 4096;
/// The most power of an outlet: half as much again as the largest plug for lorries.
const POWER_W_MAX: u32 = 2_000_000;
/// The most cards of a charger: they share its grants with drivers.
const CARDS_MAX: usize = 64;
/// The longest token (OCPP 2.0.1 `IdTokenType`; 1.6 chargers send up to 20 of them).
const CARD_CHARS_MAX: usize = 36;

/// Seconds of a day.
const DAY_SECONDS: u64 = 24 * 3_600;

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
            ("ocpp_listen = \"here\"", "ocpp_listen"),
            (&charger("").replace("ocpp_listen = \"127.0.0.1:0\"", ""), "ocpp_listen"),
            (&charger("colour = \"red\""), "colour"),
            (&charger("").replace("CP1", "a b"), "a b"),
            (&charger("").replace("evse", "plug"), "plug"),
            (&charger("").replace("evse = 1", "evse = 0"), "outlets"),
            (&charger("").replace("22000", "0"), "power_w"),
            (&charger("").replace("00000000", "0000"), "password_hash"),
            (&charger("cards = [\"\"]"), "cards"),
            (&(charger("") + &charger("").replace("ocpp_listen = \"127.0.0.1:0\"", "")), "taken"),
        ] {
            let error = format!("{:#}", load(text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    fn charger(more: &str) -> String {
        let hash = "0".repeat(64);
        format!(
            "ocpp_listen = \"127.0.0.1:0\"\n[[charger]]\nname = \"CP1\"\npassword_hash = \"{hash}\"\n\
             outlets = [{{ evse = 1, power_w = 22000 }}]\n{more}\n"
        )
    }

    #[test]
    fn chargers_are_read() {
        assert!(load("").unwrap().chargers().unwrap().is_empty());
        let config = load(&charger("cards = [\"04A2\"]")).unwrap();
        let chargers = config.chargers().unwrap();
        assert_eq!(chargers[0].name.as_str(), "CP1");
        assert_eq!(chargers[0].outlets, [Outlet { evse: 1, rated: Power::from_w(22_000) }]);
        assert_eq!(chargers[0].cards, ["04A2"]);
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let config = load("log = \"warn\"").unwrap();
        assert!(config.zone_file.ends_with("zone.toml") && config.zone_file.is_absolute());
    }
}
