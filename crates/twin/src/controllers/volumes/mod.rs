//! Claims, volumes and where they are attached.
//!
//! `persistentvolume-binder` ([`Binder`]) binds claims to volumes, has volumes made and taken away, lets them grow, and
//! keeps those in use from being deleted; `attachdetach` ([`AttachDetach`]) attaches a volume to the node its pod is
//! bound to and detaches it afterwards. Times are those of network disks in a cloud; they are assumed, and stand in the
//! constants here. The store of a driver is not modelled: a volume that is asked for is made.

mod attachdetach;
mod binder;
mod claims;

pub(crate) use attachdetach::{AttachDetach, attached, is_attached, node_of};
pub(crate) use binder::{BOUND_BY_CONTROLLER, Binder, SELECTED_NODE, refer};
pub(crate) use claims::{claim_kind, volume_kind};

use fleet::Span;

/// From asking for a volume to having it: a network disk is made in one to five seconds; assumed.
pub(crate) const PROVISION: Span = Span::from_seconds(3);
/// From taking leave of a volume to its being gone; assumed.
pub(crate) const DELETE: Span = Span::from_seconds(5);
/// From asking to attach to being attached: a network disk takes 3 to 10 s; assumed.
pub(crate) const ATTACH: Span = Span::from_seconds(5);
/// From its last pod's end to being detached; assumed.
pub(crate) const DETACH: Span = Span::from_seconds(5);
/// Of that, until the node has taken it off and said so; a pod that comes until then uses it on; assumed.
pub(crate) const UNMOUNT: Span = Span::from_seconds(1);
/// From asking a disk to grow to its file system being as large; assumed.
pub(crate) const EXPAND: Span = Span::from_seconds(10);
/// How long a volume whose node does not answer is left attached in case it is still written to
/// (`maxWaitForUnmountDuration` of attachdetach).
pub(crate) const UNMOUNT_WAIT: Span = Span::from_seconds(360);
