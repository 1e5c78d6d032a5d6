//! HTTP faces of the control plane: OAuth, API, pages.

pub mod assets;
pub mod pages;
