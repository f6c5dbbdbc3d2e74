//! How a command reaches the zone: one agent is asked, and nothing it says is believed without proof. From the zone file's
//! validators the command walks the hand-overs to those of the newest epoch; every header is checked against their
//! certificate, every object against its header.

use crate::{
    daemon::{limits, resolve},
    key_file, zone_file,
};
use clap::Args;
use eyre::{Context, bail, eyre};
use ohmesh_ledger::{
    Anchor, Answer, Certificate, Epoch, Governance, Header, Object, Proof, Query, SignedTransaction, Voters,
    Zone, proven_object,
};
use ohmesh_mesh::{Endpoint, Peer};
use ohmesh_units::{Canonical, Hash, PublicKey, ZoneId};
use std::{
    fmt,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Where the zone is.
#[derive(Args)]
pub(super) struct Reach {
    /// The zone file, against which every answer is checked.
    #[arg(long, default_value = "zone.toml")]
    pub(super) zone: PathBuf,
    /// The agent to ask: its name or its HOST:PORT as in the zone file, or KEY@HOST:PORT if it joined later. The first of
    /// the zone file's that answers, if not given.
    #[arg(long)]
    agent: Option<String>,
    /// Reach the agent here instead of at the zone file's address.
    #[arg(long, requires = "agent")]
    address: Option<String>,
}

/// An agent that can be asked.
#[derive(Clone)]
struct Way {
    name: String,
    key: PublicKey,
    host: String,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.host)
    }
}

impl Reach {
    /// The zone of this file, by this agent of it if one is named.
    pub(super) fn new(zone: &Path, agent: Option<&str>) -> Self {
        Self { zone: zone.to_owned(), agent: agent.map(str::to_owned), address: None }
    }

    /// The zone of the file, which every validator must have signed.
    pub(super) fn sealed(&self) -> eyre::Result<Zone> {
        let file = zone_file::read(&self.zone)?;
        let zone = file.sealed().with_context(|| format!("zone file {}", self.zone.display()))?;
        Ok(zone.clone())
    }

    /// Does `work` with the first agent that answers.
    pub(super) fn with<T, W>(&self, work: impl FnOnce(Contact) -> W) -> eyre::Result<T>
    where
        W: Future<Output = eyre::Result<T>>,
    {
        let zone = self.sealed()?;
        let ways = self.ways(&zone)?;
        let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
        runtime.block_on(async {
            let mut failures = Vec::new();
            for way in ways {
                match Contact::open(&zone, &way).await {
                    Ok(contact) => return work(contact).await,
                    Err(error) => failures.push(format!("{way}: {error:#}")),
                }
            }
            bail!("no agent answers: {}", failures.join("; "))
        })
    }

    fn ways(&self, zone: &Zone) -> eyre::Result<Vec<Way>> {
        let validators = zone.validators.all().iter();
        let mut ways: Vec<Way> = validators
            .map(|one| Way { name: one.name.clone(), key: one.key, host: one.address.clone() })
            .collect();
        let Some(asked) = &self.agent else { return Ok(ways) };
        let named = ways.iter().position(|way| way.name == *asked || way.host == *asked);
        let mut way = match (named, asked.split_once('@')) {
            (Some(at), _) => ways.swap_remove(at),
            (None, Some((key, host))) => {
                let key = key.parse().map_err(|error| eyre!("--agent {asked}: {key:?}: {error}"))?;
                Way { name: asked[..8.min(asked.len())].to_owned(), key, host: host.to_owned() }
            }
            (None, None) => {
                let names: Vec<String> = ways.iter().map(Way::to_string).collect();
                bail!(
                    "the zone file has no agent {asked:?}; it has {}; one that joined later is KEY@HOST:PORT",
                    names.join(", ")
                );
            }
        };
        if let Some(address) = &self.address {
            way.host.clone_from(address);
        }
        Ok(vec![way])
    }
}

/// A conversation with one agent.
pub(super) struct Contact {
    zone: Zone,
    id: ZoneId,
    agent: String,
    peer: Peer,
    _endpoint: Endpoint,
    /// The newest epoch that has been proven, and who votes in it.
    epoch: u64,
    voters: Voters,
}

impl Contact {
    async fn open(zone: &Zone, way: &Way) -> eyre::Result<Self> {
        // A fresh key for each question: the agent need not know who asks.
        let endpoint = Endpoint::builder(key_file::generate()?)
            .bind(SocketAddr::from(([0, 0, 0, 0], 0)))
            .limits(limits())
            .start()?;
        let dial = async { eyre::Ok(endpoint.connect(resolve(&way.host).await?, way.key).await?) };
        let peer = tokio::time::timeout(ANSWER, dial)
            .await
            .unwrap_or_else(|_| bail!("no connection after {ANSWER:?}"))?;
        Ok(Self {
            id: zone.id(),
            voters: zone.validators.voters().clone(),
            zone: zone.clone(),
            agent: way.name.clone(),
            peer,
            _endpoint: endpoint,
            epoch: 0,
        })
    }

    /// The zone, as its file says.
    pub(super) fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The agent's name.
    pub(super) fn agent(&self) -> &str {
        &self.agent
    }

    /// Where the zone stands now, for a node that has never seen it; none before the first block. Whoever runs an agent
    /// trusts the zone file it has signed, however old.
    pub(super) async fn anchor(&mut self) -> eyre::Result<Option<Anchor>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        Ok(Some(Anchor::at(&head, &self.voters)?))
    }

    /// What the agent answers; not checked yet.
    async fn ask(&self, query: &Query) -> eyre::Result<Answer> {
        let asked = query.encode();
        let answer = tokio::time::timeout(ANSWER, self.peer.request(&asked)).await;
        let bytes = answer.map_err(|_| eyre!("{} does not answer after {ANSWER:?}", self.agent))??;
        match Answer::decode(&bytes)? {
            Answer::Refused(reason) => bail!("{} refuses: {reason}", self.agent),
            answer => Ok(answer),
        }
    }

    /// The newest block, checked; none before the first.
    pub(super) async fn head(&mut self) -> eyre::Result<Option<(Header, Certificate)>> {
        match self.ask(&Query::Head).await? {
            Answer::Head(None) => Ok(None),
            Answer::Head(Some(head)) => {
                self.check(&head.0, &head.1).await?;
                Ok(Some(*head))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// The object with `id` and the header it is proven against; no object if the agent shows none (which proves nothing).
    pub(super) async fn object(&mut self, id: Hash) -> eyre::Result<(Header, Option<Object>)> {
        let (head, proofs) = match self.ask(&Query::Object(id)).await? {
            Answer::Proofs(head, proofs) => (head, proofs),
            other => return Err(unexpected(&other)),
        };
        self.check(&head.0, &head.1).await?;
        let proven = |proof: &Proof| -> eyre::Result<Object> {
            let object = proven_object(proof, &head.0)?;
            if object.id() != id {
                bail!("{} proves object {}, not {id}", self.agent, object.id());
            }
            Ok(object)
        };
        let object = proofs.first().map(proven).transpose()?;
        Ok((head.0, object))
    }

    /// What holds now and what is decided for later.
    pub(super) async fn governance(&mut self) -> eyre::Result<(Header, Governance)> {
        match self.object(Governance::id()).await? {
            (header, Some(Object::Governance(governance))) => Ok((header, *governance)),
            _ => bail!("{} does not prove what holds in the zone", self.agent),
        }
    }

    /// An epoch that has begun.
    pub(super) async fn epoch(&mut self, number: u64) -> eyre::Result<Epoch> {
        match self.object(Epoch::id(number)).await? {
            (_, Some(Object::Epoch(epoch))) => Ok(*epoch),
            _ => bail!("{} does not prove epoch {number}", self.agent),
        }
    }

    /// Sends a transaction and waits until it is applied; an error says what became of it instead.
    pub(super) async fn submit(&mut self, signed: &SignedTransaction) -> eyre::Result<()> {
        let (id, content) = (signed.transaction.id(), signed.transaction.content());
        let submit = Query::Submit(Box::new(signed.clone()));
        let mut answer = self.ask(&submit).await?;
        let start = Instant::now();
        loop {
            match answer {
                Answer::Applied(applied) if applied == content => return Ok(()),
                Answer::Applied(_) => bail!("another transaction was applied under the same number"),
                Answer::Waiting => {}
                // The agent was restarted: what waited is forgotten, and sending it again cannot apply it twice.
                Answer::Unknown => {
                    answer = self.ask(&submit).await?;
                    continue;
                }
                other => return Err(unexpected(&other)),
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "it still waits for a block after {PATIENCE:?}; it may be sent again, and applies once"
                );
            }
            tokio::time::sleep(POLL).await;
            answer = self.ask(&Query::Transaction(id)).await?;
        }
    }

    /// Checks a header by its certificate, walking hand-overs if its epoch is newer than what is known.
    async fn check(&mut self, header: &Header, certificate: &Certificate) -> eyre::Result<()> {
        while self.epoch < header.epoch {
            let answer = self.ask(&Query::HandOvers { from: self.epoch }).await?;
            let Answer::HandOvers(hand_overs) = answer else { return Err(unexpected(&answer)) };
            if hand_overs.is_empty() {
                bail!("{} does not show how epoch {} ended", self.agent, self.epoch);
            }
            for hand_over in hand_overs {
                self.voters = hand_over.verify(&self.id, self.epoch, &self.voters)?.clone();
                self.epoch = hand_over.epoch();
            }
        }
        if header.epoch < self.epoch {
            bail!("{} answers with a block of epoch {}, which is over", self.agent, header.epoch);
        }
        Ok(certificate.verify_header(header, &self.id, &self.voters)?)
    }
}

fn unexpected(answer: &Answer) -> eyre::Report {
    let what = match answer {
        Answer::Head(_) => "a head",
        Answer::Proofs(..) => "proofs",
        Answer::Waiting => "waiting",
        Answer::Applied(_) => "applied",
        Answer::Unknown => "unknown",
        Answer::Refused(_) => "a refusal",
        Answer::Blocks(_) => "blocks",
        Answer::Sale(_) => "a sale",
        Answer::HandOvers(_) => "hand-overs",
        _ => "something of a newer program",
    };
    eyre!("an unexpected answer: {what}")
}

/// How long one question, or a dial, may take: a slow link and a busy agent.
const ANSWER: Duration = Duration::from_secs(20);
/// How often an agent is asked what became of a transaction, and for how long: several idle blocks.
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(120);
