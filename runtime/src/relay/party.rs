//! Whom a sending session trusts to be the server.

use std::net::SocketAddr;
use std::sync::Arc;

use rmail_core::relay::TlsPolicy;
use rmail_core::smtp::client;
use rmail_store::disk::Disk;
use rmail_store::mailstore::MailStore;
use rmail_store::service::Pool;
use rustls::pki_types::ServerName;

use crate::server::Host;
use crate::tls::{ClientTls, TlsParty};

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
    let named = server_name(&settings.server);
    if !settings.tls.verifies() {
        // Nobody looks at the name but the server, which may choose its certificate by it.
        let name = named.unwrap_or_else(|| ServerName::IpAddress(address.ip().into()));
        let config = tls.opportunistic();
        return Ok(Some(TlsParty::Client { config, name }));
    }
    let Some(name) = named else {
        return Err(format!("no certificate can be good for {:?}", settings.server));
    };
    let tls = Arc::clone(tls);
    let roots = host.pools.run(Pool::Read, move || tls.verified());
    let config = roots.await.map_err(|panicked| panicked.to_string())?;
    Ok(Some(TlsParty::Client { config, name }))
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
