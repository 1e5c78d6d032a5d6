//! HTTP faces of the control plane: OAuth, API, pages.

pub mod api;
pub mod assets;
pub mod pages;
pub mod same_origin;
