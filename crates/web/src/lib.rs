//! HTTP faces of the control plane: OAuth, API, pages.
