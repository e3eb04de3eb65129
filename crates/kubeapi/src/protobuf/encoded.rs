//! Objects encoded lately, so that a change is encoded once for all who watch.
//!
//! Bounds: [`SLOTS`] objects, whichever were encoded last among those whose versions fall on the same slot; larger ones than
//! [`BYTES_MAX`] are not kept.

use super::encode;
use std::sync::{Arc, Mutex, PoisonError};
use twin::{Kind, Stored, apiserver};

/// Most objects kept: watches that keep up are within as many changes of each other.
const SLOTS: usize = 1024;
/// Largest object kept, in bytes: 16 MiB in all.
const BYTES_MAX: usize = 16 << 10;

/// One of them: as which kind it is shown, which it is, its bytes. A watch tells an object that it no longer sees as it was, under
/// the version in which it has become another: versions alone do not say which.
type Slot = Option<(Kind, Arc<Stored>, Arc<[u8]>)>;

/// What a cluster's watches share.
#[derive(Default)]
pub(crate) struct Encoded(Mutex<Vec<Slot>>);

impl Encoded {
    /// A stored object as `kind`, in protobuf.
    pub fn of(&self, kind: Kind, stored: &Arc<Stored>) -> Option<Arc<[u8]>> {
        let at = usize::try_from(stored.version).unwrap_or(0) % SLOTS;
        {
            let slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(Some((of, kept, bytes))) = slots.get(at)
                && *of == kind
                && Arc::ptr_eq(kept, stored)
            {
                return Some(bytes.clone());
            }
        }
        let bytes: Arc<[u8]> = encode(&apiserver::shown_value(kind, stored))?.into();
        if bytes.len() <= BYTES_MAX {
            let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if slots.is_empty() {
                slots.resize(SLOTS, None);
            }
            slots[at] = Some((kind, stored.clone(), bytes.clone()));
        }
        Some(bytes)
    }
}
