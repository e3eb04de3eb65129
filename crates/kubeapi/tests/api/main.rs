//! The API over a small twin held in memory: single requests, watches, and the real kubectl.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

mod answers;
mod fuzz;
mod kinds;
mod kubectl;
mod memory;
mod policies;
mod protobuf;
mod refusals;
mod rest;
mod roles;
mod rollout;
mod rules;
mod watches;
mod webhooks;
