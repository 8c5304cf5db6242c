//! What the API wants of the connection, and the way of an answer.

use super::super::exchange::{Answer, Begun};
use super::super::wire::{self, End};
use super::super::{Application, Body, Response};
use super::{HttpSession, Phase};
use crate::api::Step;
use crate::machine::{Action, CallId, SpoolId};
use crate::note::Note;
use crate::pace::Pace;

/// A body of at most so many octets goes out with its head in one piece.
const JOINED: usize = 16 * 1024;

impl<A: Application> HttpSession<A> {
    pub(super) fn perform(&mut self, step: Step) {
        match step {
            Step::Call(call) => {
                self.calls += 1;
                let id = CallId(self.calls);
                self.awaiting = Some(id);
                self.push(Action::Call(id, call));
            }
            Step::Read { max, spool } => self.read(max, spool),
            Step::Respond(response) => self.respond(response),
            Step::Push(octets) => self.push_on(octets),
            Step::End => self.stream_is_whole(),
            Step::Watch(id, scope, seen) => self.push(Action::Watch(id, scope, seen)),
            Step::Unwatch(id) => self.push(Action::Unwatch(id)),
            Step::Note(note) => self.push(Action::Note(note)),
        }
    }

    fn read(&mut self, max: u64, spool: Option<SpoolId>) {
        let Phase::Work(exchange) = &mut self.phase else {
            return;
        };
        let pace = Pace::new(self.now, self.patience.request);
        let begun = exchange.read(max, spool, pace);
        match begun {
            Begun::Nothing => return self.api.body(self.now, Vec::new()),
            Begun::TooLarge => return self.api.no_body(self.now, true),
            Begun::Continue => self.send(b"HTTP/1.1 100 Continue\r\n\r\n".to_vec()),
            Begun::Reading => {}
        }
        self.deadline = Some(pace.deadline(self.now));
    }

    fn respond(&mut self, mut response: Response) {
        let Phase::Work(exchange) = &mut self.phase else {
            return;
        };
        if !matches!(exchange.answer, Answer::Awaited) {
            let again = format!("a second answer: {}", response.status);
            return self.push(Action::Note(Note::Internal(again)));
        }
        exchange.reading = None;
        self.deadline = None;
        let (end, gzip) = exchange.encode(&mut response);
        exchange.persistent &= !self.stopping && end != End::Closed && exchange.to_drain().is_some();
        let connection = match (exchange.persistent, exchange.old) {
            (false, _) => Some("close"),
            (true, true) => Some("keep-alive"),
            (true, false) => None,
        };
        let mut octets = wire::head(&response, end, connection, Some(self.now.unix));
        let status = response.status.to_string();
        exchange.answer = match (&response.body, gzip) {
            _ if exchange.head_only => Answer::Whole,
            (Body::Stream, _) => Answer::Streaming,
            (_, Some(gzip)) => Answer::Compressing(gzip),
            _ => Answer::Whole,
        };
        let head_only = exchange.head_only;
        self.push(Action::Note(Note::Response(status)));
        match response.body {
            Body::Bytes(body) if !head_only && body.len() > JOINED => {
                self.send(octets);
                self.send(body);
            }
            Body::Bytes(body) => {
                if !head_only {
                    octets.extend_from_slice(&body);
                }
                self.send(octets);
            }
            Body::Blob(blob, len) => {
                self.send(octets);
                // The end of the range is the end of the body: it is closed.
                let start = if head_only { len } else { 0 };
                self.push(Action::SendBlob(blob, start..len));
                self.held_up = true;
            }
            Body::Stream => {
                self.send(octets);
                if head_only {
                    self.api.gone();
                }
            }
        }
    }

    fn push_on(&mut self, octets: Vec<u8>) {
        match &self.phase {
            Phase::Work(exchange) if !matches!(exchange.answer, Answer::Streaming) => {}
            Phase::Work(exchange) if exchange.old => self.send(octets),
            Phase::Work(_) => self.send(wire::chunk(&octets)),
            _ => {}
        }
    }

    fn stream_is_whole(&mut self) {
        if let Phase::Work(exchange) = &mut self.phase
            && matches!(exchange.answer, Answer::Streaming)
        {
            exchange.answer = Answer::Whole;
            if !exchange.old {
                self.send(wire::LAST_CHUNK.to_vec());
            }
        }
    }

    /// Nobody hears the stream any more, or the server goes down.
    pub(super) fn end_stream(&mut self) {
        self.abandon();
        if !self.eof {
            self.stream_is_whole();
        }
        self.close();
    }

    /// The response is out. What the client sent of a body that nobody wanted comes before its next request.
    pub(super) fn finish(&mut self) {
        let Phase::Work(exchange) = &self.phase else {
            return;
        };
        match exchange.to_drain() {
            _ if !exchange.persistent => self.close(),
            None => self.close(),
            Some(0) => self.await_request(),
            Some(left) => {
                self.phase = Phase::Drain(left);
                self.deadline = Some(self.now.mono + self.patience.request);
            }
        }
    }

    /// The API hears that nothing more comes of the request. The connection is closed behind this, and with it everything ends
    /// that the request has opened.
    pub(super) fn abandon(&mut self) {
        let Phase::Work(exchange) = &mut self.phase else {
            return;
        };
        if exchange.reading.take().is_some() {
            self.api.no_body(self.now, false);
        }
        self.api.gone();
        while let Some(step) = self.api.poll_step() {
            match step {
                Step::Unwatch(id) => self.push(Action::Unwatch(id)),
                Step::Note(note) => self.push(Action::Note(note)),
                _ => {}
            }
        }
    }

    /// An answer of the connection itself, and its end.
    pub(super) fn refuse(&mut self, status: u16, text: &'static str) {
        let (head_only, begun) = match &self.phase {
            Phase::Work(exchange) => (exchange.head_only, !matches!(exchange.answer, Answer::Awaited)),
            _ => (false, false),
        };
        let mut response = Response::error(status, text);
        self.api.refusal(&mut response);
        self.abandon();
        self.push(Action::Note(Note::Refused {
            what: "request".to_owned(),
            reply: format!("{status} {text}"),
        }));
        if !begun {
            let octets = response.last(head_only, Some(self.now.unix));
            self.send(octets);
        }
        self.close();
    }
}
