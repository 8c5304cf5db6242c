//! What became of the list of mailboxes: two lists compared (RFC 5465 §5.4, §5.5).

use std::collections::{BTreeMap, BTreeSet};

use super::notify::Notified;
use super::{MailboxEntry, SharedMailbox};
use crate::imap::notify::Events;
use crate::imap::response;
use crate::mailbox::{MailboxId, MailboxName, Rights, SpecialUse, others};

/// What a client knows of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: Option<MailboxId>,
    /// Of another account's mailbox, whose number is not known: what the client may do with it. One that it may not look
    /// up is not there (RFC 5465 §5.4).
    pub(super) rights: Option<Rights>,
    exists: bool,
    pub(super) subscribed: bool,
    special_use: Vec<SpecialUse>,
}

/// A change of the list that the client itself has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OwnChange {
    Create(MailboxName),
    Delete(MailboxName),
    Rename(MailboxName, MailboxName),
    Subscribe(MailboxName),
}

/// A name to be told of.
#[derive(Debug)]
pub(super) struct Notice {
    name: MailboxName,
    old: Option<MailboxName>,
    attributes: Vec<&'static str>,
}

type Names = BTreeMap<MailboxName, Known>;

/// Which mailbox the client believes to be where; without one, a level that only has mailboxes below.
pub(super) type Places = BTreeMap<MailboxName, Option<MailboxId>>;

/// What there is to tell; and where the client believes the mailboxes to be that it knows the numbers of, once it is told
/// of the renamings.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) notices: Vec<Notice>,
    pub(super) places: Places,
}

/// What the client knows, once it knows this list, and what others share with it.
pub(super) fn known(entries: Vec<MailboxEntry>, shared: &[SharedMailbox]) -> Names {
    let known = |entry: MailboxEntry| {
        let known = Known {
            id: entry.id.filter(|_| entry.selectable),
            rights: None,
            exists: entry.exists,
            subscribed: entry.subscribed,
            special_use: entry.special_use,
        };
        (entry.name, known)
    };
    let mut names: Names = entries.into_iter().map(known).collect();
    for SharedMailbox { owner, name, rights } in shared {
        let Some(name) = others::name_of(owner, name).filter(|_| rights.contains(Rights::LOOKUP)) else {
            continue;
        };
        // A subscription to it may be there already.
        let known = names.entry(name).or_insert(Known {
            id: None,
            rights: None,
            exists: false,
            subscribed: false,
            special_use: Vec::new(),
        });
        known.rights = Some(*rights);
        known.exists = true;
    }
    names
}

/// The places of a list.
pub(super) fn places(names: &Names) -> Places {
    let existing = names.iter().filter(|(_, known)| known.exists);
    existing.map(|(name, known)| (name.clone(), known.id)).collect()
}

/// What a client does that is told of a renaming: what is below goes with it (RFC 5465 §5.4).
fn follow(places: &mut Places, from: &MailboxName, to: &MailboxName) {
    let near = places.range(from.clone()..).map(|(name, _)| name);
    let near = near.take_while(|name| name.as_str().starts_with(from.as_str()));
    let moved: Vec<MailboxName> = near
        .filter(|name| *name == from || name.is_below(from))
        .cloned()
        .collect();
    for name in moved {
        let below = name.as_str().get(from.as_str().len()..).unwrap_or_default();
        if let Some(id) = places.remove(&name)
            && let Ok(name) = MailboxName::new(&[to.as_str(), below].concat())
        {
            places.insert(name, id);
        }
    }
}

/// The client's own changes are no news to it: what it knows has them already, as far as the new list bears them out.
pub(super) fn adopt(old: &mut Names, new: &Names, own: &OwnChange) {
    match own {
        OwnChange::Create(name) => {
            let mut made = Some(name.clone());
            while let Some(name) = made {
                made = name.parent();
                if let Some(known) = new.get(&name)
                    && old.get(&name).is_none_or(|old| old.id.is_none())
                {
                    let subscribed = old.get(&name).is_some_and(|old| old.subscribed);
                    let known = known.clone();
                    old.insert(name, Known { subscribed, ..known });
                }
            }
        }
        OwnChange::Delete(name) => {
            let Some(was) = old.get(name).cloned() else {
                return;
            };
            match new.get(name) {
                Some(now) if now.id != was.id => {
                    let subscribed = was.subscribed;
                    old.insert(
                        name.clone(),
                        Known {
                            subscribed,
                            ..now.clone()
                        },
                    );
                }
                Some(_) => {}
                None => drop(old.remove(name)),
            }
            // Levels that were only there for it.
            let mut above = name.parent();
            while let Some(name) = above {
                above = name.parent();
                if !new.contains_key(&name) && old.get(&name).is_some_and(|old| old.id.is_none()) {
                    old.remove(&name);
                }
            }
        }
        OwnChange::Rename(from, to) => {
            let moved = |name: &&MailboxName| *name == from || name.is_below(from);
            let moved: Vec<MailboxName> = old.keys().filter(moved).cloned().collect();
            for before in moved {
                let below = before.as_str().get(from.as_str().len()..).unwrap_or_default();
                let Ok(after) = MailboxName::new(&[to.as_str(), below].concat()) else {
                    continue;
                };
                let (Some(was), Some(now)) = (old.get(&before).cloned(), new.get(&after)) else {
                    continue;
                };
                if was.id == now.id {
                    let subscribed = old.get(&after).is_some_and(|old| old.subscribed);
                    old.insert(
                        after,
                        Known {
                            subscribed,
                            ..now.clone()
                        },
                    );
                    leave(old, &before, new);
                }
            }
            adopt(old, new, &OwnChange::Create(to.clone()));
        }
        OwnChange::Subscribe(name) => match (old.get_mut(name), new.get(name)) {
            (Some(known), Some(now)) => known.subscribed = now.subscribed,
            (Some(known), None) if !known.exists => drop(old.remove(name)),
            (None, Some(now)) if !now.exists => drop(old.insert(name.clone(), now.clone())),
            _ => {}
        },
    }
}

/// A name from which the mailbox went away by the client's own doing: a subscription to it stays.
fn leave(old: &mut Names, name: &MailboxName, new: &Names) {
    let subscribed = old.get(name).is_some_and(|known| known.subscribed);
    match new.get(name) {
        Some(now) => drop(old.insert(
            name.clone(),
            Known {
                subscribed,
                ..now.clone()
            },
        )),
        None => drop(old.remove(name)),
    }
}

impl Notified {
    /// What is to be told of the difference.
    ///
    /// First renamings, those of upper levels before those of lower ones, as long as a client that reads one after the
    /// other is not misled: nothing may be in the new place. Then whatever it still has wrong, name by name.
    pub(super) fn compare(&self, old: &Names, new: &Names) -> Told {
        let subscribed =
            |list: &Names, name: &MailboxName| list.get(name).is_some_and(|known| known.subscribed);
        let hears = |name: &MailboxName, event: Events| {
            let subscribed = subscribed(old, name) || subscribed(new, name);
            let own = !others::is_theirs(name);
            self.events_of(name, own, subscribed).has(event)
        };
        let (mut places, now) = (places(old), places(new));
        let mut lines: Vec<(MailboxName, Option<MailboxName>)> = Vec::new();
        for (from, to) in moves(old, new) {
            let still = places
                .get(&from)
                .is_some_and(|id| id.is_some() && Some(id) == now.get(&to));
            if still && !places.contains_key(&to) && (hears(&from, Events::NAME) || hears(&to, Events::NAME))
            {
                follow(&mut places, &from, &to);
                lines.push((to, Some(from)));
            }
        }
        let mut more: BTreeSet<MailboxName> = BTreeSet::new();
        for name in old.keys().chain(new.keys()) {
            if subscribed(old, name) != subscribed(new, name) && hears(name, Events::SUBSCRIPTION) {
                more.insert(name.clone());
            }
        }
        let names: BTreeSet<MailboxName> = places.keys().chain(now.keys()).cloned().collect();
        for name in names {
            if places.get(&name) == now.get(&name) || !hears(&name, Events::NAME) {
                continue;
            }
            more.extend(name.parent().filter(|above| hears(above, Events::NAME)));
            more.insert(name);
        }
        let told: BTreeSet<MailboxName> = lines.iter().map(|(name, _)| name.clone()).collect();
        // What was told to be there may have gone on with the level above it.
        more.retain(|name| !told.contains(name) || places.get(name) != now.get(name));
        lines.extend(more.into_iter().map(|name| (name, None)));
        let told: BTreeSet<&MailboxName> = lines.iter().map(|(name, _)| name).collect();
        let children = children(new, &told);
        let notice = |(name, old): (MailboxName, Option<MailboxName>)| Notice {
            attributes: attributes(new.get(&name), children.contains(&name)),
            name,
            old,
        };
        Told {
            notices: lines.into_iter().map(notice).collect(),
            places,
        }
    }
}

/// The mailboxes that both lists have, under another name: old and new, upper levels first.
fn moves(old: &Names, new: &Names) -> Vec<(MailboxName, MailboxName)> {
    let ids = old.iter().filter_map(|(name, known)| Some((known.id?, name)));
    let before: BTreeMap<MailboxId, &MailboxName> = ids.collect();
    let moved = |(name, known): (&MailboxName, &Known)| {
        let was = before.get(&known.id?)?;
        (*was != name).then(|| ((*was).clone(), name.clone()))
    };
    let mut moves: Vec<(MailboxName, MailboxName)> = new.iter().filter_map(moved).collect();
    moves.sort_by_key(|(was, _)| was.levels().count());
    moves
}

/// Those of the names that have a mailbox below.
fn children(new: &Names, told: &BTreeSet<&MailboxName>) -> BTreeSet<MailboxName> {
    let mut found = BTreeSet::new();
    if told.is_empty() {
        return found;
    }
    for (name, _) in new.iter().filter(|(_, known)| known.exists) {
        let mut above = name.parent();
        while let Some(name) = above {
            above = name.parent();
            if told.contains(&name) && !found.insert(name) {
                break;
            }
        }
    }
    found
}

fn attributes(known: Option<&Known>, children: bool) -> Vec<&'static str> {
    let mut all = Vec::with_capacity(4);
    if known.is_none_or(|known| known.id.is_none() && known.rights.is_none()) {
        all.push("\\NonExistent");
    }
    all.push(if children {
        "\\HasChildren"
    } else {
        "\\HasNoChildren"
    });
    if let Some(known) = known {
        all.extend(known.special_use.iter().map(|usage| usage.attribute()));
        if known.subscribed {
            all.push("\\Subscribed");
        }
    }
    all
}

impl Notice {
    /// `* LIST (attributes) "/" name [("OLDNAME" (name))]`
    pub(super) fn write(&self, out: &mut Vec<u8>, utf8: bool) {
        out.extend_from_slice(b"* LIST (");
        response::words(out, self.attributes.iter().copied());
        out.extend_from_slice(b") \"/\" ");
        response::mailbox(out, &self.name, utf8);
        if let Some(old) = &self.old {
            out.extend_from_slice(b" (\"OLDNAME\" (");
            response::mailbox(out, old, utf8);
            out.extend_from_slice(b"))");
        }
        response::end(out);
    }
}
