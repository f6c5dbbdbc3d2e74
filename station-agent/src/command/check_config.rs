//! `station-agent check-config`.

use super::{
    print,
    run::{Loaded, RunArgs, load},
};
use crate::config::AgentConfig;
use ohmesh_units::{PublicKey, ZoneId};
use serde::Serialize;

#[derive(Serialize)]
struct Checked {
    config: AgentConfig,
    zone: ZoneId,
    public_key: PublicKey,
    votes: bool,
}

pub(super) fn run(args: RunArgs, json: bool) -> eyre::Result<()> {
    let Loaded { config, zone, key } = load(&args)?;
    let votes = zone.zone.validators.index_of(&key.public()).is_some();
    let checked = Checked { config, zone: zone.zone.id(), public_key: key.public(), votes };
    print(json, &checked, || {
        let part = if votes { "votes" } else { "follows without a vote" };
        format!(
            "all good: zone {}, key {}, which {part}, listening on {}",
            checked.zone, checked.public_key, checked.config.listen
        )
    })
}
