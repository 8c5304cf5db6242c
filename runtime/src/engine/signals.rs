//! Signals, as something to wait for.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::low_level::unregister;

use super::Io;

/// What a process is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Ends.
    Term,
    /// Ctrl-C: ends.
    Int,
    /// Reads its configuration again.
    Hup,
    /// Is succeeded by another process.
    Usr2,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Self::Term => SIGTERM,
            Self::Int => SIGINT,
            Self::Hup => SIGHUP,
            Self::Usr2 => SIGUSR2,
        }
    }
}

/// Some signals, which do nothing from now on but be told here. Several of a kind that nobody has heard yet are one.
#[derive(Debug)]
pub struct Signals {
    came: Vec<(Signal, Arc<AtomicBool>)>,
    called: Io<UnixStream>,
    registered: Vec<SigId>,
}

impl Signals {
    /// Hears these.
    ///
    /// # Errors
    /// The system has no descriptors left.
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let (called, calls) = UnixStream::pair()?;
        calls.set_nonblocking(true)?;
        let mut heard = Self {
            came: Vec::new(),
            called: Io::new(called)?,
            registered: Vec::new(),
        };
        for signal in signals {
            let came = Arc::new(AtomicBool::new(false));
            let number = signal.number();
            // In this order: whoever is called finds what came.
            let flag = signal_hook::flag::register(number, Arc::clone(&came))?;
            heard.registered.push(flag);
            let call = signal_hook::low_level::pipe::register(number, calls.try_clone()?)?;
            heard.registered.push(call);
            heard.came.push((*signal, came));
        }
        Ok(heard)
    }

    /// The next one; of several, the first of those that were asked for.
    ///
    /// # Errors
    /// The system's, which no usual one gives.
    pub async fn next(&mut self) -> io::Result<Signal> {
        let Self { came, called, .. } = self;
        let find = |mut socket: &UnixStream| {
            loop {
                if let Some((signal, _)) = came.iter().find(|(_, came)| came.swap(false, Ordering::SeqCst)) {
                    return Ok(*signal);
                }
                if socket.read(&mut [0; 64])? == 0 {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        };
        called.read_with(find).await
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            unregister(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    #[test]
    fn what_is_raised_is_heard() {
        let engine = Engine::new().expect("an engine");
        engine.block_on(async {
            let mut signals = Signals::new(&[Signal::Hup, Signal::Usr2]).expect("heard");
            assert!(futures_lite::future::poll_once(signals.next()).await.is_none());
            for raised in [Signal::Usr2, Signal::Hup, Signal::Usr2] {
                signal_hook::low_level::raise(raised.number()).expect("raised");
                assert_eq!(signals.next().await.expect("heard"), raised);
            }
            for raised in [Signal::Usr2, Signal::Usr2, Signal::Hup] {
                signal_hook::low_level::raise(raised.number()).expect("raised");
            }
            assert_eq!(signals.next().await.expect("heard"), Signal::Hup);
            assert_eq!(signals.next().await.expect("heard"), Signal::Usr2);
            assert!(futures_lite::future::poll_once(signals.next()).await.is_none());
        });
    }
}
