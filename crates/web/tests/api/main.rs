//! The API, asked as its clients ask it.

mod applications;
mod bindings;
mod providers;
mod read_only;
mod site;
