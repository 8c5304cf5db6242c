//! One session of any protocol on a tokio stream, in clear text.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rmail_core::chunk::Chunk;
use rmail_core::machine::{Action, BlobId, Input, Session, WatchId};
use rmail_core::time::{Mono, Now, Unix};
use rmail_store::service::{Answer, Serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

/// Octets of one read.
const READ: usize = 16 * 1024;

/// The two clocks that sessions are told.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { mono: Mono(self.start.elapsed()), unix: Unix(unix) }
    }
}

/// Runs a session to its end.
pub async fn host<M, V>(mut machine: M, mut stream: TcpStream, serve: Arc<V>, clock: Clock) -> io::Result<()>
where
    M: Session<Call = V::Call, Reply = V::Reply>,
    V: Serve,
{
    let news = Arc::new(News::default());
    let mut buffer = vec![0; READ];
    let mut reply: Option<oneshot::Receiver<Input<V::Reply>>> = None;
    let mut eof = false;
    loop {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Send(bytes) => stream.write_all(bytes.as_ref()).await?,
                Action::SendBlob(blob, range) => send_blob(&mut stream, &serve, blob, range).await?,
                Action::Spool(id, chunk) => {
                    if let Err(chunk) = serve.spool_now(id, chunk) {
                        let serve = Arc::clone(&serve);
                        blocking(move || futures_lite::future::block_on(serve.spool(id, chunk))).await?;
                    }
                }
                Action::Call(id, call) => match serve.answer(clock.now(), call) {
                    Answer::Now(answer) => machine.handle_input(clock.now(), Input::Reply(id, answer)),
                    Answer::Later(_, call) => {
                        let (tell, told) = oneshot::channel();
                        let serve = Arc::clone(&serve);
                        tokio::task::spawn_blocking(move || {
                            let answer = futures_lite::future::block_on(serve.run(clock.now(), call));
                            // The session may have ended meanwhile.
                            drop(tell.send(Input::Reply(id, answer)));
                        });
                        reply = Some(told);
                    }
                    Answer::Wait(waiting) => {
                        let (tell, told) = oneshot::channel();
                        tokio::spawn(async move {
                            let answer = waiting.await;
                            drop(tell.send(Input::Reply(id, answer)));
                        });
                        reply = Some(told);
                    }
                },
                Action::Watch(id, scope, seen) => {
                    let news = Arc::clone(&news);
                    serve.watch(id, scope, seen, Arc::new(move || news.tell(id)));
                }
                Action::Unwatch(id) => serve.unwatch(id),
                Action::Note(note) => eprintln!("{note:?}"),
                Action::StartTls | Action::StartDeflate | Action::StopDeflate => {
                    return Err(io::Error::other("this host offers neither TLS nor compression"));
                }
                Action::Close => return stream.shutdown().await,
            }
        }
        let deadline = machine.poll_timeout().map(|at| tokio::time::Instant::from_std(clock.start + at.0));
        let input = tokio::select! {
            read = stream.read(&mut buffer), if machine.wants_bytes() && !eof => match read? {
                0 => {
                    eof = true;
                    Input::Eof
                }
                n => Input::Bytes(Chunk::copy_from(&buffer[..n])),
            },
            answer = async { reply.as_mut().expect("guarded").await }, if reply.is_some() => {
                reply = None;
                answer.map_err(|_| io::Error::other("the service failed"))?
            }
            () = news.notify.notified() => {
                for id in news.take() {
                    machine.handle_input(clock.now(), Input::Dirty(id));
                }
                continue;
            }
            () = async { tokio::time::sleep_until(deadline.expect("guarded")).await }, if deadline.is_some() => Input::Tick,
        };
        machine.handle_input(clock.now(), input);
    }
}

/// Watches that have news.
#[derive(Default)]
struct News {
    dirty: Mutex<Vec<WatchId>>,
    notify: Notify,
}

impl News {
    fn tell(&self, id: WatchId) {
        let mut dirty = self.dirty.lock().expect("no panic while it is held");
        if !dirty.contains(&id) {
            dirty.push(id);
        }
        drop(dirty);
        self.notify.notify_one();
    }

    fn take(&self) -> Vec<WatchId> {
        std::mem::take(&mut *self.dirty.lock().expect("no panic while it is held"))
    }
}

async fn send_blob<V: Serve>(
    stream: &mut TcpStream,
    serve: &Arc<V>,
    blob: BlobId,
    range: std::ops::Range<u64>,
) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let max = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(READ * 4);
        let service = Arc::clone(serve);
        let read = move || futures_lite::future::block_on(service.read_blob(blob, at, max));
        let chunk = blocking(read).await?.map_err(io::Error::other)?;
        if chunk.is_empty() {
            return Err(io::Error::other("a stored message became shorter"));
        }
        stream.write_all(&chunk).await?;
        at += chunk.len() as u64;
    }
    serve.close_blob(blob);
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
