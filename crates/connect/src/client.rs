//! The client every connection to a cluster is made with: kube's, with a bound on what it holds of an
//! answer.
//!
//! Invariant: of an answer that is taken in whole at most [`ANSWER_BYTES_MAX`] bytes are read, of a watch
//! at most [`LINE_BYTES_MAX`] between two line feeds, however long it lasts; what is beyond is
//! [`TooLarge`], and its connection is closed. Counted as received: compression is not asked for. Head
//! and chunk sizes are bounded by `hyper`. Left out: what parsing makes of those bytes, which for a list of
//! empty objects is some 800 times as much.

use crate::read_only::ReadOnly;
use bytes::Bytes;
use fleet::ClusterId;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use kube::client::ClientBuilder;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, ready};
use tower::layer::layer_fn;
use tower::{BoxError, Service};

/// Most bytes of an answer that is no watch. A page has 500 objects and etcd takes 1.5 MiB for each, but
/// 750 MiB would be no bound: this leaves 131 KiB an object, several times what a node with fifty images
/// or a pod with its `managedFields` comes to.
pub const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Most bytes of one line of a watch: one object, so five times the 1.5 MiB etcd takes, because JSON is
/// longer than what etcd counts.
pub const LINE_BYTES_MAX: u64 = 8 << 20;

/// More was answered than is read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{method} {path}: {what} of more than {most} bytes: expected at most that; see whether an API server answers there, and with what: kubectl get --raw {path} | head -c 1000"
)]
pub struct TooLarge {
    /// Of the request.
    pub method: Method,
    /// Of the request, without the query.
    pub path: String,
    /// What was too large: `an answer` or `a line of a watch`.
    pub what: &'static str,
    /// The bound in bytes.
    pub most: u64,
}

impl TooLarge {
    /// Whether an error is, or came of, more being answered than is read.
    pub(crate) fn is_behind(error: &(dyn std::error::Error + 'static)) -> bool {
        std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<TooLarge>())
    }
}

/// A client of one cluster's API that reads within the bounds of this module.
///
/// # Errors
/// When the configuration's TLS material, proxy or credentials are no good.
pub fn client(config: kube::Config) -> Result<kube::Client, kube::Error> {
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer_fn(Bounded)).build())
}

/// The same, but one that cannot write ([`crate::read_only`]).
///
/// # Errors
/// As [`client`].
pub fn client_that_reads(config: kube::Config) -> Result<kube::Client, kube::Error> {
    let reads = ClientBuilder::try_from(config)?.with_layer(&layer_fn(ReadOnly));
    Ok(reads.with_layer(&layer_fn(Bounded)).build())
}

/// The connections there are to the clusters of a fleet; cheap to clone, and shared by those who use them with
/// whoever adds one that was not to be had before.
#[derive(Clone, Default)]
pub struct Clients(Arc<Mutex<BTreeMap<ClusterId, kube::Client>>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<ClusterId, kube::Client>> {
        self.0.lock().expect("nothing panics while it is held")
    }
    /// That to a cluster.
    pub fn get(&self, cluster: &ClusterId) -> Option<kube::Client> {
        self.lock().get(cluster).cloned()
    }
    /// Adds one, in place of an earlier one.
    pub fn put(&self, cluster: ClusterId, client: kube::Client) {
        self.lock().insert(cluster, client);
    }
}

impl FromIterator<(ClusterId, kube::Client)> for Clients {
    fn from_iter<I: IntoIterator<Item = (ClusterId, kube::Client)>>(all: I) -> Clients {
        Clients(Arc::new(Mutex::new(all.into_iter().collect())))
    }
}

/// A service whose answers are [`BoundedBody`]s.
pub(crate) struct Bounded<S>(pub S);

impl<S, In, Out> Service<Request<In>> for Bounded<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Future: Send + 'static,
{
    type Response = Response<BoundedBody<Out>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        let watch = request.uri().query().is_some_and(|q| q.split('&').any(|pair| pair == "watch=true"));
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            // The client takes in a refusal whole, that of a watch too.
            let by_line = watch && answer.status().is_success();
            let (what, most) =
                if by_line { ("a line of a watch", LINE_BYTES_MAX) } else { ("an answer", ANSWER_BYTES_MAX) };
            let beyond = TooLarge { method, path, what, most };
            Ok(answer.map(|body| BoundedBody { body, by_line, held: 0, beyond }))
        })
    }
}

/// A body that fails where it would have to be held beyond its bound.
pub(crate) struct BoundedBody<B> {
    body: B,
    /// Whether whoever reads it lets go of each line.
    by_line: bool,
    /// Bytes so far: of the line, or of all.
    held: u64,
    /// What is said beyond.
    beyond: TooLarge,
}

impl<B> BoundedBody<B> {
    fn take_in(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let ends = |byte: &u8| self.by_line && *byte == b'\n';
        for part in bytes.split_inclusive(ends) {
            self.held = self.held.saturating_add(part.len() as u64);
            if self.held > self.beyond.most {
                return Err(self.beyond.clone());
            }
            if part.last().is_some_and(ends) {
                self.held = 0;
            }
        }
        Ok(())
    }
}

impl<B> Body for BoundedBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        let within = frame.data_ref().map_or(Ok(()), |data| self.take_in(data));
        Poll::Ready(Some(within.map(|()| frame).map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(by_line: bool, most: u64) -> BoundedBody<()> {
        let beyond = TooLarge { method: Method::GET, path: "/api/v1/pods".into(), what: "an answer", most };
        BoundedBody { body: (), by_line, held: 0, beyond }
    }

    /// Whether each chunk is taken in.
    fn taken(by_line: bool, chunks: &[&str]) -> Vec<bool> {
        let mut body = body(by_line, 4);
        chunks.iter().map(|chunk| body.take_in(chunk.as_bytes()).is_ok()).collect()
    }

    #[test]
    fn a_whole_answer_counts_every_byte() {
        assert_eq!(taken(false, &["ab", "\nc", "", "\n"]), [true, true, true, false]);
    }

    #[test]
    fn a_watch_counts_from_line_feed_to_line_feed() {
        assert_eq!(
            taken(true, &["abc\n", "abc\nab", "c\nabc\n\n\na", "bcd", "e"]),
            [true, true, true, true, false]
        );
        assert_eq!(taken(true, &["a\nabcde\nb"]), [false], "a line in the middle of a chunk");
    }

    #[test]
    fn says_which_request_and_which_bound() {
        let error = body(false, 4).take_in(b"abcde").unwrap_err().to_string();
        assert_eq!(
            error,
            "GET /api/v1/pods: an answer of more than 4 bytes: expected at most that; see whether an API server answers there, and with what: kubectl get --raw /api/v1/pods | head -c 1000"
        );
    }
}
