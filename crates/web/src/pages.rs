//! Pages for people: rendered here, without script (D9 of the design).

pub mod view;
