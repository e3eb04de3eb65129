//! Tokens of service accounts: what they say, and who brings one.
//!
//! A token is a signed list of claims. Here the claims are made and judged; whoever binds the socket signs them and checks
//! signatures, because keys are no business of a simulation. Times are the twin's. Facts:
//! <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#bound-service-account-tokens>.

use super::Context;
use super::field::Errors;
use super::request::{Request, Response};
use super::status::Status;
use super::user::User;
use crate::kind::Kind;
use crate::object::Object;
use crate::store::Objects;
use fleet::{Instant, Span};
use k8s_openapi::api::authentication::v1::{
    BoundObjectReference, TokenRequest, TokenRequestSpec, TokenReview,
};
use serde_json::{Value, json};

/// Who tokens are from, and whom they are for when nothing else is asked: as kubeadm sets it.
pub const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";
/// Seconds a token is good for when nothing is said.
const SECONDS_DEFAULT: i64 = 3600;
/// Fewest and most seconds one may be asked for.
const SECONDS_MIN: i64 = 10 * 60;
const SECONDS_MAX: i64 = 1 << 32;
/// Seconds the kubelet asks for on behalf of pods that may not know yet that tokens end; such a token is good for a year.
const SECONDS_OF_PODS: i64 = 60 * 60 + 7;
const SECONDS_OF_PODS_REALLY: i64 = 365 * 24 * 60 * 60;
/// How far the clocks of issuer and judge may be apart, and how long a token outlives what it is bound to.
const LEEWAY: Span = Span::from_seconds(60);
/// Claim that holds what Kubernetes adds.
const PRIVATE: &str = "kubernetes.io";

fn invalid(name: &str, errors: Errors) -> Status {
    let causes = errors.into_causes();
    let each: Vec<String> = causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
    let message = format!("TokenRequest.authentication.k8s.io {name:?} is invalid: {}", each.join(", "));
    Status {
        name: name.to_owned(),
        group: "authentication.k8s.io".to_owned(),
        kind: "TokenRequest".to_owned(),
        causes,
        ..Status::new(422, "Invalid", message)
    }
}

fn conflict(group: &str, kind: &str, name: &str, why: &str) -> Status {
    let what = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
    let message = format!("Operation cannot be fulfilled on {what} {name:?}: {why}");
    Status {
        name: name.to_owned(),
        group: group.to_owned(),
        kind: kind.to_owned(),
        ..Status::new(409, "Conflict", message)
    }
}

/// What was sent, as a TokenRequest with a spec.
fn received(request: &Request) -> Result<(TokenRequest, TokenRequestSpec), Status> {
    let mut body = request.body.clone();
    if !body.is_object() {
        return Err(Status::bad_request("TokenRequest: expected an object"));
    }
    (body["kind"], body["apiVersion"]) = (json!("TokenRequest"), json!("authentication.k8s.io/v1"));
    let mut wanted: TokenRequest = serde_json::from_value(body)
        .map_err(|error| Status::bad_request(format!("TokenRequest in version \"v1\": {error}")))?;
    let spec = wanted.spec.take().unwrap_or_default();
    let meta = &wanted.metadata;
    for (field, sent, own, what) in [
        ("metadata.name", &meta.name, &request.name, "name"),
        ("metadata.namespace", &meta.namespace, &request.namespace, "namespace"),
    ] {
        if let Some(sent) = sent.as_ref().filter(|sent| !sent.is_empty() && *sent != own) {
            let mut errors = Errors::default();
            let why = format!("must match the service account {what} if specified");
            errors.invalid(field, &json!(sent), &why);
            return Err(invalid(&request.name, errors));
        }
    }
    Ok((wanted, spec))
}

/// POST of a TokenRequest. The answer's `status.token` has the claims as JSON text: what is to be signed.
pub(super) fn create(ctx: &mut Context<'_>, request: &Request) -> Result<Response, Status> {
    let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
    let (mut wanted, mut spec) = received(request)?;
    let accounts = Kind::document("", "serviceaccounts");
    let account = ctx.objects.get(accounts, namespace, name);
    let account = account.ok_or_else(|| Status::not_found(accounts.resource(), name))?;
    let uid = account.object.uid().to_owned();
    let meta = &mut wanted.metadata;
    if let Some(sent) = meta.uid.as_ref().filter(|sent| !sent.is_empty() && **sent != uid) {
        let why = format!(
            "the UID in the token request ({sent}) does not match the UID of the service account ({uid})"
        );
        return Err(conflict("authentication.k8s.io", "TokenRequest", name, &why));
    }
    meta.name = Some(name.to_owned());
    meta.namespace = Some(namespace.to_owned());
    meta.uid = Some(uid.clone());
    let asked = spec.audiences.take().filter(|all| !all.is_empty());
    let audiences = asked.unwrap_or_else(|| vec![ISSUER.to_owned()]);
    let seconds = *spec.expiration_seconds.get_or_insert(SECONDS_DEFAULT);
    check_seconds(seconds)?;
    let mut private = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}});
    let mut of_pod = false;
    if let Some(reference) = &spec.bound_object_ref {
        (private, of_pod) = bound(ctx.objects, request, reference, private)?;
    }
    let now = ctx.now.as_unix_seconds();
    let mut good_for = seconds;
    if of_pod && seconds == SECONDS_OF_PODS && audiences == [ISSUER] {
        private["warnafter"] = json!(now + seconds);
        good_for = SECONDS_OF_PODS_REALLY;
    }
    let subject = User::service_account(namespace, name, "").name;
    // Drawn from the cluster's stream of names, so that the same requests give the same tokens.
    let id = ctx.names.uid();
    let claims = json!({
        "aud": audiences, "exp": now + good_for, "iat": now, "iss": ISSUER, "jti": id, PRIVATE: private, "nbf": now,
        "sub": subject,
    });
    spec.audiences = Some(audiences);
    wanted.spec = Some(spec);
    let mut document = serde_json::to_value(&wanted).unwrap_or_default();
    document["metadata"]["creationTimestamp"] = json!(ctx.now.to_rfc3339_seconds());
    let ends = ctx.now + Span::from_seconds(seconds);
    document["status"] =
        json!({"token": claims.to_string(), "expirationTimestamp": ends.to_rfc3339_seconds()});
    Ok(Response { code: 201, body: document.into(), warnings: Vec::new() })
}

fn check_seconds(seconds: i64) -> Result<(), Status> {
    let mut errors = Errors::default();
    let why = match seconds {
        ..SECONDS_MIN => "may not specify a duration less than 10 minutes",
        SECONDS_MIN..=SECONDS_MAX => return Ok(()),
        _ => "may not specify a duration larger than 2^32 seconds",
    };
    errors.invalid("spec.expirationSeconds", &json!(seconds), why);
    Err(invalid("", errors))
}

/// Adds to the claims what a token is bound to; whether that is a pod.
fn bound(
    objects: &Objects,
    request: &Request,
    reference: &BoundObjectReference,
    mut private: Value,
) -> Result<(Value, bool), Status> {
    let kind = reference.kind.as_deref().unwrap_or_default();
    let version = reference.api_version.as_deref().unwrap_or_default();
    let name = reference.name.as_deref().unwrap_or_default();
    let (of, namespace) = match (version, kind) {
        ("v1", "Pod") => (Kind::Pod, request.namespace.as_str()),
        ("v1", "Node") => (Kind::Node, ""),
        ("v1", "Secret") => (Kind::document("", "secrets"), request.namespace.as_str()),
        _ => {
            let (group, version) = crate::kind::split_version(version);
            let why = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(why));
        }
    };
    let found = objects.get(of, namespace, name).ok_or_else(|| Status::not_found(of.resource(), name))?;
    let uid = found.object.uid();
    if let Object::Pod(pod) = &found.object {
        let spec = pod.spec.as_ref();
        let account = spec.and_then(|spec| spec.service_account_name.as_deref()).unwrap_or_default();
        if account != request.name {
            let own = &request.name;
            let why = format!(
                "cannot bind token for serviceaccount {own:?} to pod running with different serviceaccount name."
            );
            return Err(Status::bad_request(why));
        }
        if let Some(node) = spec.and_then(|spec| spec.node_name.as_deref()).filter(|node| !node.is_empty()) {
            private["node"] = json!({"name": node});
            if let Some(found) = objects.get(Kind::Node, "", node) {
                private["node"]["uid"] = json!(found.object.uid());
            }
        }
    }
    if let Some(sent) = reference.uid.as_ref().filter(|sent| !sent.is_empty() && *sent != uid) {
        let why = format!(
            "the UID in the bound object reference ({sent}) does not match the UID in record. The object might have been deleted and then recreated"
        );
        return Err(conflict("", kind, name, &why));
    }
    private[kind.to_ascii_lowercase()] = json!({"name": name, "uid": uid});
    Ok((private, of == Kind::Pod))
}

/// Who a token with these claims, whose signature is good, stands for at `now`, and for which of `audiences` it is. The error
/// is in words.
pub fn user(
    objects: &Objects,
    now: Instant,
    claims: &Value,
    audiences: &[String],
) -> Result<(User, Vec<String>), String> {
    let own: Vec<&str> = match &claims["aud"] {
        Value::String(one) => vec![one],
        Value::Array(all) => all.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let common: Vec<String> = audiences.iter().filter(|a| own.contains(&a.as_str())).cloned().collect();
    if common.is_empty() {
        return Err(format!("token audiences {own:?} is invalid for the target audiences {audiences:?}"));
    }
    let time = |name: &str| claims[name].as_i64().unwrap_or_default();
    let (at, leeway) = (now.as_unix_seconds(), LEEWAY.as_seconds());
    if at - leeway > time("exp") {
        return Err("service account token has expired".to_owned());
    }
    if at + leeway < time("nbf") {
        return Err("service account token is not valid yet".to_owned());
    }
    let private = &claims[PRIVATE];
    let text = |pointer: &str| private.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let namespace = text("/namespace");
    let (name, uid) = (text("/serviceaccount/name"), text("/serviceaccount/uid"));
    let accounts = Kind::document("", "serviceaccounts");
    let account = objects.get(accounts, namespace, name);
    let account = account.ok_or_else(|| Status::not_found(accounts.resource(), name).message)?;
    if account.object.uid() != uid {
        let found = account.object.uid();
        return Err(format!("service account UID ({found}) does not match claim ({uid})"));
    }
    let lives = |kind: Kind, namespace: &str, key: &str| -> Result<(), String> {
        let (name, uid) = (text(&format!("/{key}/name")), text(&format!("/{key}/uid")));
        let lives = objects.get(kind, namespace, name).is_some_and(|stored| {
            let deleted = stored.object.meta().deletion_timestamp.as_ref();
            let end = deleted.map(|time| Instant::from_unix_seconds(time.0.as_second()));
            stored.object.uid() == uid && end.is_none_or(|end| end + LEEWAY >= now)
        });
        if lives { Ok(()) } else { Err("service account token has been invalidated".to_owned()) }
    };
    let is_bound = |key: &str| !private[key].is_null();
    if is_bound("secret") {
        lives(Kind::document("", "secrets"), namespace, "secret")?;
    }
    if is_bound("pod") {
        lives(Kind::Pod, namespace, "pod")?;
    } else if is_bound("node") {
        lives(Kind::Node, "", "node")?;
    }
    let mut user = User::service_account(namespace, name, uid);
    for (key, pointer) in [
        ("node-name", "/node/name"),
        ("node-uid", "/node/uid"),
        ("pod-name", "/pod/name"),
        ("pod-uid", "/pod/uid"),
    ] {
        if !text(pointer).is_empty() {
            let key = format!("authentication.kubernetes.io/{key}");
            user.extra.insert(key, vec![text(pointer).to_owned()]);
        }
    }
    if let Some(id) = claims["jti"].as_str() {
        let key = "authentication.kubernetes.io/credential-id".to_owned();
        user.extra.insert(key, vec![format!("JTI={id}")]);
    }
    Ok((user, common))
}

/// What the one who checks signatures says of a token.
#[derive(Clone, Debug)]
pub enum Bearer {
    /// It is the user's own; no cluster has a say in it.
    User(User),
    /// It is of a service account, with these claims.
    Claims(Value),
    /// Nobody knows it.
    Unknown,
}

impl Bearer {
    /// Who it is, for which of `audiences`. The error is in words.
    ///
    /// # Errors
    /// Why it is nobody.
    pub fn user(
        &self,
        objects: &Objects,
        now: Instant,
        audiences: &[String],
    ) -> Result<(User, Vec<String>), String> {
        match self {
            Bearer::User(user) => Ok((user.clone(), audiences.to_vec())),
            Bearer::Claims(claims) => user(objects, now, claims, audiences),
            Bearer::Unknown => Err("invalid bearer token".to_owned()),
        }
    }
}

/// Answers a TokenReview; `read` checks the signature of the token it holds.
///
/// # Errors
/// When it is none, or holds no token.
pub fn review(
    objects: &Objects,
    now: Instant,
    body: &Value,
    read: &dyn Fn(&str) -> Bearer,
) -> Result<Value, Status> {
    let unreadable =
        |error: serde_json::Error| Status::bad_request(format!("TokenReview in version \"v1\": {error}"));
    let mut body = body.clone();
    if !body.is_object() {
        return Err(Status::bad_request("TokenReview: expected an object"));
    }
    (body["kind"], body["apiVersion"]) = (json!("TokenReview"), json!("authentication.k8s.io/v1"));
    let wanted: TokenReview = serde_json::from_value(body).map_err(unreadable)?;
    let token = wanted.spec.token.clone();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences = wanted.spec.audiences.clone().filter(|all| !all.is_empty());
    let audiences = audiences.unwrap_or_else(|| vec![ISSUER.to_owned()]);
    let mut document = serde_json::to_value(&wanted).unwrap_or_default();
    document["status"] = match read(&token).user(objects, now, &audiences) {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
        }
        Err(why) if why == "invalid bearer token" => json!({"user": {}, "error": why}),
        Err(why) => json!({"user": {}, "error": format!("[invalid bearer token, {why}]")}),
    };
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> Objects {
        let mut objects = Objects::new();
        let put = |objects: &mut Objects, kind: Kind, value: Value| {
            objects.put(Object::from_value(kind, &value).unwrap());
        };
        let accounts = Kind::document("", "serviceaccounts");
        put(
            &mut objects,
            accounts,
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "bot", "namespace": "a", "uid": "u1"}}),
        );
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "a", "uid": "u2"},
            "spec": {"containers": [], "serviceAccountName": "bot", "nodeName": "n"}});
        put(&mut objects, Kind::Pod, pod);
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "uid": "u3"}});
        put(&mut objects, Kind::Node, node);
        objects
    }

    fn at(seconds: i64) -> Instant {
        Instant::from_unix_seconds(1_777_626_000 + seconds)
    }

    fn ask(objects: &mut Objects, name: &str, body: Value) -> Result<Value, Status> {
        let request = Request {
            verb: super::super::Verb::Create,
            kind: Kind::document("", "serviceaccounts"),
            namespace: "a".to_owned(),
            name: name.to_owned(),
            subresource: Some(super::super::Subresource::Token),
            body,
            options: Default::default(),
        };
        let mut names = crate::random::Stream::new(1, "names");
        let mut ctx = Context { objects, now: at(0), names: &mut names };
        super::super::write(&mut ctx, &request).map(|response| response.body.into_value())
    }

    fn claims_of(document: &Value) -> Value {
        serde_json::from_str(document["status"]["token"].as_str().unwrap()).unwrap()
    }

    fn api() -> Vec<String> {
        vec![ISSUER.to_owned()]
    }

    #[test]
    fn a_token_says_whose_it_is_until_it_ends() {
        let mut objects = cluster();
        let answer = ask(&mut objects, "bot", json!({"spec": {"expirationSeconds": 600}})).unwrap();
        assert_eq!(answer["status"]["expirationTimestamp"], at(600).to_rfc3339_seconds());
        assert_eq!(answer["spec"]["audiences"], json!([ISSUER]));
        let claims = claims_of(&answer);
        let (user, audiences) = user(&objects, at(600), &claims, &api()).unwrap();
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("system:serviceaccount:a:bot", "u1"));
        assert_eq!(
            user.groups,
            ["system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"]
        );
        assert_eq!(audiences, api());
        let why = super::user(&objects, at(661), &claims, &api()).unwrap_err();
        assert_eq!(why, "service account token has expired");
        let why = super::user(&objects, at(0), &claims, &["vault".to_owned()]).unwrap_err();
        assert!(why.starts_with("token audiences"), "{why}");
        objects.remove(Kind::document("", "serviceaccounts"), "a", "bot");
        let why = super::user(&objects, at(0), &claims, &api()).unwrap_err();
        assert_eq!(why, "serviceaccounts \"bot\" not found");
    }

    #[test]
    fn a_bound_token_ends_with_its_pod() {
        let mut objects = cluster();
        let bound = json!({"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}});
        let claims = claims_of(&ask(&mut objects, "bot", json!({"spec": bound})).unwrap());
        assert_eq!(claims[PRIVATE]["pod"], json!({"name": "p", "uid": "u2"}));
        assert_eq!(claims[PRIVATE]["node"], json!({"name": "n", "uid": "u3"}));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 365 * 24 * 3600);
        let (user, _) = user(&objects, at(4000), &claims, &api()).unwrap();
        assert_eq!(user.extra["authentication.kubernetes.io/pod-name"], ["p"]);
        assert_eq!(user.extra["authentication.kubernetes.io/node-uid"], ["u3"]);
        assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("JTI="));
        objects.remove(Kind::Pod, "a", "p");
        assert!(super::user(&objects, at(1), &claims, &api()).unwrap_err().ends_with("invalidated"));
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused_in_the_servers_words() {
        for (name, spec, code, words) in [
            (
                "bot",
                json!({"expirationSeconds": 599}),
                422,
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
            ),
            (
                "bot",
                json!({"expirationSeconds": 4_294_967_297_i64}),
                422,
                "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 4294967297: may not specify a duration larger than 2^32 seconds",
            ),
            ("none", json!({}), 404, "serviceaccounts \"none\" not found"),
            (
                "bot",
                json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "q"}}),
                404,
                "pods \"q\" not found",
            ),
            (
                "bot",
                json!({"boundObjectRef": {"kind": "Job", "apiVersion": "batch/v1", "name": "q"}}),
                400,
                "cannot bind token to object of type batch/v1, Kind=Job",
            ),
            (
                "bot",
                json!({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"}}),
                409,
                "Operation cannot be fulfilled on Pod \"p\": the UID in the bound object reference (x) does not match the UID in record. The object might have been deleted and then recreated",
            ),
        ] {
            let status = ask(&mut cluster(), name, json!({"spec": spec})).unwrap_err();
            assert_eq!((status.code, status.message.as_str()), (code, words));
        }
        let other = ask(&mut cluster(), "bot", json!({"metadata": {"name": "x"}, "spec": {}})).unwrap_err();
        assert!(
            other.message.ends_with("\"x\": must match the service account name if specified"),
            "{other}"
        );
    }

    #[test]
    fn a_review_tells_who_and_for_whom() {
        let mut objects = cluster();
        let asked = json!({"spec": {"audiences": ["vault", "other"]}});
        let claims = claims_of(&ask(&mut objects, "bot", asked).unwrap());
        let read = |token: &str| match token {
            "good" => Bearer::Claims(claims.clone()),
            _ => Bearer::Unknown,
        };
        let review = |spec: Value| review(&objects, at(1), &json!({"spec": spec}), &read);
        let good = review(json!({"token": "good", "audiences": ["vault", "x"]})).unwrap();
        assert_eq!(good["status"]["audiences"], json!(["vault"]));
        assert_eq!(good["status"]["user"]["username"], "system:serviceaccount:a:bot");
        let wrong = review(json!({"token": "good"})).unwrap();
        assert!(wrong["status"]["authenticated"].is_null() && wrong["status"]["error"].is_string());
        let unknown = review(json!({"token": "bad"})).unwrap();
        assert_eq!(unknown["status"], json!({"user": {}, "error": "invalid bearer token"}));
        assert_eq!(review(json!({})).unwrap_err().code, 400);
    }
}
