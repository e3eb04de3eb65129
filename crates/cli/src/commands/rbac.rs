//! `kubercarbon rbac`.

use crate::options::Rbac;

/// Prints the role, and how it is given to an account where none was named.
pub fn run(options: &Rbac) {
    let account =
        options.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
    print!("{}", server::rights::yaml(options.mode, options.secrets, account));
    if account.is_none() {
        eprintln!(
            "hint: kubercarbon rbac --mode {} --service-account NAMESPACE/NAME | kubectl --context CONTEXT apply -f -",
            options.mode.as_str()
        );
    }
}
