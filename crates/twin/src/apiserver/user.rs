//! Who asks: the user a request comes from, as the API server knows users.
//!
//! Users are no objects. Whoever binds the socket finds out who it is; from there on a [`User`] is a name, groups and
//! what else is known of them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whose members may do everything.
pub const MASTERS: &str = "system:masters";
/// Everybody who said who they are is a member.
pub const AUTHENTICATED: &str = "system:authenticated";
/// Everybody else is a member of this one.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of whoever did not say.
pub const ANONYMOUS: &str = "system:anonymous";
/// Before namespace and name of a service account, in a user's name.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// Group of all service accounts; with a namespace behind it, of those of the namespace.
const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// Whoever asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name.
    pub name: String,
    /// Uid, empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What else is known of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whoever runs the twin: they may do everything.
    pub fn admin() -> User {
        let groups = vec![MASTERS.to_owned(), AUTHENTICATED.to_owned()];
        User { name: "kubernetes-admin".to_owned(), groups, ..User::default() }
    }
    /// Whoever did not say who they are.
    pub fn anonymous() -> User {
        User { name: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..User::default() }
    }
    /// A service account.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        let mut groups = service_account_groups(namespace);
        groups.push(AUTHENTICATED.to_owned());
        let name = format!("{SERVICE_ACCOUNT}{namespace}:{name}");
        User { name, uid: uid.to_owned(), groups, ..User::default() }
    }
    /// Namespace and name, when it is a service account.
    pub fn account(&self) -> Option<(&str, &str)> {
        account(&self.name)
    }
    /// Whether they are members of a group.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
    /// The `UserInfo` of reviews.
    pub fn to_value(&self) -> Value {
        let mut info = json!({"username": self.name});
        if !self.uid.is_empty() {
            info["uid"] = json!(self.uid);
        }
        if !self.groups.is_empty() {
            info["groups"] = json!(self.groups);
        }
        if !self.extra.is_empty() {
            info["extra"] = json!(self.extra);
        }
        info
    }
}

/// Namespace and name of the service account that a user's name stands for.
pub fn account(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Groups of the service accounts of a namespace.
pub fn service_account_groups(namespace: &str) -> Vec<String> {
    vec![SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}")]
}

/// Who asks, and by what they are judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Who.
    pub user: User,
    /// Whether roles say what they may do; else everybody may do everything.
    #[serde(default)]
    pub rbac: bool,
}

impl Caller {
    /// Whoever runs the twin.
    pub fn admin() -> Caller {
        Caller { user: User::admin(), rbac: false }
    }
}
