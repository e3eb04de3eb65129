//! The service: from an HTTP request to the part that answers it.

use crate::access::{self, Access};
use crate::authorize::{self, Attributes};
use crate::negotiate::Accept;
use crate::protobuf::Encoded;
use crate::query::Query;
use crate::route::{Route, Target};
use crate::{measured, meta, read, respond, route, watch, write};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use fleet::{ClusterId, Instant};
use futures::future::BoxFuture;
use http::Method;
use std::sync::Arc;
use twin::apiserver::Caller;
use twin::{Kind, Objects, Status};

/// The twins behind the API, however they are held.
pub trait Twin: Send + Sync + 'static {
    /// Runs `read` on the cluster's objects at the present instant. Never blocks for long.
    /// `false`: there is no such cluster.
    fn read(&self, cluster: &ClusterId, read: &mut dyn FnMut(&Objects, Instant)) -> bool;
    /// Carries out a write; the answer comes only when the write is durable.
    fn write(
        &self,
        cluster: &ClusterId,
        request: twin::Request,
    ) -> BoxFuture<'static, Result<twin::Response, Status>>;
    /// Resolves once some object of the cluster has changed since version `seen`.
    fn changed(&self, cluster: &ClusterId, seen: u64) -> BoxFuture<'static, ()>;
}

/// One cluster of a [`Twin`].
#[derive(Clone)]
pub(crate) struct Cluster {
    pub twin: Arc<dyn Twin>,
    pub id: ClusterId,
    pub access: Arc<Access>,
    pub encoded: Arc<Encoded>,
}

impl Cluster {
    /// Runs `read` on the objects; 503 when the cluster is gone.
    pub fn read<T>(&self, mut read: impl FnMut(&Objects, Instant) -> T) -> Result<T, Status> {
        let mut answer = None;
        self.twin.read(&self.id, &mut |objects, now| answer = Some(read(objects, now)));
        answer.ok_or_else(|| {
            let message = format!("cluster {} is not served by this twin", self.id);
            Status::new(503, "ServiceUnavailable", message)
        })
    }
}

/// The API of one cluster, open to everybody.
pub fn router(twin: Arc<dyn Twin>, cluster: ClusterId) -> axum::Router {
    router_for(twin, cluster, Access::default())
}

/// The API of one cluster, for those who have access.
pub fn router_for(twin: Arc<dyn Twin>, cluster: ClusterId, access: Access) -> axum::Router {
    axum::Router::new().fallback(serve).with_state(Cluster {
        twin,
        id: cluster,
        access: Arc::new(access),
        encoded: Arc::default(),
    })
}

async fn serve(State(cluster): State<Cluster>, request: Request<Body>) -> Response {
    let accept = Accept::parse(request.headers());
    let media = accept.first();
    match answer(&cluster, accept, request).await {
        Ok(response) => response,
        Err(status) => respond::status(&status, media),
    }
}

async fn answer(cluster: &Cluster, accept: Accept, request: Request<Body>) -> Result<Response, Status> {
    let mut caller = access::caller(cluster, &request)?;
    if let Some(wanted) = access::impersonation(request.headers())? {
        caller.user = authorize::impersonate(cluster, &caller, wanted)?;
    }
    let query = Query::parse(request.uri())?;
    let attributes = Attributes::of(request.method(), request.uri().path(), &query);
    authorize::check(cluster, &caller, &attributes)?;
    let method = request.method().clone();
    if let Some(question) = measured::question(request.uri().path(), &query) {
        return measured::answer(cluster, &method, &accept, &question);
    }
    let find = |group: &str, version: &str, plural: &str| {
        let built_in = Kind::find(group, version, plural);
        built_in.or_else(|| cluster.read(|objects, _| objects.kind(group, version, plural)).ok().flatten())
    };
    match route::parse(request.uri().path(), &find)? {
        Route::Meta(segments) => {
            if method != Method::GET && method != Method::HEAD {
                return Err(Status::method_not_allowed());
            }
            meta::answer(cluster, &segments, &query, &accept)
        }
        Route::Resource(target) => resource(cluster, (caller, &target), query, accept, request).await,
    }
}

async fn resource(
    cluster: &Cluster,
    (caller, target): (Caller, &Target),
    query: Query,
    accept: Accept,
    request: Request<Body>,
) -> Result<Response, Status> {
    match *request.method() {
        Method::GET | Method::HEAD => {
            route::refuse_streams(target)?;
            if target.subresource.is_none() && !target.kind.resource().allows("get") {
                return Err(Status::method_not_allowed());
            }
            if query.flag("watch") && target.subresource.is_none() {
                return watch::answer(cluster, target, &query, &accept);
            }
            if target.name.is_empty() {
                read::list(cluster, target, &query, &accept)
            } else {
                read::get(cluster, target, &query, &accept)
            }
        }
        Method::POST | Method::PUT | Method::PATCH | Method::DELETE => {
            route::refuse_streams(target)?;
            write::answer(cluster, (caller, target), &query, &accept, request).await
        }
        _ => Err(Status::method_not_allowed()),
    }
}
