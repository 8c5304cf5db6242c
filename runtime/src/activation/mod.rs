//! Socket activation: the service manager has bound the ports, and hands them over with the first start (`sd_listen_fds(3)`).
//!
//! A socket whose name (`FileDescriptorName=`) is that of a service (`smtp`, `imaps`, …) serves this, wherever it is bound;
//! any other serves what the configuration has at its address.

use std::io;

use listenfd::ListenFd;

use crate::listen::{Service, Sockets};

/// The sockets that the service manager gave to this process; to be called once, before there are threads.
///
/// # Errors
/// One of them is no socket that listens.
pub(crate) fn sockets() -> io::Result<Sockets> {
    let mut sockets = Sockets::default();
    // Asked first: it looks whether they are meant for this process.
    let names: Vec<String> = sd_notify::listen_fds_with_names()?
        .map(|(_, name)| name)
        .collect();
    if names.is_empty() {
        return Ok(sockets);
    }
    let mut given = ListenFd::from_env();
    for (index, name) in names.iter().enumerate() {
        match given.take_tcp_listener(index) {
            Ok(Some(socket)) => match Service::named(name) {
                Some(service) => sockets.assign(service, socket)?,
                None => sockets.add(None, socket)?,
            },
            Ok(None) => {}
            Err(tcp) => match given.take_unix_listener(index) {
                Ok(Some(socket)) => sockets.add_local(socket)?,
                _ => return Err(tcp),
            },
        }
    }
    Ok(sockets)
}
