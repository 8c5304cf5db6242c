//! Transcripts of mail protocol sessions, and the replayer that runs them against the machines of `rmail-core`, with the
//! service and the file store of `rmail-store` over a disk in memory. No socket, no clock, no wait.
//!
//! # The format
//!
//! A transcript reads like the examples of the RFCs. It is ordered and literal: every octet that the server sends must
//! stand in it, in its place.
//!
//! ```text
//! # IDLE tells about new mail at once; DONE ends it.
//! @rfc 9051 6.3.13
//! @session imap  user=mrc  selected=INBOX
//! @given INBOX  3 messages  uidnext=4
//!
//! C: A002 IDLE
//! S: + idling
//! !: deliver INBOX  rfc5322/simple.eml
//! S: * 4 EXISTS
//! T: +28m
//! S: * OK Still here
//! C: DONE
//! S: A002 OK ${*}
//! ```
//!
//! | line | means |
//! |---|---|
//! | `# …` | a comment; the first says what the transcript is about |
//! | `@rfc N [SECTION]` | where it is from |
//! | `@session [N] smtp\|smtp-client\|imap\|http [KEY=VALUE]…` | a connection; see [`transcript::Opening`] |
//! | `@given …` | what is there before; see [`transcript::Given`] |
//! | `@live` | runs against a server on a socket too: see [`live`] |
//! | `@recorded` | it was recorded of a session: what the server says may come sooner than it stands there |
//! | `@unplayable …` | it was recorded, and does not go as it stands there, for this reason |
//! | `C: …` `S: …` | a line of the client, of the server; `C2:` `S2:` on connection 2 |
//! | `C\| …` `S\| …` | a line of the literal or body announced before; `{*}` (or `{*+}`) in the line before stands for its true count, and `{#}` in a line above for the octets of the body below |
//! | `C= …` `S= …` | text without a line end; of the server: all that is left |
//! | `C~ …` `S~ …` | octets, without a line end, in Rust's escapes |
//! | `S^ …` | the head of an answer of HTTP: its first line; `S\| …` below it are fields that it must have, among others |
//! | `S-` | the server has sent nothing |
//! | `S#` | the server has closed the connection |
//! | `S{` … `S}` | the lines between come in any order |
//! | `S? …` | this line may be absent |
//! | `T: +28m` | time passes (`ms`, `s`, `m`, `h`) |
//! | `!: …` | something happens outside: see [`world::World`] |
//! | `A: …` | the machine wanted this done: a line that matches the action's `Debug` form |
//! | `R: …` | the call just asserted was refused with this word of policy, and not by the service |
//!
//! `${*}` matches any octets of a line, also none. `${name}` matches a word (no space in it) and binds it: further on,
//! also in client lines, it stands for the same; `${name:number}` matches digits only. `${user}`, `${password}`, `${plain}`
//! (both as AUTH PLAIN has them) and `${domain}` are bound from the beginning, to those of the first user; `${user2}` and so
//! on to those of further users. All else is literal: there are no regular expressions.
//!
//! Client lines that follow each other are pipelined. Every transcript is replayed three times: line by line, octet by
//! octet, and with lines that follow each other in one read; the octets sent must be the same.
//!
//! # Architecture invariants
//!
//! * Nothing here knows the answers: what the server says comes from the machines and the service alone.
//! * Extra output is an error: nothing is skipped in search of a line that matches.
//! * Time is virtual, chance is seeded: a transcript gives the same octets every time.

pub mod bless;
pub mod host;
pub mod live;
pub mod record;
pub mod replay;
pub mod report;
pub mod template;
pub mod transcript;
pub mod world;
