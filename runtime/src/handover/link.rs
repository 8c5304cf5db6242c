//! Between a running process and its successor: one packet a word, with at most one descriptor.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

/// Octets of a word: more than the longest reason.
const MAX_WORD: usize = 16 * 1024;

/// What is said.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// A socket that listens goes with this.
    Socket {
        /// What is served there.
        service: String,
        /// It is one of the file system.
        local: bool,
        /// It serves that whatever the configuration says.
        in_any_case: bool,
    },
    /// There are no more sockets.
    End,
    /// The successor accepts connections.
    Ready,
    /// The successor ends.
    Failed {
        /// Why.
        why: String,
    },
    /// The successor is the server now.
    Go,
}

/// An end of it.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

impl Link {
    /// Our end, and what becomes standard input of the successor.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self(ours), theirs))
    }

    /// The end that is our standard input.
    pub(super) fn from_stdin() -> io::Result<Self> {
        Ok(Self(io::stdin().as_fd().try_clone_to_owned()?))
    }

    /// How long each further word may take; `None`: as long as it takes.
    pub(super) fn set_patience(&self, patience: Option<Duration>) -> io::Result<()> {
        let socket = SockRef::from(&self.0);
        socket.set_read_timeout(patience)?;
        socket.set_write_timeout(patience)
    }

    /// Says a word.
    pub(super) fn send(&self, word: &Word, with: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let octets = serde_json::to_vec(word)?;
        let with: Vec<BorrowedFd<'_>> = with.into_iter().collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !with.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(&with)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let parts = [IoSlice::new(&octets)];
        retry_on_intr(|| rustix::net::sendmsg(&self.0, &parts, &mut ancillary, SendFlags::NOSIGNAL))?;
        Ok(())
    }

    /// Hears a word; `None`: the other is gone.
    pub(super) fn receive(&self) -> io::Result<Option<(Word, Option<OwnedFd>)>> {
        let mut octets = vec![0; MAX_WORD];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = retry_on_intr(|| {
            let mut parts = [IoSliceMut::new(&mut octets)];
            rustix::net::recvmsg(&self.0, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let length = match received {
            Ok(message) if message.bytes == 0 => return Ok(None),
            Ok(message) => message.bytes,
            Err(Errno::CONNRESET) => return Ok(None),
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        };
        let mut with = None;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                with = descriptors.next();
            }
        }
        let word = serde_json::from_slice(octets.get(..length).unwrap_or_default())?;
        Ok(Some((word, with)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    fn pair() -> (Link, Link) {
        let (ours, theirs) = Link::pair().expect("a pair");
        ours.set_patience(Some(Duration::from_secs(60)))
            .expect("a socket");
        (ours, Link(theirs))
    }

    #[test]
    fn words_come_one_by_one_with_their_sockets() {
        let (ours, theirs) = pair();
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let word = Word::Socket {
            service: "imap".to_owned(),
            local: false,
            in_any_case: true,
        };
        ours.send(&word, Some(socket.as_fd())).expect("sent");
        ours.send(&Word::End, None).expect("sent");
        let (heard, with) = theirs.receive().expect("heard").expect("there");
        assert_eq!(heard, word);
        let same = TcpListener::from(with.expect("a socket"));
        assert_eq!(same.local_addr().ok(), socket.local_addr().ok());
        let (heard, with) = theirs.receive().expect("heard").expect("there");
        assert!(heard == Word::End && with.is_none());
    }

    #[test]
    fn the_end_of_the_other_is_heard_behind_its_words() {
        let (ours, theirs) = pair();
        let why = "x".repeat(9_000);
        let failed = Word::Failed { why };
        theirs.send(&failed, None).expect("sent");
        drop(theirs);
        assert_eq!(ours.receive().expect("heard").map(|(word, _)| word), Some(failed));
        assert!(ours.receive().expect("heard").is_none());
        assert!(
            ours.send(&Word::Go, None).is_err(),
            "and it is no signal that kills"
        );
    }

    #[test]
    fn patience_ends() {
        let (ours, _theirs) = pair();
        ours.set_patience(Some(Duration::from_millis(1)))
            .expect("a socket");
        let error = ours.receive().expect_err("nothing was said");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
