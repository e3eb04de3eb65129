//! `kubercarbon rbac`.

use crate::options::Rbac;

/// Prints the role, and how it is given to an account where none was named.
pub fn run(options: &Rbac) {
    let account =
        options.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    let (role, flag) = if options.import {
        (server::rights::import_yaml(options.secrets, account), "--import".to_owned())
    } else {
        let flag = format!("--mode {}", options.mode.as_str());
        (server::rights::yaml(options.mode, options.secrets, options.lease_namespace.as_str(), account), flag)
    };
    print!("{role}");
    if account.is_none() {
        eprintln!(
            "hint: kubercarbon rbac {flag} --service-account NAMESPACE/NAME | kubectl --context CONTEXT apply -f -"
        );
    }
}
