//! Drives a session over a connection of the world, as the daemon's driver does over a socket.

use std::time::Duration;

use futures_lite::FutureExt as _;
use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, Input, Session};
use rmail_store::service::{Answer, Serve};

use crate::clock::Clock;
use crate::link::{Item, Stream};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// Runs a session until it closes; then it can be asked for its result.
pub async fn drive<M, V>(clock: &Clock, mut machine: M, stream: Stream, serve: &V, client: bool) -> M
where
    M: Session<Call = V::Call, Reply = V::Reply>,
    V: Serve,
{
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
                        Answer::Now(reply) => reply,
                        Answer::Later(_, call) => serve.run(clock.now(), call).await,
                        Answer::Wait(reply) => reply.await,
                    };
                    machine.handle_input(clock.now(), Input::Reply(id, reply));
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
        let input = bytes.or(tick).await;
        machine.handle_input(clock.now(), input);
    }
}
