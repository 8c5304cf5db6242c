//! What a power cut leaves.

use rmail_core::random::Random;

use super::world::{Content, Node, World, apply_write};

/// In which order changes of directories reach the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Each directory keeps a prefix of its unsynced changes, independently of all others. A rename between two
    /// directories may be kept in the new one alone, never in the old one alone: no file system that is in use loses
    /// what is renamed.
    Adversary,
    /// One journal: all directories keep what came before one moment, and a sync of one directory forces out all that
    /// came before it.
    Ordered,
}

/// How much of what was not synced survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing.
    Lost,
    /// Everything.
    Kept,
    /// A random part; of a file's unsynced writes any may be missing, and any may be torn.
    Random,
}

/// How a process ends that is cut at one of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is killed.
    Kill,
    /// The power fails; the number is the seed of what is left to chance.
    Power(Model, Outcome, u8),
}

impl World {
    /// Leaves what a power cut leaves, as if the machine had started again.
    pub(super) fn power_cut(&mut self, model: Model, outcome: Outcome, random: &mut Random) {
        let kept = match model {
            Model::Adversary => self.independent(outcome, random),
            Model::Ordered => self.journal_prefix(outcome, random),
        };
        for (dir, count) in kept {
            self.persist(dir, count);
        }
        let states = self.state_files();
        for (number, inode) in &mut self.inodes {
            match &mut inode.node {
                Node::Dir(names) => {
                    names.pending.clear();
                    names.volatile.clone_from(&names.durable);
                }
                Node::File(content) => {
                    let arbitrary = states.contains(number) && !content.writes.is_empty();
                    content.cut(outcome, random);
                    if arbitrary {
                        content.scramble(random);
                    }
                }
                Node::Link => {}
            }
        }
        self.locks.clear();
        self.ears.forget_all();
        for plan in self.processes.values_mut() {
            plan.dead = true;
        }
        self.boot += 1;
        self.journal_forced = self.journal;
        self.recount();
    }

    fn directories(&self) -> Vec<(u64, usize)> {
        self.inodes
            .iter()
            .filter_map(|(number, inode)| match &inode.node {
                Node::Dir(names) => Some((*number, names.pending.len())),
                Node::File(_) | Node::Link => None,
            })
            .collect()
    }

    fn independent(&mut self, outcome: Outcome, random: &mut Random) -> Vec<(u64, usize)> {
        let mut kept: std::collections::BTreeMap<u64, usize> = self
            .directories()
            .into_iter()
            .map(|(dir, pending)| (dir, draw(outcome, pending, random)))
            .collect();
        // A removal whose addition elsewhere is lost takes the rest of its directory's changes back with it.
        loop {
            let mut changed = false;
            for dir in kept.keys().copied().collect::<Vec<_>>() {
                let count = kept.get(&dir).copied().unwrap_or(0);
                let bad = self.first_orphaning(dir, count, &kept);
                if let Some(bad) = bad {
                    kept.insert(dir, bad);
                    changed = true;
                }
            }
            if !changed {
                return kept.into_iter().collect();
            }
        }
    }

    /// The first kept change of a directory that removes what its new directory has not kept.
    fn first_orphaning(
        &self,
        dir: u64,
        count: usize,
        kept: &std::collections::BTreeMap<u64, usize>,
    ) -> Option<usize> {
        let Some(Node::Dir(names)) = self.inodes.get(&dir).map(|inode| &inode.node) else {
            return None;
        };
        names.pending.iter().take(count).position(|change| {
            change.moved_to.is_some_and(|to| {
                let Some(Node::Dir(target)) = self.inodes.get(&to).map(|inode| &inode.node) else {
                    return false;
                };
                let lost_from = kept.get(&to).copied().unwrap_or(0);
                let mut lost = target.pending.iter().skip(lost_from);
                lost.any(|other| other.number == change.number)
            })
        })
    }

    fn journal_prefix(&mut self, outcome: Outcome, random: &mut Random) -> Vec<(u64, usize)> {
        let span = usize::try_from(self.journal - self.journal_forced).unwrap_or(0);
        let last = self.journal_forced + draw(outcome, span, random) as u64;
        self.directories()
            .into_iter()
            .map(|(dir, _)| {
                let count = self.dir(dir).map_or(0, |names| {
                    names.pending.partition_point(|change| change.number <= last)
                });
                (dir, count)
            })
            .collect()
    }

    /// Inodes with the name `state`: their content is arbitrary after a power cut.
    fn state_files(&self) -> std::collections::BTreeSet<u64> {
        self.inodes
            .values()
            .filter_map(|inode| match &inode.node {
                Node::Dir(names) => names.durable.get("state").copied(),
                Node::File(_) | Node::Link => None,
            })
            .collect()
    }

    /// Counts all references anew (no handle is left), and forgets what has none.
    fn recount(&mut self) {
        let mut counts = std::collections::BTreeMap::new();
        let mut work = vec![super::ROOT];
        while let Some(dir) = work.pop() {
            if let Ok(names) = self.dir(dir) {
                for inode in names.durable.values() {
                    let count = counts.entry(*inode).or_insert(0_u64);
                    *count += 1;
                    if *count == 1 {
                        work.push(*inode);
                    }
                }
            }
        }
        self.inodes
            .retain(|number, _| *number == super::ROOT || counts.contains_key(number));
        for (number, inode) in &mut self.inodes {
            let count = counts.get(number).copied().unwrap_or(0);
            inode.links = count.max(u64::from(*number == super::ROOT));
            inode.refs = count * 2 + u64::from(*number == super::ROOT);
        }
    }
}

fn draw(outcome: Outcome, most: usize, random: &mut Random) -> usize {
    match outcome {
        Outcome::Lost => 0,
        Outcome::Kept => most,
        Outcome::Random => usize::try_from(random.below(most as u64 + 1)).unwrap_or(0),
    }
}

impl Content {
    /// Keeps of the unsynced writes what the outcome says.
    fn cut(&mut self, outcome: Outcome, random: &mut Random) {
        if self.lost && outcome == Outcome::Kept {
            self.sync();
        }
        let writes = core::mem::take(&mut self.writes);
        if core::mem::take(&mut self.lost) {
            self.volatile.clone_from(&self.durable);
        }
        if writes.is_empty() {
            return;
        }
        match outcome {
            Outcome::Lost => self.volatile.clone_from(&self.durable),
            Outcome::Kept => self.durable.clone_from(&self.volatile),
            Outcome::Random => {
                for (offset, bytes) in writes {
                    let kept = match random.below(3) {
                        0 => 0,
                        1 => bytes.len(),
                        _ => draw(outcome, bytes.len(), random),
                    };
                    if let Some(kept) = bytes.get(..kept).filter(|kept| !kept.is_empty()) {
                        apply_write(&mut self.durable, offset, kept);
                    }
                }
                self.volatile.clone_from(&self.durable);
            }
        }
    }

    /// Leaves the content as it is, empties it, cuts it, or overwrites it with noise.
    fn scramble(&mut self, random: &mut Random) {
        match random.below(4) {
            0 => return,
            1 => self.durable.clear(),
            2 => self.durable.truncate(self.durable.len() / 2),
            _ => random.fill(&mut self.durable),
        }
        self.volatile.clone_from(&self.durable);
    }
}
