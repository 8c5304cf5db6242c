//! Whom a sending session trusts to be the server.

use std::net::SocketAddr;
use std::sync::Arc;

use rmail_core::relay::TlsPolicy;
use rmail_core::relay::tls::{Encryption, Trust};
use rmail_core::smtp::client;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;
use rustls::pki_types::ServerName;

use crate::drive::End;
use crate::server::Host;
use crate::tls::{ClientTls, TlsParty, Watch, fault_of_io};

/// Whom we trust to be the server.
pub(super) async fn party<S: MailStore, D: Disk>(
    host: &Arc<Host<S, D>>,
    tls: &Arc<ClientTls>,
    settings: &client::Settings,
    address: SocketAddr,
) -> Result<Option<TlsParty>, String> {
    if settings.tls == TlsPolicy::None {
        return Ok(None);
    }
    let watch = Watch::default();
    let named = server_name(&settings.server);
    // Where nobody looks at the name it is the server, which may choose its certificate by it.
    let any = || ServerName::IpAddress(address.ip().into());
    if let Trust::Dane(anchors) = &settings.trust {
        // RFC 7672 §8.1: the TLSA base domain is what the server is asked for.
        let base = anchors.names().first().and_then(|name| server_name(name));
        let name = base.or(named).unwrap_or_else(any);
        let config = ClientTls::dane(anchors);
        return Ok(Some(TlsParty::Client { config, name, watch }));
    }
    let watched = settings.trust == Trust::Watched;
    if !settings.tls.verifies() && !watched {
        let (config, name) = (tls.opportunistic(), named.unwrap_or_else(any));
        return Ok(Some(TlsParty::Client { config, name, watch }));
    }
    let Some(name) = named else {
        return Err(format!("no certificate can be good for {:?}", settings.server));
    };
    let (tls, told, verifies) = (Arc::clone(tls), Arc::clone(&watch), settings.tls.verifies());
    let roots = host.pools.run(Pool::Read, move || match verifies {
        true => tls.verified(),
        false => tls.watched(&told),
    });
    let config = roots.await.map_err(|panicked| panicked.to_string())?;
    Ok(Some(TlsParty::Client { config, name, watch }))
}

/// The session knows that the handshake failed, and this why.
pub(super) fn explain(outcome: &mut client::Outcome, end: &End) {
    if let (Some(Encryption::Failed(fault)), End::Handshake(error)) = (&mut outcome.tls, end) {
        *fault = fault_of_io(error);
    }
}

/// A host name, an IP address, or an address literal.
fn server_name(server: &str) -> Option<ServerName<'static>> {
    let plain = server
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(server);
    let plain = plain.strip_prefix("IPv6:").unwrap_or(plain);
    ServerName::try_from(plain.to_owned()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_names_and_addresses() {
        let show = |text| server_name(text).map(|name| name.to_str().into_owned());
        assert_eq!(show("mx.example.com").as_deref(), Some("mx.example.com"));
        assert_eq!(show("[192.0.2.1]").as_deref(), Some("192.0.2.1"));
        assert_eq!(show("[IPv6:2001:db8::1]").as_deref(), Some("2001:db8::1"));
        assert_eq!(show("no host"), None);
    }
}
