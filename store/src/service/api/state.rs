//! How the server is: what it knows of itself, and what its host tells.

use rmail_core::api::state::{Answer, Ask, Details, Health, Listening, Part};

use crate::disk::Disk;
use crate::mailstore::MailStore;
use crate::metrics::{Family, Metrics};
use crate::service::{Service, Settings};

/// Knows the host. Nothing here may take longer than a second.
pub trait Probe: Send + Sync {
    /// How it is, from memory.
    fn see(&self) -> Seen;

    /// Sets the figures that nobody counts.
    fn measure(&self, metrics: &Metrics);

    /// What is shown to an authority for certificates that asks for this token (RFC 8555 §8.3). May read a file.
    fn proof(&self, _token: &str) -> Option<String> {
        None
    }
}

/// How a host is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its listeners.
    pub listeners: Vec<Listener>,
    /// The queue is worked on.
    pub queue: bool,
    /// What was answered could be synced.
    pub synced: bool,
    /// It goes down.
    pub ending: bool,
    /// Seconds since its start.
    pub uptime: u64,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// What speaks there.
    pub service: String,
    /// Where: address and port, or a path.
    pub address: String,
    /// It accepts.
    pub up: bool,
}

impl Default for Seen {
    /// Where nobody knows the host, nothing is wrong with it.
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            queue: true,
            synced: true,
            ending: false,
            uptime: 0,
        }
    }
}

impl<S: MailStore, D: Disk> Service<S, D> {
    /// Answers a question of this kind, perhaps to an administrator.
    pub(super) async fn state(&self, settings: &Settings, ask: Ask, is_admin: bool) -> Answer {
        match ask {
            Ask::Health { local } => {
                let mut health = self.health(settings).await;
                health.details.take_if(|_| !local && !is_admin);
                Answer::Health(Box::new(health))
            }
            Ask::Proof(token) => Answer::Proof(self.probe.get().and_then(|probe| probe.proof(&token))),
            Ask::Metrics => {
                let health = self.health(settings).await;
                self.metrics.set(Family::Up, &[], i64::from(health.up));
                if let Some(details) = &health.details {
                    let free = details.free_octets.unwrap_or_default();
                    let free = i64::try_from(free).unwrap_or(i64::MAX);
                    self.metrics.set(Family::FreeOctets, &[], free);
                }
                if let Some(probe) = self.probe.get() {
                    probe.measure(&self.metrics);
                }
                Answer::Metrics(self.metrics.text())
            }
        }
    }

    async fn health(&self, settings: &Settings) -> Health {
        let seen = self.probe.get().map_or_else(Seen::default, |probe| probe.see());
        let free = self.store.free().await;
        let store = match &free {
            Err(error) => Part::down(format!("{error}")),
            Ok(_) if !seen.synced => Part::down("what was answered could not be synced"),
            Ok(Some(free)) if free.bytes < settings.min_free || free.inodes < Settings::MIN_INODES => {
                Part::down("the disk is full")
            }
            Ok(_) => Part::up(),
        };
        let queue = if seen.queue {
            Part::up()
        } else {
            Part::down("nobody works on the queue")
        };
        let listeners = seen.listeners.into_iter();
        let listeners: Vec<Listening> = listeners
            .map(|listener| Listening {
                service: listener.service,
                address: listener.address,
                up: listener.up,
            })
            .collect();
        let listen = listeners.iter().all(|listener| listener.up);
        Health {
            up: store.up && queue.up && listen && !seen.ending,
            details: Some(Details {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                uptime: seen.uptime,
                ending: seen.ending,
                listeners,
                store,
                queue,
                free_octets: free.ok().flatten().map(|free| free.bytes),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_lite::future::block_on;
    use rmail_core::random::Random;

    use super::*;
    use crate::accounts::Accounts;
    use crate::mem::MemDisk;
    use crate::memory::MemoryStore;

    /// A host of which this is known.
    struct Host(Seen);

    impl Probe for Host {
        fn see(&self) -> Seen {
            self.0.clone()
        }

        fn measure(&self, metrics: &Metrics) {
            metrics.set(Family::Resident, &[], 4_711);
        }
    }

    fn service(seen: Seen) -> Arc<Service<MemoryStore, MemDisk>> {
        let accounts = Accounts::new(Arc::new(MemDisk::default()), Random::from_seed([7; 32]));
        let service = Service::new(
            Arc::new(MemoryStore::new(rmail_core::limits::Limits::default())),
            accounts,
            Settings::default(),
        );
        service.set_probe(Arc::new(Host(seen)));
        service
    }

    fn health(seen: Seen, details: bool) -> Health {
        let service = service(seen);
        match block_on(service.state(&service.settings(), Ask::Health { local: false }, details)) {
            Answer::Health(health) => *health,
            other => panic!("{other:?}"),
        }
    }

    fn listener(up: bool) -> Listener {
        Listener {
            service: "imap".to_owned(),
            address: "127.0.0.1:143".to_owned(),
            up,
        }
    }

    #[test]
    fn a_server_is_up_when_every_part_is() {
        let all = Seen {
            listeners: vec![listener(true), listener(true)],
            ..Seen::default()
        };
        assert!(health(all.clone(), true).up);
        for (broken, part) in [
            (
                Seen {
                    listeners: vec![listener(true), listener(false)],
                    ..all.clone()
                },
                "imap",
            ),
            (
                Seen {
                    queue: false,
                    ..all.clone()
                },
                "nobody works on the queue",
            ),
            (
                Seen {
                    synced: false,
                    ..all.clone()
                },
                "could not be synced",
            ),
            (
                Seen {
                    ending: true,
                    ..all.clone()
                },
                "\"ending\":true",
            ),
        ] {
            let told = health(broken.clone(), true);
            assert!(!told.up);
            let text = told.json().to_string();
            assert!(text.contains(part), "{part}: {text}");
            let others = health(broken, false);
            assert_eq!(others.json().to_string(), "{\"status\":\"down\"}");
        }
    }

    #[test]
    fn figures_that_nobody_counts_are_measured_when_asked_for() {
        let service = service(Seen::default());
        let ask = || block_on(service.state(&service.settings(), Ask::Metrics, true));
        let Answer::Metrics(text) = ask() else {
            panic!("figures")
        };
        assert!(text.contains("\nrmail_up 1\n") && text.contains("\nprocess_resident_memory_bytes 4711\n"));
    }
}
