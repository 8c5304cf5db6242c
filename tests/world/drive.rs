//! Drives a session over a connection of the world, as the daemon's driver does over a socket.

use std::collections::BTreeSet;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_lite::FutureExt as _;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, BlobId, CallId, Input, Session};
use rmail_store::error::Result as StoreResult;
use rmail_store::service::{Answer, Serve};

use crate::channel::Channel;
use crate::clock::Clock;
use crate::link::{Item, Stream};
use crate::planted::wires;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// A reply on its way.
type Asked<'a, R> = (CallId, Pin<Box<dyn Future<Output = R> + 'a>>);

/// Runs a session until it closes; then it can be asked for its result.
pub async fn drive<M, V>(clock: &Clock, mut machine: M, stream: Stream, serve: &V, client: bool) -> M
where
    M: Session<Call = V::Call, Reply = V::Reply>,
    V: Serve,
{
    // The call that is not answered yet.
    let mut asked: Option<Asked<'_, V::Reply>> = None;
    let (woken, mut watches) = (Channel::default(), BTreeSet::new());
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Send(octets) => stream.send(&wires::said(stream.bug(), client, octets.as_ref())),
                Action::Spool(spool, chunk) => {
                    if let Err(chunk) = serve.spool_now(spool, chunk) {
                        serve.spool(spool, chunk).await;
                    }
                }
                Action::Call(id, call) => {
                    let reply = match serve.answer(clock.now(), call) {
                        Answer::Now(reply) => {
                            machine.handle_input(clock.now(), Input::Reply(id, reply));
                            continue;
                        }
                        Answer::Later(_, call) => serve.run(clock.now(), call).boxed_local(),
                        Answer::Wait(reply) => reply.boxed_local(),
                    };
                    asked = Some((id, reply));
                }
                Action::StartTls => {
                    let late = async {
                        clock.sleep(HANDSHAKE).await;
                        None
                    };
                    let input = match stream.handshake(client).or(late).await {
                        Some(info) => Input::TlsStarted(info),
                        None => Input::Eof,
                    };
                    machine.handle_input(clock.now(), input);
                }
                Action::Note(note) => serve.note(clock.now(), &note),
                Action::Close => return machine,
                Action::SendBlob(blob, range) => {
                    if send_blob(&stream, serve, blob, range).await.is_err() {
                        return machine;
                    }
                }
                Action::Watch(watch, scope, seen) => {
                    let woken = woken.clone();
                    watches.insert(watch);
                    serve.watch(watch, scope, seen, Arc::new(move || woken.push(watch)));
                }
                Action::Unwatch(watch) => {
                    watches.remove(&watch);
                    serve.unwatch(watch);
                }
                // Nothing is compressed.
                Action::StartDeflate | Action::StopDeflate => {}
            }
        }
        let deadline = machine.poll_timeout();
        let tick = async {
            clock.deadline(deadline).await;
            Input::Tick
        };
        let bytes = async {
            if !machine.wants_bytes() {
                std::future::pending::<()>().await;
            }
            match stream.read().await {
                Item::Octets(octets) => Input::Bytes(Chunk::from(wires::heard(stream.bug(), octets))),
                Item::Hello | Item::Alert | Item::Eof => Input::Eof,
            }
        };
        let reply = async {
            match &mut asked {
                Some((id, reply)) => Input::Reply(*id, reply.await),
                None => std::future::pending().await,
            }
        };
        let news = async {
            loop {
                let watch = woken.next().await;
                if watches.contains(&watch) {
                    return Input::Dirty(watch);
                }
            }
        };
        let input = reply.or(bytes).or(news).or(tick).await;
        if matches!(input, Input::Reply(..)) {
            asked = None;
        }
        machine.handle_input(clock.now(), input);
    }
}

/// Octets of one read of a body.
const READ: usize = 64 * 1024;

async fn send_blob<V: Serve>(stream: &Stream, serve: &V, blob: BlobId, range: Range<u64>) -> StoreResult<()> {
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(READ);
        let chunk = serve.read_blob(blob, at, left).await?;
        assert!(!chunk.is_empty(), "a body is shorter than was promised");
        at += chunk.len() as u64;
        stream.send(&chunk);
    }
    serve.close_blob(blob);
    Ok(())
}
