//! What the queue tells, as log lines.

use rmail_core::relay::hosts;
use rmail_core::relay::queue::Event;
use rmail_core::text::rfc3339;

/// One line per event; ERROR where an operator has to do something.
pub(super) fn write(event: &Event) {
    match event {
        Event::Delivered {
            entry,
            recipient,
            report,
        } => log::info!(target: "relay", "event=sent id={entry} to={recipient:?} remote={:?} reply={:?}",
            report.remote.as_deref().unwrap_or_default(), report.to_string()),
        Event::Deferred {
            entry,
            recipient,
            report,
            attempts,
            next,
        } => {
            let level = if report.severe {
                log::Level::Error
            } else {
                log::Level::Info
            };
            log::log!(target: "relay", level,
                "event=deferred id={entry} to={recipient:?} attempts={attempts} next={} remote={:?} reason={:?}",
                next.secs(), report.remote.as_deref().unwrap_or_default(), report.to_string());
        }
        Event::Failed {
            entry,
            recipient,
            report,
            expired,
            told,
        } => log::warn!(target: "relay",
            "event=failed id={entry} to={recipient:?} expired={expired} told={told} remote={:?} reason={:?}",
            report.remote.as_deref().unwrap_or_default(), report.to_string()),
        Event::Unnoticed { entry, sender, kind } => log::error!(target: "relay",
            "event=unnoticed id={entry} sender={sender:?} kind={kind:?} reason=\"the notice could not be stored\""),
        Event::Done(entry) => log::info!(target: "relay", "event=done id={entry}"),
    }
}

/// One line per event of a host.
pub(super) fn write_host(event: &hosts::Event) {
    match event {
        hosts::Event::Down {
            address,
            server,
            since,
            tries,
            pause,
            last,
        } => log::warn!(target: "relay",
            "event=host_down address={address} host={server:?} since={} tries={tries} pause={} reason={last:?}",
            rfc3339::print(*since), pause.as_secs()),
        hosts::Event::Up {
            address,
            server,
            away,
        } => {
            log::info!(target: "relay", "event=host_up address={address} host={server:?} away={}", away.as_secs())
        }
        hosts::Event::Crowded {
            address,
            server,
            most,
            last,
        } => log::info!(target: "relay",
            "event=host_crowded address={address} host={server:?} connections={most} reason={last:?}"),
    }
}
