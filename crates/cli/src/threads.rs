//! Pieces of work that share nothing, on all cores: what they come to is in their order whatever thread ends first, so that
//! it is the same with any number of threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most threads.
const THREADS_MAX: usize = 256;

/// What each of the first `count` numbers comes to; on so many threads, else on all cores.
pub fn each<T: Send>(count: usize, threads: Option<usize>, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let next = AtomicUsize::new(0);
    let done: Vec<Mutex<Option<T>>> = (0..count).map(|_| Mutex::new(None)).collect();
    let one_after_the_other = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(place) = done.get(at) else { return };
            let own = work(at);
            *place.lock().expect("nothing panics while it is held") = Some(own);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.unwrap_or_else(cores).clamp(1, count.clamp(1, THREADS_MAX)) {
            scope.spawn(one_after_the_other);
        }
    });
    done.into_iter().filter_map(|place| place.into_inner().ok().flatten()).collect()
}
