//! The queue of writes and the one task that empties it.
//!
//! Invariants: the order in the queue is the order of `append` and of commit; memory held by waiting
//! writes is at most [`QUEUE_BYTES_MAX`]; every receipt is answered, whatever becomes of the task; after
//! a failure the queue takes nothing more.

use crate::Error;
use crate::write::{self, Write};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnection, SqlitePool};
use std::collections::VecDeque;
use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::{Notify, oneshot, watch};

/// Bytes of writes that may wait: the largest snapshot and as much again.
pub const QUEUE_BYTES_MAX: usize = 2 * crate::SNAPSHOT_BYTES_MAX;
/// Writes in one transaction: large enough to share the cost of a sync, small enough to take milliseconds.
const BATCH_WRITES_MAX: usize = 1024;
/// Bytes in one transaction, unless a single write is larger.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// Resolves once the write is durable, or to why it is not. Dropping it does not take the write back.
#[derive(Debug)]
#[must_use = "the write is not durable before its receipt says so"]
pub struct Receipt {
    answer: oneshot::Receiver<Result<(), Error>>,
    place: Arc<str>,
}

impl Future for Receipt {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|answer| {
            // The sender is dropped unanswered only when the writer goes with its runtime.
            answer.unwrap_or_else(|_| Err(Error::Closed { place: self.place.clone() }))
        })
    }
}

#[derive(Debug)]
struct Queued {
    /// None for a mark that is only to be answered after all before it.
    write: Option<Write>,
    cost_bytes: usize,
    answer: oneshot::Sender<Result<(), Error>>,
}

#[derive(Debug, Default)]
struct Waiting {
    queued: VecDeque<Queued>,
    /// Of what waits and of what is being written.
    bytes: usize,
    /// Set once: nothing is taken any more, and why.
    stopped: Option<Error>,
    /// The task is to end when nothing waits.
    closing: bool,
}

/// What handles and the writer share.
#[derive(Debug)]
pub(crate) struct Queue {
    place: Arc<str>,
    waiting: Mutex<Waiting>,
    wake: Notify,
    ended: watch::Sender<bool>,
    commits: AtomicU64,
}

enum Next {
    Batch(Vec<Queued>),
    Idle,
    End,
}

impl Queue {
    pub(crate) fn new(place: Arc<str>) -> Queue {
        Queue {
            place,
            waiting: Mutex::default(),
            wake: Notify::new(),
            ended: watch::Sender::new(false),
            commits: AtomicU64::new(0),
        }
    }

    /// Nothing runs under this lock but a few moves: it never waits for the disk.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a write (or a mark) at the end.
    pub(crate) fn push(&self, write: Option<Write>) -> Receipt {
        let (answer, receiver) = oneshot::channel();
        let receipt = Receipt { answer: receiver, place: self.place.clone() };
        let cost_bytes = write.as_ref().map_or(0, Write::cost_bytes);
        let mut waiting = self.waiting();
        match self.admit(&mut waiting, write.as_ref(), cost_bytes) {
            Ok(()) => {
                waiting.bytes += cost_bytes;
                waiting.queued.push_back(Queued { write, cost_bytes, answer });
                drop(waiting);
                self.wake.notify_one();
            }
            // The receipt may already be gone, and then nobody asks.
            Err(error) => drop(answer.send(Err(error))),
        }
        receipt
    }

    fn admit(&self, waiting: &mut Waiting, write: Option<&Write>, cost_bytes: usize) -> Result<(), Error> {
        if let Some(error) = &waiting.stopped {
            return Err(error.clone());
        }
        let Some(write) = write else { return Ok(()) };
        if let Err(error) = write.check() {
            if write.leaves_a_hole() {
                waiting.stopped = Some(self.stopped_by(&error));
            }
            return Err(error);
        }
        let found = waiting.bytes + cost_bytes;
        if found > QUEUE_BYTES_MAX {
            let error = Error::QueueFull { place: self.place.clone(), found, limit: QUEUE_BYTES_MAX };
            // Whoever comes next might fit and would then be on disk without this one.
            waiting.stopped = Some(self.stopped_by(&error));
            return Err(error);
        }
        Ok(())
    }

    fn stopped_by(&self, error: &Error) -> Error {
        tracing::error!(place = %self.place, %error, "writing stops: nothing more will be saved until a restart");
        Error::Stopped { place: self.place.clone(), source: Arc::new(error.clone()) }
    }

    fn take(&self) -> Next {
        let mut waiting = self.waiting();
        let mut bytes = 0;
        let mut count = 0;
        for queued in waiting.queued.iter().take(BATCH_WRITES_MAX) {
            bytes += queued.cost_bytes;
            if count > 0 && bytes > BATCH_BYTES_MAX {
                break;
            }
            count += 1;
        }
        match (count, waiting.closing) {
            (0, true) => Next::End,
            (0, false) => Next::Idle,
            _ => Next::Batch(waiting.queued.drain(..count).collect()),
        }
    }

    /// Gives up on all that waits; returns the answers that are due.
    fn stop(&self, error: &Error) -> Vec<(oneshot::Sender<Result<(), Error>>, Error)> {
        let mut waiting = self.waiting();
        let stopped = waiting.stopped.get_or_insert_with(|| error.clone()).clone();
        waiting.bytes = 0;
        waiting.queued.drain(..).map(|queued| (queued.answer, stopped.clone())).collect()
    }

    /// Takes nothing more; the task writes what waits, then ends.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closing = true;
        waiting.stopped.get_or_insert_with(|| Error::Closed { place: self.place.clone() });
        drop(waiting);
        self.wake.notify_one();
    }

    /// Resolves when the task has ended and let go of the file, to why writing had stopped before.
    pub(crate) async fn ended(&self) -> Result<(), Error> {
        // An error would mean that the sender is gone, but it lives in `self`.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
        match &self.waiting().stopped {
            Some(error @ Error::Stopped { .. }) => Err(error.clone()),
            _ => Ok(()),
        }
    }

    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    pub(crate) fn bytes_waiting(&self) -> usize {
        self.waiting().bytes
    }
}

/// The connection that writes. An in-memory database has no other, so its readers take turns with it.
pub(crate) type Shared = Arc<tokio::sync::Mutex<SqliteConnection>>;

/// The task's side. Options, because ending takes them apart in a set order.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) queue: Arc<Queue>,
    pub(crate) connection: Option<Shared>,
    pub(crate) readers: Option<SqlitePool>,
    pub(crate) lock: Option<File>,
}

impl Writer {
    /// Writes until the queue is closed and empty.
    pub(crate) async fn run(mut self) {
        loop {
            match self.queue.take() {
                Next::Batch(batch) => self.commit(batch).await,
                Next::Idle => self.queue.wake.notified().await,
                Next::End => break,
            }
        }
        if let Some(readers) = self.readers.take() {
            readers.close().await;
        }
        // Shared with readers only in memory, where there is nothing to flush.
        if let Some(connection) = self.connection.take().and_then(Arc::into_inner)
            && let Err(error) = connection.into_inner().close().await
        {
            tracing::warn!(place = %self.queue.place, %error, "close the database; all commits are on disk");
        }
    }

    async fn commit(&self, batch: Vec<Queued>) {
        let mut bytes = 0;
        let mut writes = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        for queued in batch {
            bytes += queued.cost_bytes;
            writes.extend(queued.write);
            answers.push(queued.answer);
        }
        let outcome = match &self.connection {
            _ if writes.is_empty() => Ok(()),
            Some(connection) => write::commit(&mut *connection.lock().await, writes)
                .await
                .map(|()| {
                    self.queue.commits.fetch_add(1, Ordering::Relaxed);
                })
                .map_err(|source| Error::database(&self.queue.place, "commit writes", source)),
            None => Err(Error::Closed { place: self.queue.place.clone() }),
        };
        match outcome {
            Ok(()) => {
                self.queue.waiting().bytes -= bytes;
                for answer in answers {
                    // A receipt may be dropped: the write is durable all the same.
                    let _ = answer.send(Ok(()));
                }
            }
            Err(error) => {
                // First shut the door, then tell: whoever hears of it and appends again is refused.
                let behind = self.queue.stop(&self.queue.stopped_by(&error));
                let failed = answers.into_iter().map(|answer| (answer, error.clone()));
                for (answer, error) in failed.chain(behind) {
                    let _ = answer.send(Err(error));
                }
            }
        }
    }
}

impl Drop for Writer {
    /// Runs at the end of the task, and when its runtime is shut down under it.
    fn drop(&mut self) {
        self.connection = None;
        // The lock goes last: whoever holds it next must find no writer.
        self.lock = None;
        for (answer, error) in self.queue.stop(&Error::Closed { place: self.queue.place.clone() }) {
            let _ = answer.send(Err(error));
        }
        self.queue.ended.send_replace(true);
    }
}
