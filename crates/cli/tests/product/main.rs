//! The product as its users meet it: the real binary, kubectl, the REST API, and `kill -9`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod kill;
mod roles;
mod support;
mod up;
