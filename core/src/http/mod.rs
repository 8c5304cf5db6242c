//! HTTP/1.1 (RFC 9112): the server's side of a connection, and a client for one exchange.
//!
//! [`HttpSession`] knows framing, connections and time; what a request means is [`crate::api`].

pub mod client;
mod head;
mod request;
mod response;
mod session;

pub use head::Head;
pub use response::{Body, Response, reason};
pub use session::HttpSession;
