//! The side of the server: who may speak, a request, the lines of its answer.

use std::future::Future;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use crate::engine::{Engine, Task};
use crate::engine::{Io, Timer};
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};

use super::{MAX_LINE, PATIENCE, Place, Reply, Request};

/// Clients at the same time; more have to wait.
const MAX_CLIENTS: usize = 32;

/// Where the lines of an answer go.
#[derive(Debug)]
pub(crate) struct Answers(Io<UnixStream>);

impl Answers {
    /// Sends a line. Fails when the client is gone or does not read.
    pub(crate) async fn say(&mut self, reply: &Reply) -> io::Result<()> {
        let mut line = serde_json::to_vec(reply)?;
        line.push(b'\n');
        self.0.write_all(&line).or(late()).await
    }
}

/// Serves clients for as long as it is polled: each has one request handed to `answer`. What `answer` has not ended when
/// this is dropped is dropped with it.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn serve<A, F>(
    place: &Place,
    executor: Arc<Engine>,
    answer: A,
) -> io::Result<impl Future<Output = ()> + Send + use<A, F>>
where
    A: Fn(Request, Answers) -> F + Send + Sync + 'static,
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    let (listener, bound) = place.bind()?;
    let listener = Io::new(listener)?;
    let answer = Arc::new(answer);
    Ok(async move {
        let _bound = bound;
        let mut clients: Vec<Task<()>> = Vec::new();
        loop {
            let socket = accept(&listener).await;
            clients.retain(|client| !client.is_finished());
            if clients.len() >= MAX_CLIENTS {
                clients.remove(0).await;
            }
            let answer = Arc::clone(&answer);
            clients.push(executor.spawn(async move {
                if let Err(error) = client(socket, &*answer).await {
                    log::debug!(target: "control", "event=client_lost error={:?}", error.to_string());
                }
            }));
        }
    })
}

async fn accept(listener: &Io<UnixListener>) -> Io<UnixStream> {
    loop {
        match listener.accept().await {
            Ok(socket) => return socket,
            Err(error) => {
                log::debug!(target: "control", "event=accept_failed error={:?}", error.to_string());
                // No descriptors, most likely: others give some back.
                Timer::after(PATIENCE / 10).await;
            }
        }
    }
}

async fn client<A, F>(socket: Io<UnixStream>, answer: &A) -> io::Result<()>
where
    A: Fn(Request, Answers) -> F,
    F: Future<Output = io::Result<()>>,
{
    let mut answers = Answers(socket);
    if !is_ours(&answers.0) {
        let why = "only the user that the server runs as, and root, may ask it".to_owned();
        return answers.say(&Reply::Failed { why }).await;
    }
    let line = read_line(&mut answers.0).or(late()).await?;
    match serde_json::from_slice(&line) {
        Ok(request) => {
            log::debug!(target: "control", "event=asked request={request:?}");
            answer(request, answers).await
        }
        Err(error) => {
            let version = env!("CARGO_PKG_VERSION");
            let why = format!("this server (version {version}) does not understand the request: {error}");
            answers.say(&Reply::Failed { why }).await
        }
    }
}

/// Whether our user or root is at the other end.
fn is_ours(socket: &impl AsFd) -> bool {
    rustix::net::sockopt::socket_peercred(socket)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}

async fn read_line(socket: &mut Io<UnixStream>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    let mut piece = [0; 1_024];
    loop {
        let count = socket.read(&mut piece).await?;
        let read = piece.get(..count).unwrap_or_default();
        if let Some(end) = read.iter().position(|octet| *octet == b'\n') {
            line.extend_from_slice(read.get(..end).unwrap_or_default());
            return Ok(line);
        }
        line.extend_from_slice(read);
        if count == 0 || line.len() > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

async fn late<T>() -> io::Result<T> {
    Timer::after(PATIENCE).await;
    Err(io::ErrorKind::TimedOut.into())
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::super::{Status, ask_all};
    use super::*;

    /// A server that answers every request with a status and an end, while `test` runs.
    fn with_server(test: impl FnOnce(&std::path::Path, &Place)) {
        let dir = tempfile::tempdir().expect("a directory");
        let place = Place::make(dir.path(), false).expect("made");
        let executor = Arc::new(Engine::new().expect("an engine"));
        let serving = serve(
            &place,
            Arc::clone(&executor),
            async |_: Request, mut answers: Answers| {
                answers.say(&Reply::Status(Status::default())).await?;
                answers.say(&Reply::Failed { why: "end".into() }).await
            },
        );
        let serving = executor.spawn(serving.expect("bound"));
        let (stop, stopped) = async_channel::bounded::<()>(1);
        std::thread::scope(|scope| {
            scope.spawn(|| executor.block_on(stopped.recv()));
            test(dir.path(), &place);
            drop((serving, stop));
        });
    }

    #[test]
    fn a_request_has_the_lines_of_its_answer() {
        with_server(|root, _| {
            let answers = ask_all(root, &Request::Status).expect("asked");
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].server, std::process::id().to_string());
            let replies = answers[0].replies.as_ref().expect("answered");
            assert!(
                matches!(replies[..], [Reply::Status(_), Reply::Failed { .. }]),
                "{replies:?}"
            );
        });
    }

    #[test]
    fn what_is_no_request_is_answered_in_words_and_what_is_too_long_is_cut() {
        with_server(|_, place| {
            let name = place.names().expect("listed").remove(0);
            let mut socket = place.connect(&name).expect("connected");
            socket.write_all(b"{\"ask\":\"fly\"}\n").expect("written");
            let mut line = String::new();
            BufReader::new(&socket).read_line(&mut line).expect("answered");
            assert!(
                line.contains("\"reply\":\"failed\"") && line.contains("fly"),
                "{line}"
            );
            let mut socket = place.connect(&name).expect("connected");
            // The server may close before all is written.
            let _ = socket.write_all(&vec![b'x'; MAX_LINE * 4]);
            let mut line = String::new();
            let _ = BufReader::new(&socket).read_line(&mut line);
            assert_eq!(line, "");
        });
    }
}
