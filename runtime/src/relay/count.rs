//! What the queue and the hosts tell, as figures.

use rmail_core::relay::hosts;
use rmail_core::relay::queue::Event;
use rmail_store::metrics::{Family, Metrics};

/// Counts an event of the queue.
pub(super) fn event(metrics: &Metrics, event: &Event) {
    let outcome = match event {
        Event::Delivered { .. } => "sent",
        Event::Deferred { report, .. } => {
            if report.severe {
                metrics.add(Family::RelayAlerts, &[], 1);
            }
            "deferred"
        }
        Event::Failed { expired: true, .. } => "expired",
        Event::Failed { .. } => "failed",
        Event::Unnoticed { .. } => {
            metrics.add(Family::RelayAlerts, &[], 1);
            return;
        }
        Event::Done(_) => return,
    };
    metrics.count(Family::Relayed, outcome);
}

/// Counts an event of a host.
pub(super) fn host(metrics: &Metrics, event: &hosts::Event) {
    let what = match event {
        hosts::Event::Down { .. } => "down",
        hosts::Event::Up { .. } => "up",
        hosts::Event::Crowded { .. } => "crowded",
    };
    metrics.count(Family::RelayHosts, what);
}
