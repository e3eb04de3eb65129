//! The API over a small twin held in memory: single requests, watches, and the real kubectl.

mod kubectl;
mod memory;
mod rest;
mod watches;
