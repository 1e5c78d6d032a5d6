//! Parts of lists.

pub use portcullis_store::select::{Listed, Slice};
