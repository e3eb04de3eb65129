//! What is learnt from outside: clusters ([`kube`], and first [`about`] them), carbon intensity from files ([`carbon`]) and from services
//! ([`provider`]), prices of electricity ([`electricity`]), job traces ([`trace`]), what nodes and pods use ([`usage`]), how long an API server takes to answer
//! ([`round_trip`]), whole collections once ([`collection`]).
//!
//! Nothing here changes anything; text that comes in is bounded and refused with its position.

pub mod about;
mod backoff;
pub mod carbon;
pub mod collection;
pub mod electricity;
pub mod instances;
pub mod kube;
mod pager;
pub mod provider;
pub mod round_trip;
pub mod table;
pub mod trace;
pub mod usage;
