//! HTTP/1.1 (RFC 9112): the server's side of a connection, and a client for one exchange.
//!
//! [`HttpSession`] knows framing, connections and time; what a request means is [`crate::api`].

mod application;
mod chunked;
pub mod client;
mod exchange;
mod gzip;
mod head;
mod request;
mod response;
mod session;
mod target;
mod wire;

pub use application::Application;
pub use head::Head;
pub use response::{Body, Response, reason};
pub use session::{HttpSession, Patience};
