//! A connection that cannot write: whatever asks for anything but a GET is told no before a byte is sent.
//!
//! In mode `observe` nothing above is to write; this holds it to that, whatever mistake it makes.

use futures::future::BoxFuture;
use http::{Method, Request, Response};
use std::task::{Context, Poll};
use tower::{BoxError, Service};

/// Something was to be written over a connection that only reads.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{method} {path}: this connection only reads: expected GET")]
pub struct Refused {
    /// Of the request.
    pub method: Method,
    /// Of the request, without the query.
    pub path: String,
}

/// A service that passes on what reads.
pub(crate) struct ReadOnly<S>(pub S);

impl<S, In, Out> Service<Request<In>> for ReadOnly<S>
where
    S: Service<Request<In>, Response = Response<Out>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    type Response = Response<Out>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<In>) -> Self::Future {
        if request.method() != Method::GET {
            let refused = Refused { method: request.method().clone(), path: request.uri().path().to_owned() };
            return Box::pin(async move { Err(refused.into()) });
        }
        let answer = self.0.call(request);
        Box::pin(async move { answer.await.map_err(Into::into) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use std::convert::Infallible;

    #[tokio::test]
    async fn only_get_passes() {
        let answer = |_: Request<&'static str>| async { Ok::<_, Infallible>(Response::new(Body::empty())) };
        let mut service = ReadOnly(tower::service_fn(answer));
        let request =
            |method: Method| Request::builder().method(method).uri("/api/v1/pods?x").body("").unwrap();
        assert!(service.call(request(Method::GET)).await.is_ok());
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let refused = service.call(request(method.clone())).await.unwrap_err();
            let expected = Refused { method, path: "/api/v1/pods".to_owned() };
            assert_eq!(refused.downcast_ref::<Refused>(), Some(&expected));
        }
    }
}
