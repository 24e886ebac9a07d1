//! HTTP/1.1 (RFC 9112), and HTTP/1.0 as far as it is still spoken.
//!
//! One file per state of a connection, in the order in which a request meets them.

mod syntax;

mod fields;
mod framing;
mod resume;
mod semantics;
mod target;

mod head;
mod head_view;

mod body;
mod chunked;
mod trailers;

mod encode;
mod status_line;

mod exchange;

mod request_encode;
mod response;

pub use body::{BodyDecoder, Decoded};
pub use encode::{
    BodyLength, CHUNK_END, CONTINUE, ResponseHead, Sent, chunk, chunk_start, last_chunk, response_head,
};
pub use exchange::{After, Exchange, RequestEnd};
pub use fields::{Headers, Parse};
pub use framing::Framing;
pub use head::Head;
pub use head_view::HeadView;
pub use request_encode::{RequestHead, request_head};
pub use response::{ResponseHeadParser, ResponseView};

pub(crate) use syntax::{decimal, is_blank, is_token};
