//! Messages of HTTP/1.1 that have no body, or an answer's body, on both sides of the data plane.
//!
//! hyper speaks HTTP for us. Most requests have no body, though, and want none of what makes that work: a second task
//! or a queue between the request and its connection. For these alone the lane (`listener::lane`) and the driven
//! connections (`upstream::driven`) read and write the bytes themselves, with hyper's own parser; whatever is not the
//! plainest of requests is hyper's.

mod came;
mod chunks;
mod head;
mod received;
mod spare;

pub(crate) use self::came::Came;
pub(crate) use self::chunks::ChunkError;
pub(crate) use self::head::{
    Answered, HeadError, Looked, Parsed, Present, keeps_alive, members, read_answer, read_request, write_field,
    write_fields, write_today,
};
pub(crate) use self::received::{Next, Received};
pub(crate) use self::spare::{give as give_back, give_text as give_back_text, take as no_fields, take_text as no_text};
