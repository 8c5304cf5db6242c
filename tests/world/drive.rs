//! Drives a session over a connection of the world, as the daemon's driver does over a socket.

use std::pin::Pin;
use std::time::Duration;

use futures_lite::FutureExt as _;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, CallId, Input, Session};
use rmail_store::service::{Answer, Serve};

use crate::clock::Clock;
use crate::link::{Item, Stream};

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
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Send(octets) => stream.send(octets.as_ref()),
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
                // No account changes while a world lasts, and SMTP opens no bodies and does not compress.
                _ => {}
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
                Item::Octets(octets) => Input::Bytes(Chunk::from(octets)),
                Item::Hello | Item::Alert | Item::Eof => Input::Eof,
            }
        };
        let reply = async {
            match &mut asked {
                Some((id, reply)) => Input::Reply(*id, reply.await),
                None => std::future::pending().await,
            }
        };
        let input = reply.or(bytes).or(tick).await;
        if matches!(input, Input::Reply(..)) {
            asked = None;
        }
        machine.handle_input(clock.now(), input);
    }
}
