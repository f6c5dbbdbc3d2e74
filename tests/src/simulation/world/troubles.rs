//! What goes wrong with machines, and how all of it ends.

use super::{Happening, World};
use crate::simulation::{Cut, host::Copied, plan::Trouble};

impl World {
    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.tell(|_| format!("{trouble:?}"));
        match trouble {
            Trouble::Cut { host, operations } => self.hosts[host].disk.cut_power_after(operations),
            Trouble::Full { host, is_full } => self.hosts[host].disk.set_full(is_full),
            Trouble::Syncs { host, fail } => self.hosts[host].disk.set_failing_syncs(fail),
            Trouble::Misdirect { host } => self.hosts[host].disk.misdirect_next(),
            Trouble::Lose { host } => {
                let machine = &mut self.hosts[host];
                machine.end();
                machine.disk.lose();
                (machine.told, machine.epoch) = (0, (0, false));
                self.after(500_000, Happening::Boot { host });
            }
            Trouble::Clock { host, skew_ms } => {
                self.outcome.clock_jumps += u64::from(skew_ms != 0);
                self.hosts[host].skew_ms = skew_ms;
            }
            Trouble::Away { host, is_away } => self.away(host, is_away),
            Trouble::Copy { host } => {
                let machine = &mut self.hosts[host];
                machine.copy = Some(Copied { files: machine.disk.backup(), told: machine.told });
            }
            Trouble::PutBack { host } => self.put_back(host),
            Trouble::Night { ms } => self.night(ms),
        }
    }

    /// A machine is switched off, or on again.
    fn away(&mut self, at: usize, is_away: bool) {
        let host = &mut self.hosts[at];
        host.is_away = is_away;
        if !is_away {
            return self.boot(at);
        }
        host.end();
        host.disk.restart(Cut::Clean);
        self.outcome.absences += 1;
    }

    /// An operator puts a folder back from a copy of its files, however old, even of the height that is being decided:
    /// its agent must not sign a second time what it signed before.
    fn put_back(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(copy) = host.copy.take() else { return };
        host.end();
        host.disk.put_back(&copy.files);
        (host.told, host.epoch) = (copy.told, (0, false));
        self.after(500_000, Happening::Boot { host: at });
    }

    /// Everybody switches off; hours or days later everybody comes back.
    pub(super) fn night(&mut self, ms: u64) {
        self.slept_ms += ms;
        self.outcome.nights += 1;
        for at in 0..self.hosts.len() {
            let was_running = self.hosts[at].agent.is_some();
            self.hosts[at].end();
            self.hosts[at].disk.restart(Cut::Clean);
            if was_running {
                self.after(100_000 + at as u64 * 20_000, Happening::Boot { host: at });
            }
        }
    }

    /// All faults but the validators' own end.
    pub(super) fn heal(&mut self) {
        self.outcome.height_in_trouble = self.checker.height();
        self.goal = Some(self.checker.height() + self.scenario.gain);
        self.tell(|world| {
            format!("the faults end; all must reach {}", world.checker.height() + world.scenario.gain)
        });
        self.network.heal();
        for host in 0..self.hosts.len() {
            self.hosts[host].disk.heal();
            (self.hosts[host].skew_ms, self.hosts[host].is_away) = (0, false);
            self.boot(host);
        }
    }
}
