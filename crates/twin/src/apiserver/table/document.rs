//! Rows of kinds kept as documents, cell by cell; of custom resources, by the columns their definition names.
//!
//! Cells are those of Kubernetes' printers. A kind without a printer of its own shows its name and when it was created.

use super::age::{human, since};
use crate::apiserver::quantity::Quantity;
use crate::kind::{Defined, Kind};
use crate::object::Document;
use fleet::{Instant, Span};
use serde_json::{Value, json};

/// What stands in a cell.
#[derive(Clone, Copy)]
enum Cell {
    /// The object's name.
    Name,
    /// How long ago it was made.
    Age,
    /// When it was made.
    Created,
    /// The text at a path, or this where there is none.
    Text(&'static str, &'static str),
    /// The number at a path, or 0.
    Int(&'static str),
    /// The flag at a path, or this.
    Flag(&'static str, bool),
    /// How many entries there are at a path.
    Count(&'static str),
    /// How long ago the time at a path was.
    Since(&'static str),
    /// Ready of wanted replicas.
    Ready,
    /// Names or images of the containers below a path.
    Containers(&'static str, &'static str),
    /// The label selector at a path.
    Selector(&'static str),
    /// The labels at a path.
    Labels(&'static str),
    /// Worked out.
    Other(fn(&Row<'_>) -> Value),
}

/// A column: its name, `s`tring, `i`nteger or `b`oolean (capital: shown with `-o wide` alone), and its cells.
type Column = (&'static str, char, Cell);

const NAME: Column = ("Name", 's', Cell::Name);
const AGE: Column = ("Age", 's', Cell::Age);
const POD: &str = "/spec/template/spec";
const CONTAINERS: Column = ("Containers", 'S', Cell::Containers(POD, "name"));
const IMAGES: Column = ("Images", 'S', Cell::Containers(POD, "image"));
const SELECTOR: Column = ("Selector", 'S', Cell::Selector("/spec/selector"));

/// The columns of a document's kind.
#[rustfmt::skip]
fn columns(kind: Kind) -> &'static [Column] {
    use Cell::{Count, Flag, Int, Labels, Other, Ready, Selector, Since, Text};
    match (kind.resource().group, kind.resource().plural) {
        ("apps", "deployments") => &[NAME, ("Ready", 's', Ready), ("Up-to-date", 's', Int("/status/updatedReplicas")),
            ("Available", 's', Int("/status/availableReplicas")), AGE, CONTAINERS, IMAGES, SELECTOR],
        ("apps", "replicasets") => &[NAME, ("Desired", 'i', Int("/spec/replicas")), ("Current", 'i', Int("/status/replicas")),
            ("Ready", 'i', Int("/status/readyReplicas")), AGE, CONTAINERS, IMAGES, SELECTOR],
        ("", "replicationcontrollers") => &[NAME, ("Desired", 'i', Int("/spec/replicas")), ("Current", 'i', Int("/status/replicas")),
            ("Ready", 'i', Int("/status/readyReplicas")), AGE, CONTAINERS, IMAGES, ("Selector", 'S', Labels("/spec/selector"))],
        ("apps", "statefulsets") => &[NAME, ("Ready", 's', Ready), AGE, CONTAINERS, IMAGES],
        ("apps", "daemonsets") => &[NAME, ("Desired", 'i', Int("/status/desiredNumberScheduled")), ("Current", 'i', Int("/status/currentNumberScheduled")),
            ("Ready", 'i', Int("/status/numberReady")), ("Up-to-date", 'i', Int("/status/updatedNumberScheduled")),
            ("Available", 'i', Int("/status/numberAvailable")), ("Node Selector", 's', Labels("/spec/template/spec/nodeSelector")),
            AGE, CONTAINERS, IMAGES, SELECTOR],
        ("apps", "controllerrevisions") => &[NAME, ("Controller", 's', Other(|row| row.controller())), ("Revision", 's', Int("/revision")), AGE],
        ("batch", "cronjobs") => &[NAME, ("Schedule", 's', Text("/spec/schedule", "")), ("Timezone", 's', Text("/spec/timeZone", "<none>")),
            ("Suspend", 'b', Other(|row| row.suspended())), ("Active", 'i', Count("/status/active")),
            ("Last Schedule", 's', Other(|row| row.since_or("/status/lastScheduleTime", "<none>"))), AGE,
            ("Containers", 'S', Cell::Containers("/spec/jobTemplate/spec/template/spec", "name")),
            ("Images", 'S', Cell::Containers("/spec/jobTemplate/spec/template/spec", "image")),
            ("Selector", 'S', Selector("/spec/jobTemplate/spec/selector"))],
        ("", "services") => &[NAME, ("Type", 's', Text("/spec/type", "")), ("Cluster-IP", 's', Other(|row| row.cluster_ip())),
            ("External-IP", 's', Other(|row| row.external_ip())), ("Port(s)", 's', Other(|row| row.service_ports())), AGE,
            ("Selector", 'S', Labels("/spec/selector"))],
        ("", "endpoints") => &[NAME, ("Endpoints", 's', Other(|row| row.endpoints())), AGE],
        ("", "secrets") => &[NAME, ("Type", 's', Text("/type", "")), ("Data", 's', Count("/data")), AGE],
        ("", "serviceaccounts") | ("resource.k8s.io", "deviceclasses" | "resourceclaimtemplates") => &[NAME, AGE],
        ("", "persistentvolumes") => &[NAME, ("Capacity", 's', Text("/spec/capacity/storage", "0")), ("Access Modes", 's', Other(|row| row.modes("/spec/accessModes"))),
            ("Reclaim Policy", 's', Text("/spec/persistentVolumeReclaimPolicy", "")), ("Status", 's', Other(|row| row.phase())),
            ("Claim", 's', Other(|row| row.claim())), ("StorageClass", 's', Other(|row| row.storage_class())),
            ("VolumeAttributesClass", 's', Text("/spec/volumeAttributesClassName", "<unset>")), ("Reason", 's', Text("/status/reason", "")), AGE,
            ("VolumeMode", 'S', Text("/spec/volumeMode", "<unset>"))],
        ("", "persistentvolumeclaims") => &[NAME, ("Status", 's', Other(|row| row.phase())), ("Volume", 's', Text("/spec/volumeName", "")),
            ("Capacity", 's', Other(|row| row.claimed())), ("Access Modes", 's', Other(|row| row.claimed_modes())), ("StorageClass", 's', Other(|row| row.storage_class())),
            ("VolumeAttributesClass", 's', Text("/spec/volumeAttributesClassName", "<unset>")), AGE, ("VolumeMode", 'S', Text("/spec/volumeMode", "<unset>"))],
        ("", "resourcequotas") => &[NAME, ("Request", 's', Other(|row| row.quota(false))), ("Limit", 's', Other(|row| row.quota(true))), AGE],
        ("autoscaling", _) => &[NAME, ("Reference", 's', Other(|row| row.target())), ("Targets", 's', Other(|row| row.metrics())),
            ("MinPods", 's', Text("/spec/minReplicas", "<unset>")), ("MaxPods", 's', Int("/spec/maxReplicas")), ("Replicas", 's', Int("/status/currentReplicas")), AGE],
        ("policy", "poddisruptionbudgets") => &[NAME, ("Min Available", 's', Text("/spec/minAvailable", "N/A")), ("Max Unavailable", 's', Text("/spec/maxUnavailable", "N/A")),
            ("Allowed Disruptions", 'i', Int("/status/disruptionsAllowed")), AGE],
        ("networking.k8s.io", "ingresses") => &[NAME, ("Class", 's', Text("/spec/ingressClassName", "<none>")), ("Hosts", 's', Other(|row| row.hosts())),
            ("Address", 's', Other(|row| row.load_balancer())), ("Ports", 's', Other(|row| row.ingress_ports())), AGE],
        ("networking.k8s.io", "ingressclasses") => &[NAME, ("Controller", 's', Text("/spec/controller", "")), ("Parameters", 's', Other(|row| row.parameters())), AGE],
        ("networking.k8s.io", "networkpolicies") => &[NAME, ("Pod-Selector", 's', Selector("/spec/podSelector")), AGE],
        ("discovery.k8s.io", "endpointslices") => &[NAME, ("AddressType", 's', Text("/addressType", "")), ("Ports", 's', Other(|row| row.slice_ports())),
            ("Endpoints", 's', Other(|row| row.slice_addresses())), AGE],
        ("storage.k8s.io", "storageclasses") => &[NAME, ("Provisioner", 's', Text("/provisioner", "")), ("ReclaimPolicy", 's', Text("/reclaimPolicy", "Delete")),
            ("VolumeBindingMode", 's', Text("/volumeBindingMode", "Immediate")), ("AllowVolumeExpansion", 's', Flag("/allowVolumeExpansion", false)), AGE],
        ("storage.k8s.io", "csinodes") => &[NAME, ("Drivers", 'i', Count("/spec/drivers")), AGE],
        ("storage.k8s.io", "volumeattachments") => &[NAME, ("Attacher", 's', Text("/spec/attacher", "")), ("PV", 's', Text("/spec/source/persistentVolumeName", "")),
            ("Node", 's', Text("/spec/nodeName", "")), ("Attached", 'b', Flag("/status/attached", false)), AGE],
        ("node.k8s.io", "runtimeclasses") => &[NAME, ("Handler", 's', Text("/handler", "")), AGE],
        ("rbac.authorization.k8s.io", "rolebindings" | "clusterrolebindings") => &[NAME, ("Role", 's', Other(|row| row.role())), AGE,
            ("Users", 'S', Other(|row| row.subjects("User"))), ("Groups", 'S', Other(|row| row.subjects("Group"))),
            ("ServiceAccounts", 'S', Other(|row| row.subjects("ServiceAccount")))],
        ("certificates.k8s.io", "certificatesigningrequests") => &[NAME, AGE, ("SignerName", 's', Text("/spec/signerName", "<none>")),
            ("Requestor", 's', Text("/spec/username", "")), ("RequestedDuration", 's', Other(|row| row.requested())), ("Condition", 's', Other(|row| row.approval()))],
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations" | "validatingwebhookconfigurations") =>
            &[NAME, ("Webhooks", 'i', Count("/webhooks")), AGE],
        ("flowcontrol.apiserver.k8s.io", "flowschemas") => &[NAME, ("PriorityLevel", 's', Text("/spec/priorityLevelConfiguration/name", "")),
            ("MatchingPrecedence", 's', Int("/spec/matchingPrecedence")), ("DistinguisherMethod", 's', Text("/spec/distinguisherMethod/type", "<none>")), AGE,
            ("MissingPL", 's', Other(|row| row.condition("Dangling", "?")))],
        ("apiregistration.k8s.io", _) => &[NAME, ("Service", 's', Other(|row| row.service())), ("Available", 's', Other(|row| row.condition("Available", "Unknown"))), ("Age", 's', Since("/metadata/creationTimestamp"))],
        _ => &[NAME, ("Created At", 's', Cell::Created)],
    }
}

/// Definitions of the columns, as `Table` writes them.
pub(super) fn definitions(kind: Kind, defined: Option<&Defined>) -> Vec<Value> {
    if let Some(custom) = custom_columns(kind, defined) {
        return custom;
    }
    let definition = |(name, of, _): &Column| {
        let kind = match of.to_ascii_lowercase() {
            'i' => "integer",
            'b' => "boolean",
            _ => "string",
        };
        let format = if *name == "Name" { "name" } else { "" };
        let format = if *name == "Created At" { "date" } else { format };
        json!({"name": name, "type": kind, "format": format, "priority": i32::from(of.is_ascii_uppercase()), "description": ""})
    };
    columns(kind).iter().map(definition).collect()
}

/// Definitions of a custom resource's columns: its name, then what the definition says, or its age.
fn custom_columns(kind: Kind, defined: Option<&Defined>) -> Option<Vec<Value>> {
    let defined = defined?;
    let name = json!({"name": "Name", "type": "string", "format": "name", "priority": 0, "description": ""});
    let age = json!({"name": "Age", "type": "date", "format": "", "priority": 0, "description": ""});
    let columns = defined.version(kind.resource().version).map_or(&[][..], |v| &v.columns);
    let text =
        |column: &Value, key: &str| column.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let own = columns.iter().map(|column| {
        json!({"name": text(column, "name"), "type": text(column, "type"), "format": text(column, "format"), "priority": column.get("priority").and_then(Value::as_i64).unwrap_or(0), "description": text(column, "description")})
    });
    let own: Vec<Value> = own.collect();
    Some([vec![name], if own.is_empty() { vec![age] } else { own }].concat())
}

/// The cells of a document's row.
pub(super) fn row(kind: Kind, defined: Option<&Defined>, document: &Document, now: Instant) -> Vec<Value> {
    let doc = serde_json::to_value(document).unwrap_or_default();
    let row = Row { doc: &doc, now };
    if let Some(defined) = defined {
        let columns = defined.version(kind.resource().version).map_or(&[][..], |v| &v.columns);
        let own = columns.iter().map(|column| row.custom(column));
        let own: Vec<Value> = own.collect();
        return [vec![row.cell(Cell::Name)], if own.is_empty() { vec![row.cell(Cell::Age)] } else { own }]
            .concat();
    }
    columns(kind).iter().map(|(_, _, cell)| row.cell(*cell)).collect()
}

struct Row<'a> {
    doc: &'a Value,
    now: Instant,
}

/// Most hosts, endpoints and the like that are shown.
const SHOWN_MAX: usize = 3;
/// Most metrics of an HPA that are shown.
const METRICS_MAX: usize = 2;

fn more(list: &[String], max: usize, separator: &str) -> String {
    let shown = list[..list.len().min(max)].join(separator);
    if list.len() > max { format!("{shown} + {} more...", list.len() - max) } else { shown }
}

impl Row<'_> {
    fn at(&self, path: &str) -> &Value {
        self.doc.pointer(path).unwrap_or(&Value::Null)
    }
    fn list(&self, path: &str) -> &[Value] {
        self.at(path).as_array().map_or(&[], Vec::as_slice)
    }
    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }
    fn time(&self, path: &str) -> Option<Instant> {
        Instant::parse(self.text(path)).ok()
    }
    fn since_or(&self, path: &str, none: &str) -> Value {
        self.time(path).map_or_else(|| json!(none), |then| json!(since(Some(then), self.now)))
    }
    fn cell(&self, cell: Cell) -> Value {
        match cell {
            Cell::Name => json!(self.named()),
            Cell::Age => self.since_or("/metadata/creationTimestamp", "<unknown>"),
            Cell::Created => self.at("/metadata/creationTimestamp").clone(),
            Cell::Since(path) => self.since_or(path, "<unknown>"),
            Cell::Text(path, none) => match self.at(path) {
                Value::Null => json!(none),
                Value::String(text) => json!(text),
                other => json!(other.to_string()),
            },
            Cell::Int(path) => json!(self.at(path).as_i64().unwrap_or(0)),
            Cell::Flag(path, none) => json!(self.at(path).as_bool().unwrap_or(none)),
            Cell::Count(path) => match self.at(path) {
                Value::Array(list) => json!(list.len()),
                Value::Object(map) => json!(map.len()),
                _ => json!(0),
            },
            Cell::Ready => {
                let number = |path: &str| self.at(path).as_i64().unwrap_or(0);
                json!(format!("{}/{}", number("/status/readyReplicas"), number("/spec/replicas")))
            }
            Cell::Containers(pod, part) => {
                let path = format!("{pod}/containers");
                let each = self.list(&path).iter().map(|c| c[part].as_str().unwrap_or_default());
                json!(each.collect::<Vec<_>>().join(","))
            }
            Cell::Selector(path) => json!(selector(self.at(path))),
            Cell::Labels(path) => json!(labels(self.at(path))),
            Cell::Other(work_out) => work_out(self),
        }
    }
    /// The name, with a mark on what is the default of its kind.
    fn named(&self) -> String {
        let annotations =
            ["storageclass.kubernetes.io/is-default-class", "ingressclass.kubernetes.io/is-default-class"];
        let annotation = |name: &str| self.at("/metadata/annotations").get(name) == Some(&json!("true"));
        let mark = if annotations.into_iter().any(annotation) { " (default)" } else { "" };
        format!("{}{mark}", self.text("/metadata/name"))
    }
    /// A cell of a custom resource by its column's JSON path.
    fn custom(&self, column: &Value) -> Value {
        let path = column.get("jsonPath").and_then(Value::as_str).unwrap_or_default();
        let found = crate::apiserver::custom::at_path(self.doc, path);
        match (column.get("type").and_then(Value::as_str).unwrap_or_default(), found) {
            (_, None | Some(Value::Null)) => Value::Null,
            ("date", Some(Value::String(text))) => match Instant::parse(text) {
                Ok(then) => json!(since(Some(then), self.now)),
                Err(_) => json!("<invalid>"),
            },
            ("string", Some(Value::String(text))) => json!(text),
            ("string", Some(other)) => json!(other.to_string()),
            (_, Some(value)) => value.clone(),
        }
    }
    fn controller(&self) -> Value {
        let owner = self.list("/metadata/ownerReferences").iter().find(|o| o["controller"] == json!(true));
        let Some(owner) = owner else { return json!("<none>") };
        let text = |key: &str| owner[key].as_str().unwrap_or_default();
        let group =
            text("apiVersion").split_once('/').map_or(String::new(), |(group, _)| format!(".{group}"));
        json!(format!("{}{group}/{}", text("kind").to_lowercase(), text("name")))
    }
    fn suspended(&self) -> Value {
        json!(match self.at("/spec/suspend").as_bool() {
            Some(true) => "True",
            Some(false) => "False",
            None => "<unset>",
        })
    }
    fn phase(&self) -> Value {
        let going = !self.at("/metadata/deletionTimestamp").is_null();
        json!(if going { "Terminating" } else { self.text("/status/phase") })
    }
    fn modes(&self, path: &str) -> Value {
        let has = |mode: &str| self.list(path).iter().any(|m| m == mode);
        let known = [
            ("ReadWriteOnce", "RWO"),
            ("ReadOnlyMany", "ROX"),
            ("ReadWriteMany", "RWX"),
            ("ReadWriteOncePod", "RWOP"),
        ];
        json!(
            known.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
        )
    }
    fn is_claimed(&self) -> bool {
        !self.text("/spec/volumeName").is_empty()
    }
    fn claimed(&self) -> Value {
        let none = if self.is_claimed() { "0" } else { "" };
        let capacity = self.at("/status/capacity/storage").as_str().filter(|_| self.is_claimed());
        json!(capacity.unwrap_or(none))
    }
    fn claimed_modes(&self) -> Value {
        if self.is_claimed() { self.modes("/status/accessModes") } else { json!("") }
    }
    fn claim(&self) -> Value {
        if self.at("/spec/claimRef").is_null() {
            return json!("");
        }
        json!(format!("{}/{}", self.text("/spec/claimRef/namespace"), self.text("/spec/claimRef/name")))
    }
    fn storage_class(&self) -> Value {
        let annotation = self.at("/metadata/annotations").get("volume.beta.kubernetes.io/storage-class");
        annotation.cloned().unwrap_or_else(|| json!(self.text("/spec/storageClassName")))
    }
    fn cluster_ip(&self) -> Value {
        json!(self.list("/spec/clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>"))
    }
    /// Addresses of the load balancer, each once and in order.
    fn balancers(&self) -> Vec<String> {
        let each = self.list("/status/loadBalancer/ingress").iter();
        let each = each.filter_map(|i| i["ip"].as_str().or(i["hostname"].as_str())).map(str::to_owned);
        let mut all: Vec<String> = each.collect();
        all.sort();
        all.dedup();
        all
    }
    fn load_balancer(&self) -> Value {
        json!(self.balancers().join(","))
    }
    fn external_ip(&self) -> Value {
        let own: Vec<String> =
            self.list("/spec/externalIPs").iter().filter_map(Value::as_str).map(str::to_owned).collect();
        let (all, none) = match self.text("/spec/type") {
            "ClusterIP" | "NodePort" => (own, "<none>"),
            "LoadBalancer" => ([self.balancers(), own].concat(), "<pending>"),
            "ExternalName" => return json!(self.text("/spec/externalName")),
            _ => return json!("<unknown>"),
        };
        json!(if all.is_empty() { none.to_owned() } else { all.join(",") })
    }
    fn service_ports(&self) -> Value {
        let port = |port: &Value| {
            let node =
                port["nodePort"].as_i64().filter(|p| *p > 0).map_or(String::new(), |p| format!(":{p}"));
            format!(
                "{}{node}/{}",
                port["port"].as_i64().unwrap_or(0),
                port["protocol"].as_str().unwrap_or_default()
            )
        };
        let all: Vec<String> = self.list("/spec/ports").iter().map(port).collect();
        json!(if all.is_empty() { "<none>".to_owned() } else { all.join(",") })
    }
    fn endpoints(&self) -> Value {
        let mut all = Vec::new();
        for subset in self.list("/subsets") {
            let addresses: Vec<&str> = subset["addresses"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|a| a["ip"].as_str())
                .collect();
            match subset["ports"].as_array().filter(|ports| !ports.is_empty()) {
                None => all.extend(addresses.iter().map(|a| (*a).to_owned())),
                Some(ports) => {
                    let join = |address: &str, port: &Value| {
                        if address.contains(':') {
                            format!("[{address}]:{port}")
                        } else {
                            format!("{address}:{port}")
                        }
                    };
                    for port in ports {
                        all.extend(addresses.iter().map(|address| join(address, &port["port"])));
                    }
                }
            }
        }
        json!(if self.list("/subsets").is_empty() { "<none>".to_owned() } else { more(&all, SHOWN_MAX, ",") })
    }
    fn slice_ports(&self) -> Value {
        let port = |port: &Value| match (port["port"].as_i64(), port["name"].as_str()) {
            (Some(number), _) => number.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => "*".to_owned(),
        };
        let all: Vec<String> = self.list("/ports").iter().map(port).collect();
        json!(if all.is_empty() { "<unset>".to_owned() } else { more(&all, SHOWN_MAX, ",") })
    }
    fn slice_addresses(&self) -> Value {
        let each =
            self.list("/endpoints").iter().flat_map(|e| e["addresses"].as_array().into_iter().flatten());
        let all: Vec<String> = each.filter_map(Value::as_str).map(str::to_owned).collect();
        json!(if all.is_empty() { "<unset>".to_owned() } else { more(&all, SHOWN_MAX, ",") })
    }
    fn hosts(&self) -> Value {
        let rules = self.list("/spec/rules");
        let mut shown: Vec<&str> = Vec::new();
        let mut cut = false;
        for rule in rules {
            cut |= shown.len() == SHOWN_MAX;
            let host = rule["host"].as_str().unwrap_or_default();
            if !cut && !host.is_empty() {
                shown.push(host);
            }
        }
        let text = if shown.is_empty() { "*".to_owned() } else { shown.join(",") };
        json!(if cut { format!("{text} + {} more...", rules.len() - SHOWN_MAX) } else { text })
    }
    fn ingress_ports(&self) -> Value {
        json!(if self.list("/spec/tls").is_empty() { "80" } else { "80, 443" })
    }
    fn parameters(&self) -> Value {
        let of = self.at("/spec/parameters");
        if of.is_null() {
            return json!("<none>");
        }
        let group = of["apiGroup"].as_str().map_or(String::new(), |group| format!(".{group}"));
        let text = |key: &str| of[key].as_str().unwrap_or_default();
        json!(format!("{}{group}/{}", text("kind"), text("name")))
    }
    fn role(&self) -> Value {
        json!(format!("{}/{}", self.text("/roleRef/kind"), self.text("/roleRef/name")))
    }
    fn subjects(&self, kind: &str) -> Value {
        let of_kind = self.list("/subjects").iter().filter(|s| s["kind"] == kind);
        let name = |s: &Value| {
            let text = |key: &str| s[key].as_str().unwrap_or_default();
            if kind == "ServiceAccount" {
                format!("{}/{}", text("namespace"), text("name"))
            } else {
                text("name").to_owned()
            }
        };
        json!(of_kind.map(name).collect::<Vec<_>>().join(", "))
    }
    fn quota(&self, limits: bool) -> Value {
        let hard = self.at("/status/hard").as_object().into_iter().flatten();
        let each = hard.filter(|(name, _)| name.starts_with("limits.") == limits).map(|(name, hard)| {
            let used = self.at("/status/used").get(name).and_then(Value::as_str).unwrap_or("0");
            format!("{name}: {used}/{}", hard.as_str().unwrap_or_default())
        });
        json!(each.collect::<Vec<_>>().join(", "))
    }
    fn condition(&self, kind: &str, none: &str) -> Value {
        let found = self.list("/status/conditions").iter().find(|c| c["type"] == kind);
        json!(found.and_then(|c| c["status"].as_str()).unwrap_or(none))
    }
    fn service(&self) -> Value {
        if self.at("/spec/service").is_null() {
            return json!("Local");
        }
        json!(format!("{}/{}", self.text("/spec/service/namespace"), self.text("/spec/service/name")))
    }
    fn requested(&self) -> Value {
        let seconds = self.at("/spec/expirationSeconds").as_i64();
        json!(seconds.map_or_else(|| "<none>".to_owned(), |s| human(Span::from_seconds(s))))
    }
    fn approval(&self) -> Value {
        let has = |kind: &str| self.list("/status/conditions").iter().any(|c| c["type"] == kind);
        let mut text = match (has("Denied"), has("Approved")) {
            (true, _) => "Denied".to_owned(),
            (_, true) => "Approved".to_owned(),
            _ => "Pending".to_owned(),
        };
        if has("Failed") {
            text += ",Failed";
        }
        if !self.at("/status/certificate").is_null() {
            text += ",Issued";
        }
        json!(text)
    }
    fn target(&self) -> Value {
        json!(format!(
            "{}/{}",
            self.text("/spec/scaleTargetRef/kind"),
            self.text("/spec/scaleTargetRef/name")
        ))
    }
    fn metrics(&self) -> Value {
        let (wanted, now) = (self.list("/spec/metrics"), self.list("/status/currentMetrics"));
        if wanted.is_empty() {
            return json!("<none>");
        }
        let each =
            wanted.iter().enumerate().map(|(i, spec)| metric(spec, now.get(i).unwrap_or(&Value::Null)));
        json!(more(&each.collect::<Vec<_>>(), METRICS_MAX, ", "))
    }
}

/// One metric of an HPA: what it is now, and what is wanted.
fn metric(spec: &Value, status: &Value) -> String {
    let (part, named) = match spec["type"].as_str().unwrap_or_default() {
        "External" => ("external", false),
        "Pods" => ("pods", false),
        "Object" => ("object", false),
        "Resource" => ("resource", true),
        "ContainerResource" => ("containerResource", true),
        _ => return "<unknown type>".to_owned(),
    };
    let (target, current) = (&spec[part]["target"], &status[part]["current"]);
    let amount = |of: &Value, key: &str, none: &str| match &of[key] {
        Value::String(text) => Quantity::parse(text).map_or_else(|_| text.clone(), |q| q.to_string()),
        _ => none.to_owned(),
    };
    let percent = |of: &Value, none: &str| {
        of["averageUtilization"].as_i64().map_or_else(|| none.to_owned(), |p| format!("{p}%"))
    };
    // A status that is there without the amount counts as zero.
    let zero = if status[part].is_object() { "0" } else { "<unknown>" };
    if named {
        let name = spec[part]["name"].as_str().unwrap_or_default();
        return if target["averageValue"].is_null() {
            format!("{name}: {}/{}", percent(current, "<unknown>"), percent(target, "<auto>"))
        } else {
            format!(
                "{name}: {}/{}",
                amount(current, "averageValue", zero),
                amount(target, "averageValue", "0")
            )
        };
    }
    if part == "pods" {
        return format!("{}/{}", amount(current, "averageValue", zero), amount(target, "averageValue", "0"));
    }
    if target["averageValue"].is_null() {
        return format!("{}/{}", amount(current, "value", zero), amount(target, "value", "0"));
    }
    format!("{}/{} (avg)", amount(current, "averageValue", "<unknown>"), amount(target, "averageValue", "0"))
}

fn labels(labels: &Value) -> String {
    let each = labels.as_object().into_iter().flatten();
    let all: Vec<String> = each.map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    if all.is_empty() { "<none>".to_owned() } else { all.join(",") }
}

fn selector(selector: &Value) -> String {
    let typed = serde_json::from_value(selector.clone()).ok();
    super::cells::selector(typed.as_ref())
}
