//! How many files the process may have open.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Allows as many as the system lets us. Every connection is one, a proxied one two, and what processes usually begin
/// with, 1024, is for programs older than that.
pub(crate) fn allow_many() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit on open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PX-009: the process allows itself as many open files as it may have.
    #[test]
    fn px_009_the_limit_on_open_files_is_raised() {
        let mut limit = getrlimit(Resource::Nofile);
        limit.current = Some(512);
        setrlimit(Resource::Nofile, limit).unwrap();
        allow_many();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
    }
}
