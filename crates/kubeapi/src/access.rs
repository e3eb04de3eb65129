//! Who asks: bearer tokens and impersonation.
//!
//! Keys are the [`Authority`]'s; what a token's claims are worth is said by the twin. Where roles rule, whoever brings no
//! token is anonymous and may do what roles give to everybody; elsewhere they learn whether the server lives, and no more.

use crate::service::Cluster;
use crate::webhook::Webhooks;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use serde_json::Value;
use std::sync::Arc;
use twin::apiserver::certificates::{self, CertificateRequest};
use twin::apiserver::token::{self, Bearer};
use twin::apiserver::user::{self, ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED};
use twin::apiserver::{Caller, User};
use twin::{Kind, Status};

/// What is answered to everybody, wherever roles say nothing.
const OPEN: [&str; 4] = ["/healthz", "/livez", "/readyz", "/version"];
/// Most headers of impersonation read: a user has few groups.
const IMPERSONATION_HEADERS_MAX: usize = 256;
/// Before the name of what else is known of whoever is impersonated.
const EXTRA: &str = "impersonate-extra-";

/// Who has keys: signs tokens, and says what a token is.
pub trait Authority: Send + Sync + 'static {
    /// The token that says `claims`.
    fn sign(&self, claims: &str) -> Option<String>;
    /// What a token is. Its end and whom it is for are not looked at.
    fn read(&self, token: &str) -> Bearer;
    /// The public keys, a JWK set.
    fn keys(&self) -> Value;
    /// Their algorithms, as JWS names them.
    fn algorithms(&self) -> Vec<&'static str>;
    /// Whether a certificate request may be signed by the key it is for. The error, that it is not, is in Go's words.
    fn check(&self, request: &CertificateRequest) -> Result<(), String>;
}

/// Who may come to a cluster's API, and by what they are judged.
#[derive(Clone, Default)]
pub struct Access {
    /// Who has keys; `None`: there are no tokens.
    pub authority: Option<Arc<dyn Authority>>,
    /// Whether whoever brings no token may do nothing; else they are whoever runs the twin.
    pub locked: bool,
    /// Whether roles say who may do what.
    pub rbac: bool,
    /// Base address of the API, for documents that name it; empty: not known.
    pub address: String,
    /// Who asks admission webhooks; `None`: none is asked.
    pub webhooks: Option<Arc<dyn Webhooks>>,
}

/// Who a client is by the certificate it came with: an extension of requests, put there by whoever binds the socket and has
/// seen that an authority we trust has given it.
#[derive(Clone, Debug)]
pub struct Certified(pub User);

fn unauthorized() -> Status {
    Status::new(401, "Unauthorized", "Unauthorized")
}

/// Whether a path is answered to everybody.
fn is_open(path: &str) -> bool {
    OPEN.iter()
        .any(|open| path.strip_prefix(open).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Who a request is from. As in Kubernetes, a certificate counts before a token.
pub(crate) fn caller<B>(cluster: &Cluster, request: &http::Request<B>) -> Result<Caller, Status> {
    let (access, path, headers) = (&cluster.access, request.uri().path(), request.headers());
    if let Some(Certified(user)) = request.extensions().get() {
        return Ok(Caller { user: user.clone(), rbac: access.rbac });
    }
    let user = match headers.get(AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().map_err(|_| unauthorized())?;
            let token = value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
            let token = token.map(|(_, token)| token.trim()).ok_or_else(unauthorized)?;
            bearer(cluster, token)?
        }
        None if !access.locked => User::admin(),
        None if access.rbac || is_open(path) => User::anonymous(),
        None => return Err(unauthorized()),
    };
    Ok(Caller { user, rbac: access.rbac })
}

fn bearer(cluster: &Cluster, token: &str) -> Result<User, Status> {
    let authority = cluster.access.authority.as_ref().ok_or_else(unauthorized)?;
    let audiences = [token::ISSUER.to_owned()];
    match authority.read(token) {
        // No need to hold the cluster.
        Bearer::User(user) => Ok(user),
        read => {
            let found = cluster.read(|objects, now| read.user(objects, now, &audiences))?;
            found.map(|(user, _)| user).map_err(|_| unauthorized())
        }
    }
}

/// Whom the caller wants to be taken for, with what they must be allowed for that: each a resource of the verb
/// `impersonate`, as group, resource, subresource, namespace and name.
pub(crate) struct Impersonation {
    pub user: User,
    pub needs: Vec<[String; 5]>,
}

/// Reads the headers of impersonation.
pub(crate) fn impersonation(headers: &HeaderMap) -> Result<Option<Impersonation>, Status> {
    let all: Vec<(&str, &str)> = headers
        .iter()
        .filter(|(name, _)| name.as_str().starts_with("impersonate-"))
        .map(|(name, value)| value.to_str().map(|value| (name.as_str(), value)))
        .collect::<Result<_, _>>()
        .map_err(|_| Status::bad_request("impersonation headers: expected printable ASCII"))?;
    if all.is_empty() {
        return Ok(None);
    }
    if all.len() > IMPERSONATION_HEADERS_MAX {
        let found = all.len();
        return Err(Status::bad_request(format!(
            "{found} impersonation headers, expected at most {IMPERSONATION_HEADERS_MAX}"
        )));
    }
    let of = |wanted: &str| -> Vec<String> {
        all.iter().filter(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned()).collect()
    };
    let first = |wanted: &str| of(wanted).into_iter().next().unwrap_or_default();
    let name = first("impersonate-user");
    if name.is_empty() {
        let found = format!("{:?}", all.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        let why = format!("requested {found} without impersonating a user");
        return Err(Status::new(500, "InternalError", format!("Internal Server Error: {why}")));
    }
    let mut user = User { groups: of("impersonate-group"), uid: first("impersonate-uid"), ..User::default() };
    for (header, value) in &all {
        if let Some(key) = header.strip_prefix(EXTRA) {
            let key = crate::route::decode(key).unwrap_or_else(|| key.to_owned());
            user.extra.entry(key).or_default().push((*value).to_owned());
        }
    }
    let mut needs = vec![match user::account(&name) {
        Some((namespace, account)) => need("", "serviceaccounts", "", namespace, account),
        None => need("", "users", "", "", &name),
    }];
    needs.extend(user.groups.iter().map(|group| need("", "groups", "", "", group)));
    let (extra, group) = (&user.extra, "authentication.k8s.io");
    for (key, values) in extra {
        needs.extend(values.iter().map(|value| need(group, "userextras", key, "", value)));
    }
    if !user.uid.is_empty() {
        needs.push(need(group, "uids", "", "", &user.uid));
    }
    if let Some((namespace, _)) = user::account(&name).filter(|_| user.groups.is_empty()) {
        user.groups = user::service_account_groups(namespace);
    }
    if name == ANONYMOUS {
        if !user.is_in(UNAUTHENTICATED) {
            user.groups.push(UNAUTHENTICATED.to_owned());
        }
    } else if !user.is_in(AUTHENTICATED) && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    user.name = name;
    Ok(Some(Impersonation { user, needs }))
}

fn need(group: &str, resource: &str, subresource: &str, namespace: &str, name: &str) -> [String; 5] {
    [group, resource, subresource, namespace, name].map(str::to_owned)
}

/// Answers a TokenReview.
pub(crate) fn review_token(cluster: &Cluster, body: &Value) -> Result<Value, Status> {
    let read = |token: &str| match &cluster.access.authority {
        Some(authority) => authority.read(token),
        None => Bearer::Unknown,
    };
    cluster.read(|objects, now| token::review(objects, now, body, &read))?
}

/// What is wrong with the signature of the certificate request in a document, if it is one that has any.
pub(crate) fn signature_fault(cluster: &Cluster, kind: Kind, body: &Value) -> Option<String> {
    let authority = cluster.access.authority.as_ref()?;
    authority.check(&certificates::asked(kind, body)?).err()
}

/// Signs the claims in the answer to a TokenRequest.
pub(crate) fn sign(cluster: &Cluster, mut document: Value) -> Result<Value, Status> {
    let claims = document["status"]["token"].as_str().unwrap_or_default();
    let authority = cluster.access.authority.as_ref();
    let token = authority.and_then(|authority| authority.sign(claims)).ok_or_else(|| {
        Status::new(
            500,
            "InternalError",
            "failed to generate token: this API server has no key to sign it with",
        )
    })?;
    document["status"]["token"] = Value::String(token);
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            headers.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn health_alone_is_for_everybody() {
        for (path, open) in [
            ("/livez", true),
            ("/readyz/ping", true),
            ("/version", true),
            ("/versions", false),
            ("/api", false),
        ] {
            assert_eq!(is_open(path), open, "{path}");
        }
    }

    #[test]
    fn headers_say_whom_to_be_taken_for() {
        assert!(impersonation(&headers(&[])).unwrap().is_none());
        let wanted = impersonation(&headers(&[
            ("Impersonate-User", "jane"),
            ("Impersonate-Group", "dev"),
            ("Impersonate-Group", "ops"),
            ("Impersonate-Uid", "7"),
            ("Impersonate-Extra-example.com%2fscopes", "view"),
        ]));
        let wanted = wanted.unwrap().unwrap();
        assert_eq!(wanted.user.groups, ["dev", "ops", AUTHENTICATED]);
        assert_eq!(wanted.user.extra["example.com/scopes"], ["view"]);
        let needs: Vec<String> = wanted.needs.iter().map(|need| need.join("|")).collect();
        assert_eq!(
            needs,
            [
                "|users|||jane",
                "|groups|||dev",
                "|groups|||ops",
                "authentication.k8s.io|userextras|example.com/scopes||view",
                "authentication.k8s.io|uids|||7"
            ]
        );
        let bot =
            impersonation(&headers(&[("Impersonate-User", "system:serviceaccount:a:bot")])).unwrap().unwrap();
        assert_eq!(bot.user.groups, User::service_account("a", "bot", "").groups);
        assert_eq!(bot.needs[0].join("|"), "|serviceaccounts||a|bot");
        let nobody = impersonation(&headers(&[("Impersonate-User", ANONYMOUS)])).unwrap().unwrap();
        assert_eq!(nobody.user.groups, [UNAUTHENTICATED]);
        assert_eq!(impersonation(&headers(&[("Impersonate-Group", "dev")])).err().unwrap().code, 500);
    }
}
