//! Admission webhooks: which of them are to be asked what, and what their answers do.
//!
//! Asking takes time and a network, which a twin has not. So a write that needs an answer ends with what is to be asked
//! ([`Pending`]) and changes nothing; whoever sent it asks, and sends it again with what was answered ([`Reviews`]). The same
//! request with the same answers gives the same bytes, so a log of requests replays it without asking anybody.
//!
//! Invariants: an answer counts for the state of the object, and of the configuration, it was asked about; what was drawn for
//! a new object (name, uid) is what its webhooks were told. Applies to writes whose sender can ask, and to pods,
//! Jobs and claims that controllers of workloads create (`controllers::underway`). Leaves out webhooks behind a
//! Service (nothing listens in a simulated pod), mutations of a delete, and CONNECT.

use super::policy::{Values, all_hold, list, text};
use super::{Attributes, GROUP, convert, in_version, matching};
use crate::apiserver::request::{PatchType, Verb};
use crate::apiserver::status::Status;
use crate::apiserver::{Context, Request, custom, decode, defaults, patch};
use crate::cel::base64;
use crate::kind::Kind;
use crate::random::{FNV_BASIS, fnv};
use crate::store::Objects;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::sync::LazyLock;

/// Seconds a webhook is given that says nothing (Kubernetes' default).
const TIMEOUT_SECONDS: u64 = 10;
/// Most warnings taken of an answer, and the longest, in characters; Kubernetes cuts them likewise.
const WARNINGS_MAX: usize = 16;
const WARNING_MAX: usize = 256;

/// One question to a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Name of the webhook.
    pub webhook: String,
    /// Where it listens, `https://host[:port][/path]`.
    pub url: String,
    /// Certificates of the authority that vouches for it, PEM; `None`: one of those the machine trusts.
    pub authority: Option<String>,
    /// Seconds it is given.
    pub timeout_seconds: u64,
    /// The `AdmissionReview`.
    pub review: Json,
    /// What it is asked about, so that its answer is found again.
    pub key: String,
}

impl Call {
    /// The address a review is posted to.
    pub fn address(&self) -> String {
        format!("{}?timeout={}s", self.url, self.timeout_seconds)
    }
    /// What is said where no answer came.
    pub fn unanswered(&self, why: &str) -> Result<Json, String> {
        Err(format!("Post {:?}: {why}", self.address()))
    }
    /// Its answer: the `AdmissionReview` that came back, or why none did.
    pub fn answered(&self, reply: Result<Json, String>) -> Answer {
        let uid = text(&self.review, "/request/uid").to_owned();
        Answer { key: self.key.clone(), uid, reply }
    }
}

/// What a webhook answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    key: String,
    uid: String,
    reply: Result<Json, String>,
}

/// What was drawn for a new object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Its name, where that was to be made.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What is still to be asked before a write can be carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pending {
    /// All at once.
    pub calls: Vec<Call>,
    /// To be sent again with the answers.
    pub drawn: Option<Drawn>,
}

/// What was asked and drawn so far for a write.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviews {
    /// Answers, in any order.
    pub answers: Vec<Answer>,
    /// Of a new object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Drawn>,
}

impl Status {
    /// Calls that are to be made before anything can be said.
    pub(crate) fn pending(calls: Vec<Call>) -> Status {
        let message = "webhooks are to be asked first";
        let pending = Some(Box::new(Pending { calls, drawn: None }));
        Status { pending, ..Status::new(500, "InternalError", message) }
    }
}

static CONFIGURATIONS: LazyLock<[Kind; 2]> = LazyLock::new(|| {
    ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]
        .map(|plural| Kind::document(GROUP, plural))
});

/// Whether a cluster has webhooks that may have to be asked.
pub fn has_webhooks(objects: &Objects) -> bool {
    CONFIGURATIONS.iter().any(|kind| objects.count(*kind) > 0)
}

/// A webhook of a configuration.
struct Hook {
    /// Which one, of which version of its configuration.
    key: String,
    body: Json,
}

/// The webhooks with an address, in the order they are asked in.
fn hooks(objects: &Objects, mutating: bool) -> Vec<Hook> {
    let kind = CONFIGURATIONS[usize::from(!mutating)];
    let mut all = Vec::new();
    for stored in objects.list(kind, None) {
        let doc = stored.to_value();
        let addressed = list(&doc, "/webhooks").iter().filter(|w| w["clientConfig"]["url"].is_string());
        let of = format!("{}/{}@{}", kind.resource().plural, stored.object.name(), stored.version);
        all.extend(
            addressed.map(|body| Hook { key: format!("{of}/{}", text(body, "/name")), body: body.clone() }),
        );
    }
    all
}

/// What a webhook has to say.
enum Said {
    /// Nothing: it is not about the request, or failed and may.
    Nothing,
    /// It is to be asked.
    Ask(Box<Call>),
    /// Yes, with a patch.
    Yes { patch: Option<Json>, warnings: Vec<String>, kind: Kind },
}

/// One request on its way through the webhooks.
struct Pass<'a> {
    ctx: &'a Context<'a>,
    request: &'a Request,
    reviews: &'a super::Reviews,
    old: Option<&'a Json>,
}

/// Lets webhooks change an object on its way in; `old`: what it was. Gives warnings.
pub(super) fn mutate(
    ctx: &Context<'_>,
    request: &Request,
    doc: &mut Json,
    old: Option<&Json>,
) -> Result<Vec<String>, Status> {
    let Some(reviews) = request.options.reviews.as_deref().filter(|_| has_webhooks(ctx.objects)) else {
        return Ok(Vec::new());
    };
    if !Attributes::of(request, Some(doc), old).is_asked(true) {
        return Ok(Vec::new());
    }
    let (pass, all) = (Pass { ctx, request, reviews, old }, hooks(ctx.objects, true));
    let (mut warnings, mut changes, mut asked) = (Vec::new(), 0, Vec::new());
    for hook in &all {
        asked.push(pass.change(hook, 0, doc, &mut warnings)?.map(|changed| {
            changes += usize::from(changed);
            changes
        }));
    }
    // One that wants to is asked again, once, where something changed after it was asked.
    for (hook, _) in all.iter().zip(asked).filter(|(_, after)| after.is_some_and(|after| after < changes)) {
        if text(&hook.body, "/reinvocationPolicy") == "IfNeeded" {
            pass.change(hook, 1, doc, &mut warnings)?;
        }
    }
    Ok(warnings)
}

/// Judges a write that makes `object` of `old` by all webhooks. Gives warnings.
pub(super) fn validate(
    ctx: &Context<'_>,
    request: &Request,
    object: Option<&Json>,
    old: Option<&Json>,
) -> Result<Vec<String>, Status> {
    let Some(reviews) = request.options.reviews.as_deref().filter(|_| has_webhooks(ctx.objects)) else {
        return Ok(Vec::new());
    };
    if !Attributes::of(request, object, old).is_asked(true) {
        return Ok(Vec::new());
    }
    let pass = Pass { ctx, request, reviews, old };
    let (mut warnings, mut calls, mut denied) = (Vec::new(), Vec::new(), None);
    for hook in hooks(ctx.objects, false) {
        match pass.ask(&hook, 0, object) {
            Ok(Said::Nothing) => {}
            Ok(Said::Ask(call)) => calls.push(*call),
            Ok(Said::Yes { warnings: more, .. }) => warnings.extend(more),
            Err(status) => denied = denied.or(Some(status)),
        }
    }
    // All are asked together, and the first denial counts.
    if !calls.is_empty() {
        return Err(Status::pending(calls));
    }
    denied.map_or(Ok(warnings), Err)
}

impl Pass<'_> {
    /// Has one webhook change the object. Gives whether it changed something; `None`: it was not asked.
    fn change(
        &self,
        hook: &Hook,
        round: u32,
        doc: &mut Json,
        warnings: &mut Vec<String>,
    ) -> Result<Option<bool>, Status> {
        let mut shown = doc.clone();
        let named = text(&self.request.body, "/metadata/name").is_empty() && self.request.name.is_empty();
        if self.old.is_none() && named {
            // The name is made when everybody has had their say.
            shown["metadata"].as_object_mut().map(|meta| meta.remove("name"));
        }
        match self.ask(hook, round, Some(&shown))? {
            Said::Nothing => Ok(None),
            Said::Ask(call) => Err(Status::pending(vec![*call])),
            Said::Yes { patch, warnings: more, kind } => {
                warnings.extend(more);
                let Some(patch) = patch else { return Ok(Some(false)) };
                let before = doc.clone();
                *doc = self.patched(kind, doc, &patch).map_err(|why| internal(&why.message))?;
                Ok(Some(*doc != before))
            }
        }
    }

    /// The object with a webhook's patch, as it is read from a client.
    fn patched(&self, kind: Kind, doc: &Json, operations: &Json) -> Result<Json, Status> {
        let patched = patch::apply(PatchType::Json, kind, in_version(kind, Some(doc)), operations)?;
        let (mut read, _unknown) = decode::read(kind, patched)?;
        let resource = kind.resource();
        let defined = self.ctx.objects.definition_of(kind);
        if let Some((defined, version)) = defined.and_then(|d| Some((d, d.version(resource.version)?))) {
            (read, _) = custom::read(&version.schema, defined.preserves_unknown, read)
                .map_err(|why| decode::unreadable(resource, &why))?;
            custom::default(&version.schema, &mut read);
        }
        let mut stored = convert::incoming(kind, read, Some(doc));
        defaults::apply(kind.stored(), &mut stored);
        Ok(stored)
    }

    /// What one webhook says of the request with this object.
    fn ask(&self, hook: &Hook, round: u32, object: Option<&Json>) -> Result<Said, Status> {
        let attributes = Attributes::of(self.request, object, self.old);
        let Some(kind) = matching::webhook_fits(self.ctx, &hook.body, &attributes) else {
            return Ok(Said::Nothing);
        };
        let ignores = text(&hook.body, "/failurePolicy") == "Ignore";
        let values = Values::of(self.ctx, &attributes, kind, Json::Null);
        match all_hold(list(&hook.body, "/matchConditions"), false, &values) {
            Ok(true) => {}
            Ok(false) => return Ok(Said::Nothing),
            Err(_) if ignores => return Ok(Said::Nothing),
            Err(why) => {
                return Err(Status::forbidden(self.request.kind.resource(), attributes.name(), &why));
            }
        }
        let state = |pointer| self.old.map_or("", |old| text(old, pointer));
        let (uid, version) = (state("/metadata/uid"), state("/metadata/resourceVersion"));
        let key = format!("{}#{round} {uid}@{version}", hook.key);
        let Some(answer) = self.reviews.answers.iter().find(|answer| answer.key == key) else {
            return Ok(Said::Ask(Box::new(self.call(hook, key, &values))));
        };
        let name = text(&hook.body, "/name");
        let mutating = hook.key.starts_with("mutating");
        match read(answer, version_of(&hook.body), mutating) {
            Ok(Read::Yes { patch, warnings }) => Ok(Said::Yes { patch, warnings, kind }),
            Ok(Read::No(status)) => Err(refusal(name, &status)),
            Err(_) if ignores => Ok(Said::Nothing),
            Err(why) => Err(internal(&format!("failed calling webhook {name:?}: {why}"))),
        }
    }

    fn call(&self, hook: &Hook, key: String, values: &Values) -> Call {
        let body = &hook.body;
        let authority = base64(text(body, "/clientConfig/caBundle")).filter(|pem| !pem.is_empty());
        let mut request = values.request().clone();
        request["uid"] = json!(self.uid(&key));
        request["object"] = values.object().clone();
        request["oldObject"] = values.old().clone();
        request["options"] = self.options();
        let version = format!("admission.k8s.io/{}", version_of(body));
        Call {
            webhook: text(body, "/name").to_owned(),
            url: text(body, "/clientConfig/url").to_owned(),
            authority: authority.map(|pem| String::from_utf8_lossy(&pem).into_owned()),
            timeout_seconds: body["timeoutSeconds"].as_u64().unwrap_or(TIMEOUT_SECONDS),
            review: json!({"kind": "AdmissionReview", "apiVersion": version, "request": request}),
            key,
        }
    }

    /// The options of the request, as their own kind.
    fn options(&self) -> Json {
        let options = &self.request.options;
        let kind = match self.request.verb {
            Verb::Create => "CreateOptions",
            Verb::Update => "UpdateOptions",
            Verb::Patch(_) => "PatchOptions",
            Verb::Delete | Verb::DeleteCollection => "DeleteOptions",
        };
        let mut all = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        for (key, value) in
            [("fieldManager", &options.field_manager), ("fieldValidation", &options.field_validation)]
        {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                all[key] = json!(value);
            }
        }
        if options.dry_run {
            all["dryRun"] = json!(["All"]);
        }
        if options.force {
            all["force"] = json!(true);
        }
        if let Some(seconds) = options.delete.grace_period_seconds {
            all["gracePeriodSeconds"] = json!(seconds);
        }
        all
    }

    /// A uid of a review: what is asked, and when.
    fn uid(&self, key: &str) -> String {
        // What controllers write together differs in what was drawn for it.
        let drawn = self.reviews.drawn.as_ref().map_or("", |drawn| drawn.uid.as_str());
        let place = format!("{key} {} {} {drawn}", self.request.namespace, self.reviews.answers.len());
        let hash = fnv(FNV_BASIS, place.as_bytes());
        let when = self.ctx.now.as_unix_seconds().unsigned_abs();
        format!(
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
            hash >> 32,
            hash >> 16 & 0xffff,
            hash & 0xfff,
            when & 0xfff,
            (self.ctx.objects.version() << 20 | when >> 12 & 0xf_ffff) & 0xffff_ffff_ffff
        )
    }
}

/// The version of reviews a webhook is asked in: the first it takes of those there are.
fn version_of(webhook: &Json) -> &str {
    let all = list(webhook, "/admissionReviewVersions").iter().filter_map(Json::as_str);
    all.into_iter().find(|version| matches!(*version, "v1" | "v1beta1")).unwrap_or("v1")
}

/// An answer that makes sense.
enum Read {
    Yes { patch: Option<Json>, warnings: Vec<String> },
    No(Json),
}

/// Reads an answer. The error is in Kubernetes' words.
fn read(answer: &Answer, version: &str, mutating: bool) -> Result<Read, String> {
    let reply = answer.reply.as_ref().map_err(|why| format!("failed to call webhook: {why}"))?;
    let invalid = |why: String| format!("received invalid webhook response: {why}");
    let (of, kind) = (text(reply, "/apiVersion"), text(reply, "/kind"));
    let expected = format!("admission.k8s.io/{version}");
    if of != expected || kind != "AdmissionReview" {
        let why =
            format!("expected webhook response of {expected}, Kind=AdmissionReview, got {of}, Kind={kind}");
        return Err(invalid(why));
    }
    let response = reply.get("response").filter(|response| response.is_object());
    let response = response.ok_or_else(|| invalid("webhook response was absent".to_owned()))?;
    let uid = text(response, "/uid");
    if uid != answer.uid {
        return Err(invalid(format!("expected response.uid={:?}, got {uid:?}", answer.uid)));
    }
    if response["allowed"].as_bool() != Some(true) {
        return Ok(Read::No(response["status"].clone()));
    }
    let warnings = list(response, "/warnings").iter().filter_map(Json::as_str).take(WARNINGS_MAX);
    let warnings = warnings.map(|text| text.chars().take(WARNING_MAX).collect()).collect();
    let patch = text(response, "/patch");
    if patch.is_empty() {
        return Ok(Read::Yes { patch: None, warnings });
    }
    if !mutating {
        return Err(invalid("validating webhook may not return response.patch".to_owned()));
    }
    match response["patchType"].as_str() {
        Some("JSONPatch") => {}
        None => {
            return Err(invalid("webhook returned response.patch but not response.patchType".to_owned()));
        }
        Some(other) => {
            return Err(invalid(format!("webhook returned invalid response.patchType of {other:?}")));
        }
    }
    let bytes = base64(patch).ok_or_else(|| invalid("response.patch is not base64".to_owned()))?;
    let patch =
        serde_json::from_slice(&bytes).map_err(|error| invalid(format!("response.patch: {error}")))?;
    Ok(Read::Yes { patch: Some(patch), warnings })
}

fn internal(why: &str) -> Status {
    Status::new(500, "InternalError", format!("Internal error occurred: {why}"))
}

/// The refusal a webhook's status gives.
fn refusal(webhook: &str, status: &Json) -> Status {
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let (message, reason) = (text(status, "/message"), text(status, "/reason"));
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    Status::new(code, reason, message)
}
