//! The Common Expression Language as Kubernetes 1.36 speaks it: rules of custom resources and admission policies.
//!
//! [`Program::compile`] parses, writes macros out and checks types; [`Program::evaluate`] evaluates on JSON where it
//! stands. Both say what is wrong in cel-go's words. Costs are counted as Kubernetes counts them (a [`Meter`]), and what
//! costs do not tell is bounded beside them: depth, parts, work and the size of what is made.
//!
//! Invariants: no input, however made, panics, runs out of stack or goes on for more than some tenths of a second; the
//! same expression on the same values gives the same. Leaves out `authorizer`, time zones by name, and identifiers in
//! backticks.

mod ast;
mod check;
mod cost;
mod decl;
mod estimate;
mod eval;
mod json;
mod lexer;
mod library;
mod macros;
mod parser;
mod program;
mod trial;
mod types;
mod value;

pub(crate) use check::Scope;
pub(crate) use decl::{Decl, Entries, entries, escape};
pub(crate) use eval::Bindings;
pub(crate) use library::base64;
pub(crate) use program::{Program, Refusal};
pub(crate) use trial::CALL_COST_MAX;
pub use trial::{Trial, try_rule};
pub(crate) use types::Type;
pub(crate) use value::{Fault, Meter, Value};
