//! What a world does over time: Jobs and their pods, nodes and their faults, energy, and that the same
//! seed and requests always give the same bytes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "what a test unwraps is what it asserts")]

mod autoscalers;
mod determinism;
mod faults;
mod fixture;
mod imported;
mod jobs;
mod machines;
mod nodes;
mod objects;
mod policies;
mod queueing;
mod rollouts;
mod schedulers;
mod scheduling;
mod services;
mod sets;
mod volumes;
mod webhooks;
