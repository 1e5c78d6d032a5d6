//! Processes, peers and browsers for end-to-end tests.
