//! What is learnt from outside: clusters ([`kube`]), carbon intensity ([`carbon`]), job traces ([`trace`]).
//!
//! Nothing here changes anything; text that comes in is bounded and refused with its position.

mod backoff;
pub mod carbon;
pub mod kube;
pub mod table;
pub mod trace;
