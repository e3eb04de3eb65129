//! The one place where a world hands a request to the API machinery.

use crate::apiserver::{self, Context, Request, Response, Status};

/// Carries out a write on one cluster.
pub(super) fn write(cx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    apiserver::write(cx, request)
}
