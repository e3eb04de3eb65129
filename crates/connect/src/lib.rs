//! The world's driver: [`observe`] makes `control::Event`s of what clusters and sources of signals say,
//! [`act`] carries out `control::Effect`s over the Kubernetes API. Twins and real clusters alike.
//!
//! Invariants: `observe` never writes and knows nothing of `act`, nor `act` of `observe`; no rule about
//! placement lives here. Every request has a timeout, every retry and input a named bound; the wall clock
//! is never read (timers are relative).
//!
//! Left out so far: usage of twins, which have no meters.

pub mod act;
pub mod client;
pub mod contexts;
pub mod observe;
pub mod proxy;
pub mod read_only;
pub mod rights;

pub use client::{Clients, client, client_that_reads};
