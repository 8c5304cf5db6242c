//! What is known of a stranger's address: lists that have it, and its name. Asked of the DNS; what cannot be found out
//! speaks against nobody.

use core::future::{Future, poll_fn};
use core::net::IpAddr;
use core::pin::Pin;
use core::task::Poll;

use rmail_core::addr::Domain;
use rmail_core::dns::{Answer, Data, DnsError, Kind, Name, Question, peer};
use rmail_core::smtp::server::{CheckKind, CheckPolicy, Checked, Finding};

use super::{Service, lock};
use crate::disk::Disk;
use crate::mailstore::MailStore;

/// An answer of the DNS on its way.
pub type Asking = Pin<Box<dyn Future<Output = Result<Answer, DnsError>> + Send>>;

/// Asks the DNS. The host hands it in ([`Service::set_lookup`]); without one nothing is looked up.
pub trait Lookup: Send + Sync + 'static {
    /// The answer to a question. It comes in any case and in seconds: a time-out is an answer too.
    fn ask(&self, question: Question) -> Asking;
}

/// What is looked at of strangers: `checks.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckSettings {
    /// Lists that are asked for the address.
    pub dnsbl: Vec<Name>,
    /// What comes of an address that one of them has.
    pub dnsbl_policy: CheckPolicy,
    /// What comes of an address without a name that has this address.
    pub reverse_dns: CheckPolicy,
}

impl CheckSettings {
    /// Whether there is anything to ask the DNS.
    #[must_use]
    pub fn ask(&self) -> bool {
        self.asks_lists() || self.reverse_dns != CheckPolicy::Off
    }

    fn asks_lists(&self) -> bool {
        self.dnsbl_policy != CheckPolicy::Off && !self.dnsbl.is_empty()
    }
}

/// Names of one address that are looked at: who has more is a crowd.
const MAX_NAMES: usize = 5;

/// Characters of a list's text that are kept.
const MAX_TEXT: usize = 200;

impl<S: MailStore, D: Disk> Service<S, D> {
    /// From now on the DNS is asked through this. The first one counts.
    pub fn set_lookup(&self, lookup: std::sync::Arc<dyn Lookup>) {
        let _ = self.lookup.set(lookup);
    }

    /// What is known of an address.
    pub(super) async fn check(&self, settings: &CheckSettings, address: IpAddr) -> Checked {
        let Some(lookup) = self.lookup.get().map(std::sync::Arc::as_ref) else {
            return Checked::default();
        };
        let lists: Part<'_> = Box::pin(self.look_at_lists(lookup, settings, address));
        let name: Part<'_> = Box::pin(look_at_name(lookup, settings, address));
        let mut checked = Checked::default();
        for (found, finding) in at_once(vec![lists, name]).await {
            checked.name = checked.name.or(found);
            checked.findings.extend(finding);
        }
        checked
    }

    /// All lists are asked at once; the first that has the address, in their order, counts.
    async fn look_at_lists(
        &self,
        lookup: &dyn Lookup,
        settings: &CheckSettings,
        address: IpAddr,
    ) -> (Option<Domain>, Option<Finding>) {
        if !settings.asks_lists() {
            return (None, None);
        }
        let questions: Vec<(&Name, Name)> = settings
            .dnsbl
            .iter()
            .filter_map(|list| Some((list, peer::list_name(address, list)?)))
            .collect();
        let asked = questions.iter().map(|(_, name)| ask(lookup, name, Kind::A));
        let answers = at_once(asked.collect()).await;
        for ((list, name), answer) in questions.iter().zip(answers) {
            let Some(answer) = self.usable(list, answer) else {
                continue;
            };
            if let Some(code) = peer::listed(&answer) {
                let reason = ask(lookup, name, Kind::Txt).await.ok();
                let reason = reason.and_then(|answer| text_of(&answer)).unwrap_or_default();
                let finding = Finding {
                    kind: CheckKind::Dnsbl,
                    text: format!("listed by {list} as {code}{reason}"),
                    refuse: settings.dnsbl_policy == CheckPolicy::Refuse,
                };
                return (None, Some(finding));
            }
        }
        (None, None)
    }

    /// The answer of a list, unless it is none. What is wrong with the list itself is told once.
    fn usable(&self, list: &Name, answer: Result<Answer, DnsError>) -> Option<Answer> {
        let fault = match &answer {
            Err(DnsError::NoSuchName) => return None,
            Err(error) => {
                log::debug!("DNSBL {list} is not asked: {error}");
                return None;
            }
            Ok(answer) => peer::list_error(answer),
        };
        if let Some(code) = fault
            && lock(&self.told_lists).insert(list.clone())
        {
            log::warn!(
                "DNSBL {list} does not answer us ({code}): it wants to be asked by a resolver of its own users, or \
                 was asked too often; it refuses nobody"
            );
        }
        answer.ok()
    }
}

/// A part of the checks: the name that was found, what speaks against the client.
type Part<'a> = Pin<Box<dyn Future<Output = (Option<Domain>, Option<Finding>)> + Send + 'a>>;

/// The address must have a name that has the address.
async fn look_at_name(
    lookup: &dyn Lookup,
    settings: &CheckSettings,
    address: IpAddr,
) -> (Option<Domain>, Option<Finding>) {
    let finding = |text: String| Finding {
        kind: CheckKind::ReverseDns,
        text,
        refuse: settings.reverse_dns == CheckPolicy::Refuse,
    };
    let Some(question) = peer::reverse_name(address).filter(|_| settings.reverse_dns != CheckPolicy::Off)
    else {
        return (None, None);
    };
    let names = match ask(lookup, &question, Kind::Ptr).await {
        Ok(answer) => names_of(answer),
        Err(DnsError::NoSuchName) => Vec::new(),
        Err(error) => {
            log::debug!("{question} is not known: {error}");
            return (None, None);
        }
    };
    let Some(first) = names.first() else {
        return (None, Some(finding("the address has no name".to_owned())));
    };
    let kind = peer::address_kind(address);
    let asked = names.iter().map(|name| ask(lookup, name, kind));
    let answers = at_once(asked.collect()).await;
    let has = |answer: &Result<Answer, DnsError>| {
        let answer = answer.as_ref();
        answer.is_ok_and(|answer| peer::has_address(answer, address))
    };
    if let Some(name) = names
        .iter()
        .zip(&answers)
        .find_map(|(name, answer)| has(answer).then_some(name))
    {
        return (Domain::parse(name.as_str()), None);
    }
    if names.len() >= MAX_NAMES {
        // There may be more, and one of those the right one.
        return (None, None);
    }
    let unknown = |answer: &Result<Answer, DnsError>| matches!(answer, Err(error) if error.is_temporary());
    if answers.iter().any(unknown) {
        return (None, None);
    }
    let text = format!("its name {first} does not have the address");
    (None, Some(finding(text)))
}

fn ask(lookup: &dyn Lookup, name: &Name, kind: Kind) -> Asking {
    lookup.ask(Question {
        name: name.clone(),
        kind,
    })
}

fn names_of(answer: Answer) -> Vec<Name> {
    let names = answer.records.into_iter().filter_map(|record| match record {
        Data::Ptr(name) if !name.is_root() => Some(name),
        _ => None,
    });
    names.take(MAX_NAMES).collect()
}

/// What a list says of its reasons, fit for a reply.
fn text_of(answer: &Answer) -> Option<String> {
    answer.records.iter().find_map(|record| match record {
        Data::Txt(text) => {
            let printable = text.chars().filter(|c| matches!(c, ' '..='~'));
            let text: String = printable.take(MAX_TEXT).collect();
            Some(format!(", {}", text.trim())).filter(|text| text.len() > 2)
        }
        _ => None,
    })
}

/// Waits for all of them at the same time; their results in their order.
async fn at_once<T: Unpin>(futures: Vec<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> Vec<T> {
    enum Slot<'a, T> {
        Waits(Pin<Box<dyn Future<Output = T> + Send + 'a>>),
        Done(T),
    }
    let mut slots: Vec<Slot<'_, T>> = futures.into_iter().map(Slot::Waits).collect();
    poll_fn(|cx| {
        let mut waits = false;
        for slot in &mut slots {
            if let Slot::Waits(future) = slot {
                match future.as_mut().poll(cx) {
                    Poll::Ready(result) => *slot = Slot::Done(result),
                    Poll::Pending => waits = true,
                }
            }
        }
        if waits { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let results = slots.into_iter().filter_map(|slot| match slot {
        Slot::Done(result) => Some(result),
        Slot::Waits(_) => None,
    });
    results.collect()
}
