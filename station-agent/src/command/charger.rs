//! `station-agent charger`.

use super::print;
use crate::{
    charging::{
        PasswordHash,
        control::{Order, Request, ask},
        generate,
    },
    config::AgentConfig,
};
use clap::{Args, Subcommand};
use eyre::{Context, bail, eyre};
use ohmesh_ocpp::ChargerName;
use serde::Serialize;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(super) enum ChargerCommand {
    /// Make a fresh password for a charger. It is shown once: the configuration keeps its hash.
    Password {
        /// The charger's name: the last part of its URL, and its user.
        name: String,
    },
    /// Show the chargers of the agent that runs here.
    List {
        #[command(flatten)]
        agent: Agent,
    },
    /// Start a transaction.
    Start {
        #[command(flatten)]
        at: At,
        /// The EVSE; the connector in OCPP 1.6.
        #[arg(long)]
        evse: u16,
        /// For whom.
        #[arg(long)]
        token: String,
        /// The most power, in watts.
        #[arg(long)]
        limit_w: Option<u32>,
    },
    /// Stop a transaction.
    Stop {
        #[command(flatten)]
        at: At,
        /// Its id, as `list` shows it.
        transaction: String,
    },
    /// Keep an EVSE for a token.
    Reserve {
        #[command(flatten)]
        at: At,
        /// The EVSE; the connector in OCPP 1.6.
        #[arg(long)]
        evse: u16,
        /// The reservation's number, to cancel it.
        #[arg(long, default_value_t = 1)]
        number: i32,
        /// For whom.
        #[arg(long)]
        token: String,
        /// For how long.
        #[arg(long, default_value_t = 15)]
        minutes: u16,
    },
    /// End a reservation.
    Cancel {
        #[command(flatten)]
        at: At,
        /// Its number.
        #[arg(default_value_t = 1)]
        number: i32,
    },
    /// Release a cable.
    Unlock {
        #[command(flatten)]
        at: At,
        /// The EVSE; the connector in OCPP 1.6.
        #[arg(long)]
        evse: u16,
    },
    /// Restart a charger when it is idle.
    Reset {
        #[command(flatten)]
        at: At,
        /// At once.
        #[arg(long)]
        hard: bool,
    },
}

#[derive(Args)]
pub(super) struct Agent {
    /// The configuration of the agent that runs.
    #[arg(long, default_value = "agent.toml")]
    config: PathBuf,
}

#[derive(Args)]
pub(super) struct At {
    /// The charger's name.
    name: String,
    #[command(flatten)]
    agent: Agent,
}

pub(super) fn run(command: ChargerCommand, json: bool) -> eyre::Result<()> {
    let (at, what) = match command {
        ChargerCommand::Password { name } => return password(&name, json),
        ChargerCommand::List { agent } => return list(&agent, json),
        ChargerCommand::Start { at, evse, token, limit_w } => (at, Order::Start { evse, token, limit_w }),
        ChargerCommand::Stop { at, transaction } => (at, Order::Stop { transaction }),
        ChargerCommand::Reserve { at, evse, number: reservation, token, minutes } => {
            (at, Order::Reserve { evse, reservation, token, minutes })
        }
        ChargerCommand::Cancel { at, number: reservation } => (at, Order::Cancel { reservation }),
        ChargerCommand::Unlock { at, evse } => (at, Order::Unlock { evse }),
        ChargerCommand::Reset { at, hard } => (at, Order::Reset { hard }),
    };
    let answer = call(&at.agent, &Request::Tell { charger: at.name, what })?;
    let outcome = answer["outcome"].as_str().unwrap_or_default();
    if answer["accepted"] != true {
        bail!("the charger does not do it: {outcome}");
    }
    print(json, &answer, || outcome.to_owned())
}

#[derive(Serialize)]
struct Made<'n> {
    name: &'n str,
    password: &'n str,
    password_hash: String,
}

fn password(name: &str, json: bool) -> eyre::Result<()> {
    let named = ChargerName::new(name)
        .map_err(|_| eyre!("{name:?}: 1 to 48 letters, digits and *-_=|@. are a charger's name"))?;
    let password = generate()?;
    let password_hash = PasswordHash::of(&named, password.as_bytes()).to_string();
    let made = Made { name, password: &password, password_hash };
    print(json, &made, || {
        format!(
            "password       {}   (for the charger; not shown again)\npassword_hash  {}   (for its [[charger]] table)",
            made.password, made.password_hash
        )
    })
}

fn list(agent: &Agent, json: bool) -> eyre::Result<()> {
    let chargers = call(agent, &Request::List)?;
    print(json, &chargers, || {
        let mut lines = Vec::new();
        for (name, status) in chargers.as_object().into_iter().flatten() {
            lines.push(format!("{name}  {}", status["connected"].as_str().unwrap_or("not connected")));
            for evse in status["evses"].as_array().into_iter().flatten() {
                lines.push(format!(
                    "  EVSE {}  {}",
                    evse["evse"],
                    evse["state"].as_str().unwrap_or_default()
                ));
            }
            for open in status["open"].as_array().into_iter().flatten() {
                lines.push(format!(
                    "  transaction {} at EVSE {}: {} Wh",
                    open["key"], open["evse"], open["energy"]
                ));
            }
        }
        lines.join("\n")
    })
}

fn call(agent: &Agent, request: &Request) -> eyre::Result<serde_json::Value> {
    let config = AgentConfig::load(&agent.config, &serde_json::json!({}))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(ask(&config.charging_dir(), request))
}
