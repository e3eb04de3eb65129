//! The live sources of carbon there are, in order, as the environment says; secrets come from there or from a
//! file it names, never from a flag.
//!
//! Invariants: a source that cannot be used says why and what to do, and nothing ends because of it: the next
//! in the chain stands in. No secret is in a text made here. All names of variables are here.

use connect::observe::provider::{
    Basis, CarbonAwareSdk, ElectricityMaps, EnergiDataService, EnergyCharts, Guarded, Limits, Provider,
    Proxies, Reach, Secret, UkCarbon, WattTime, carbon_aware_sdk, electricity_maps, energi_data_service,
    energy_charts, uk_carbon, watttime,
};
use control::whereabouts::UNKNOWN;
use fleet::GridZone;
use std::path::Path;

/// Which providers, in which order, by comma.
pub const PROVIDERS: &str = "KUBERCARBON_CARBON_PROVIDERS";
/// WattTime's account.
pub const WATTTIME_USER: &str = "KUBERCARBON_WATTTIME_USER";
/// Its password.
pub const WATTTIME_PASSWORD: &str = "KUBERCARBON_WATTTIME_PASSWORD";
/// Its address.
pub const WATTTIME_URL: &str = "KUBERCARBON_WATTTIME_URL";
/// Electricity Maps' key.
pub const ELECTRICITYMAPS_TOKEN: &str = "KUBERCARBON_ELECTRICITYMAPS_TOKEN";
/// Its address, with the version.
pub const ELECTRICITYMAPS_URL: &str = "KUBERCARBON_ELECTRICITYMAPS_URL";
/// UK Carbon Intensity's address.
pub const UK_CARBON_URL: &str = "KUBERCARBON_UK_CARBON_URL";
/// Energi Data Service's address (experimental); setting it is asking for it.
pub const ENERGI_DATA_SERVICE_URL: &str = "KUBERCARBON_ENERGI_DATA_SERVICE_URL";
/// Energy-Charts' address (experimental).
pub const ENERGY_CHARTS_URL: &str = "KUBERCARBON_ENERGY_CHARTS_URL";
/// A Carbon Aware SDK server's address (experimental).
pub const CARBON_AWARE_SDK_URL: &str = "KUBERCARBON_CARBON_AWARE_SDK_URL";
/// What its data source counts: `average` or `marginal`. Its answers do not say.
pub const CARBON_AWARE_SDK_BASIS: &str = "KUBERCARBON_CARBON_AWARE_SDK_BASIS";
/// Put behind a secret's variable: the file it is in.
const FILE: &str = "_FILE";

/// Without a word on it: average before marginal, because ledger lines are location-based averages; what
/// somebody has a key for before what needs none; a country's own service before one of many countries.
const ORDER: &str = "electricity-maps,watttime,uk-carbon,energi-data-service,energy-charts,carbon-aware-sdk";
/// How the reason begins where nobody has set anything up, which is no mistake.
const NOTHING: &str = "no ";
/// Largest file with a secret, in bytes.
const SECRET_MAX: u64 = 4096;

/// A live source.
pub struct LiveSource {
    /// Its name.
    pub name: &'static str,
    /// What its figures count.
    pub basis: Basis,
    /// Which zones it knows, where that is known; `None`: it may know any.
    pub covers: Option<fn(&GridZone) -> bool>,
    /// How it is asked, or why it cannot be.
    pub provider: Result<Guarded, String>,
}

impl LiveSource {
    /// Whether it may know a zone. Nobody is asked about a cluster of which nothing says where it stands.
    pub fn may_know(&self, zone: &GridZone) -> bool {
        zone.as_str() != UNKNOWN && self.covers.is_none_or(|covers| covers(zone))
    }
}

/// A variable's value; `None`: not set, or empty.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// The process's own environment.
pub fn environment(name: &str) -> Result<Option<String>, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.trim().is_empty())),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name}: not UTF-8: expected text")),
    }
}

/// What every provider is made with: the variables, and how it is reached.
struct Means<'a> {
    lookup: Lookup<'a>,
    reach: Result<Reach, String>,
}

impl Means<'_> {
    /// A guarded provider, made with how it is reached.
    fn make<P: Provider + 'static>(
        &self,
        with: impl FnOnce(Reach) -> Result<P, String>,
    ) -> Result<Guarded, String> {
        with(self.reach.clone()?).map(|provider| Guarded::new(Box::new(provider)))
    }
    /// An address, unless told otherwise.
    fn url(&self, name: &str, usual: &str) -> Result<String, String> {
        Ok((self.lookup)(name)?.unwrap_or_else(|| usual.to_owned()))
    }
}

/// The sources, in order.
pub fn read(lookup: Lookup<'_>, limits: Limits) -> Vec<LiveSource> {
    let order = match lookup(PROVIDERS) {
        Ok(order) => order,
        Err(error) => {
            tracing::warn!(error, "the usual order of carbon providers is kept");
            None
        }
    };
    let stated = order.is_some();
    let order = order.unwrap_or_else(|| ORDER.to_owned());
    let proxies = Proxies::read(lookup);
    let lookup = &Means { lookup, reach: proxies.map(|proxies| Reach { limits, proxies }) };
    let mut sources: Vec<LiveSource> = Vec::new();
    for word in order.split(',').map(str::trim).filter(|word| !word.is_empty() && *word != "none") {
        let source = match word {
            "electricity-maps" => electricity_maps_source(lookup),
            "watttime" => watttime_source(lookup),
            "uk-carbon" => uk_carbon_source(lookup),
            "energi-data-service" => energi_data_service_source(lookup, stated),
            "energy-charts" => energy_charts_source(lookup),
            "carbon-aware-sdk" => {
                let source = carbon_aware_sdk_source(lookup);
                // Experimental: only who asks for it hears of it.
                let unasked = source.provider.as_ref().is_err_and(|why| why.starts_with(NOTHING));
                if unasked && !stated {
                    continue;
                }
                source
            }
            other => {
                let other: String = other.chars().take(80).collect();
                tracing::warn!("{PROVIDERS}: {other:?}: expected {ORDER}, in any order, or none");
                continue;
            }
        };
        if sources.iter().all(|known| known.name != source.name) {
            if let Err(why) = source.provider.as_ref()
                && !why.starts_with(NOTHING)
            {
                tracing::warn!(source = source.name, "{why}");
            }
            sources.push(source);
        }
    }
    keep_to_one_basis(&mut sources);
    sources
}

/// Average and marginal figures do not compare, and plans compare zones: what counts otherwise than the first
/// source that is set up for any zone is not asked.
fn keep_to_one_basis(sources: &mut [LiveSource]) {
    let first = sources.iter().find(|source| source.covers.is_none() && source.provider.is_ok());
    let basis = first.map_or(Basis::Average, |source| source.basis);
    for source in sources.iter_mut().filter(|source| source.basis != basis && source.provider.is_ok()) {
        let own = source.basis;
        source.provider = Err(format!(
            "{own} figures are not mixed with {basis} ones: put it first in {PROVIDERS} to use it"
        ));
    }
}

fn electricity_maps_source(means: &Means<'_>) -> LiveSource {
    let provider = || {
        let key = secret(means.lookup, ELECTRICITYMAPS_TOKEN)?.ok_or_else(|| {
            format!("{NOTHING}key: set {ELECTRICITYMAPS_TOKEN}, or {ELECTRICITYMAPS_TOKEN}{FILE}")
        })?;
        let url = means.url(ELECTRICITYMAPS_URL, electricity_maps::URL)?;
        means.make(|reach| ElectricityMaps::new(&url, key, reach))
    };
    let (name, basis) = (electricity_maps::NAME, Basis::Average);
    LiveSource { name, basis, covers: None, provider: provider() }
}

fn watttime_source(means: &Means<'_>) -> LiveSource {
    let provider = || {
        let (user, password) =
            (value(means.lookup, WATTTIME_USER)?, secret(means.lookup, WATTTIME_PASSWORD)?);
        let (Some(user), Some(password)) = (user, password) else {
            return Err(format!(
                "{NOTHING}account: set {WATTTIME_USER} and {WATTTIME_PASSWORD}, or each with {FILE} behind it"
            ));
        };
        let url = means.url(WATTTIME_URL, watttime::URL)?;
        means.make(|reach| WattTime::new(&url, &user, password, reach))
    };
    let (name, basis) = (watttime::NAME, Basis::Marginal);
    LiveSource { name, basis, covers: None, provider: provider() }
}

fn uk_carbon_source(means: &Means<'_>) -> LiveSource {
    let provider = || {
        let url = means.url(UK_CARBON_URL, uk_carbon::URL)?;
        means.make(|reach| UkCarbon::new(&url, reach))
    };
    let (name, basis) = (uk_carbon::NAME, Basis::Average);
    LiveSource { name, basis, covers: Some(UkCarbon::covers), provider: provider() }
}

/// Its terms: free of charge, but no source for every installation of a vendor's program. So a person asks for it.
fn energi_data_service_source(means: &Means<'_>, stated: bool) -> LiveSource {
    let provider = || {
        let url = (means.lookup)(ENERGI_DATA_SERVICE_URL)?;
        let url = url.or_else(|| stated.then(|| energi_data_service::URL.to_owned())).ok_or_else(|| {
            format!(
                "{NOTHING}word from you: its terms keep programs from asking by themselves: set {ENERGI_DATA_SERVICE_URL}={}, or name energi-data-service in {PROVIDERS}",
                energi_data_service::URL
            )
        })?;
        means.make(|reach| EnergiDataService::new(&url, reach))
    };
    let (name, basis) = (energi_data_service::NAME, Basis::Average);
    LiveSource { name, basis, covers: Some(EnergiDataService::covers), provider: provider() }
}

fn energy_charts_source(means: &Means<'_>) -> LiveSource {
    let provider = || {
        let url = means.url(ENERGY_CHARTS_URL, energy_charts::URL)?;
        means.make(|reach| EnergyCharts::new(&url, reach))
    };
    let (name, basis) = (energy_charts::NAME, Basis::Average);
    LiveSource { name, basis, covers: Some(EnergyCharts::covers), provider: provider() }
}

fn carbon_aware_sdk_source(means: &Means<'_>) -> LiveSource {
    let basis = || match (means.lookup)(CARBON_AWARE_SDK_BASIS)?.as_deref().map(str::trim) {
        Some("average") => Ok(Basis::Average),
        Some("marginal") => Ok(Basis::Marginal),
        found => {
            let found: String = found.unwrap_or("nothing").chars().take(40).collect();
            Err(format!(
                "{CARBON_AWARE_SDK_BASIS}: found {found}: expected average or marginal, as the data source behind the server counts (WattTime: marginal; Electricity Maps: average)"
            ))
        }
    };
    let provider = || {
        let url = (means.lookup)(CARBON_AWARE_SDK_URL)?;
        let url = url.ok_or_else(|| format!("{NOTHING}address: set {CARBON_AWARE_SDK_URL}"))?;
        let basis = basis()?;
        means.make(|reach| CarbonAwareSdk::new(&url, basis, reach))
    };
    let name = carbon_aware_sdk::NAME;
    LiveSource { name, basis: basis().unwrap_or(Basis::Average), covers: None, provider: provider() }
}

/// A variable's value, or what is in the file that `…_FILE` names.
fn value(lookup: Lookup<'_>, name: &str) -> Result<Option<String>, String> {
    let file_name = format!("{name}{FILE}");
    match (lookup(name)?, lookup(&file_name)?) {
        (Some(_), Some(_)) => Err(format!("{name} and {file_name} are both set: expected one of them")),
        (Some(value), None) => Ok(Some(value)),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let read = super::read_within(Path::new(&path), SECRET_MAX);
            let bytes = read.map_err(|error| format!("{file_name}: read {path}: {error}"))?;
            let text = String::from_utf8(bytes);
            Ok(Some(text.map_err(|_| format!("{file_name}: {path}: not UTF-8: expected text"))?))
        }
    }
}

pub(crate) fn secret(lookup: Lookup<'_>, name: &str) -> Result<Option<Secret>, String> {
    let wrong = |error| format!("{name}: {error}");
    value(lookup, name)?.map(|text| Secret::new(&text).map_err(wrong)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Each source's name, and why it cannot be used.
    fn sources(set: &[(&str, &str)]) -> Vec<(&'static str, Option<String>)> {
        let set: BTreeMap<&str, &str> = set.iter().copied().collect();
        let lookup = |name: &str| Ok(set.get(name).map(|value| (*value).to_owned()));
        read(&lookup, Limits::default()).into_iter().map(|s| (s.name, s.provider.err())).collect()
    }

    #[tokio::test]
    async fn what_is_missing_is_said_with_what_to_do() {
        let none = sources(&[]);
        assert_eq!(none[0].0, "Electricity Maps");
        assert_eq!(
            none[0].1.as_deref(),
            Some("no key: set KUBERCARBON_ELECTRICITYMAPS_TOKEN, or KUBERCARBON_ELECTRICITYMAPS_TOKEN_FILE")
        );
        assert!(none[1].1.as_deref().unwrap().starts_with("no account: set KUBERCARBON_WATTTIME_USER and"));
        assert_eq!(none[2], ("UK Carbon Intensity", None));
        assert_eq!(none[4], ("Energy-Charts", None));
        let half = sources(&[(WATTTIME_USER, "freddo"), (PROVIDERS, "watttime")]);
        assert!(half[0].1.as_deref().unwrap().starts_with("no account"));
    }

    #[tokio::test]
    async fn average_and_marginal_are_not_mixed() {
        let watttime = [(WATTTIME_USER, "freddo"), (WATTTIME_PASSWORD, "secret")];
        let both = [&watttime[..], &[(ELECTRICITYMAPS_TOKEN, "key")]].concat();
        let usable = |set: &[(&str, &str)]| -> Vec<_> {
            sources(set).into_iter().filter(|s| s.1.is_none()).map(|s| s.0).collect()
        };
        assert_eq!(usable(&both), ["Electricity Maps", "UK Carbon Intensity", "Energy-Charts"]);
        assert_eq!(usable(&watttime), ["WattTime"]);
        let first = [&both[..], &[(PROVIDERS, "watttime,electricity-maps")]].concat();
        assert_eq!(usable(&first), ["WattTime"]);
        assert_eq!(
            sources(&first)[1].1.as_deref(),
            Some(
                "average figures are not mixed with marginal ones: put it first in KUBERCARBON_CARBON_PROVIDERS to use it"
            )
        );
    }

    #[tokio::test]
    async fn the_order_is_a_persons_to_give() {
        let names = |order| sources(&[(PROVIDERS, order)]).into_iter().map(|s| s.0).collect::<Vec<_>>();
        assert_eq!(names("uk-carbon, watttime ,uk-carbon,other"), ["UK Carbon Intensity", "WattTime"]);
        assert!(names("none").is_empty());
    }

    #[tokio::test]
    async fn a_carbon_aware_sdk_server_counts_as_it_is_said_to() {
        assert_eq!(sources(&[]).len(), 5, "who did not ask for it does not hear of it");
        let asked = sources(&[(PROVIDERS, "carbon-aware-sdk")]);
        assert_eq!(asked[0].1.as_deref(), Some("no address: set KUBERCARBON_CARBON_AWARE_SDK_URL"));
        let at = (CARBON_AWARE_SDK_URL, "http://localhost:8080");
        let unknown = sources(&[at]).remove(5).1.unwrap();
        assert!(
            unknown.starts_with("KUBERCARBON_CARBON_AWARE_SDK_BASIS: found nothing: expected"),
            "{unknown}"
        );
        let usable = |basis| -> Vec<_> {
            let all = sources(&[at, (CARBON_AWARE_SDK_BASIS, basis)]);
            all.into_iter().filter(|s| s.1.is_none()).map(|s| s.0).collect()
        };
        assert_eq!(usable("average"), ["UK Carbon Intensity", "Energy-Charts", "Carbon Aware SDK"]);
        assert_eq!(usable("marginal"), ["Carbon Aware SDK"], "and is not mixed");
    }

    #[tokio::test]
    async fn energi_data_service_is_asked_when_a_person_says_so() {
        let why =
            |set: &[(&str, &str)]| sources(set).into_iter().find(|s| s.0 == "Energi Data Service").unwrap().1;
        assert_eq!(
            why(&[]).as_deref(),
            Some(
                "no word from you: its terms keep programs from asking by themselves: set KUBERCARBON_ENERGI_DATA_SERVICE_URL=https://api.energidataservice.dk, or name energi-data-service in KUBERCARBON_CARBON_PROVIDERS"
            )
        );
        assert_eq!(why(&[(PROVIDERS, "energy-charts,energi-data-service")]), None);
        assert_eq!(why(&[(ENERGI_DATA_SERVICE_URL, "http://mirror.example")]), None, "a mirror of one's own");
        assert!(why(&[(ENERGI_DATA_SERVICE_URL, "mirror")]).unwrap().contains("has no host"));
    }

    #[tokio::test]
    async fn zones_are_offered_to_those_that_know_them() {
        let lookup = |_: &str| Ok(None);
        let all = read(&lookup, Limits::default());
        let of = |zone: &str| -> Vec<&str> {
            let zone = GridZone::new(zone).unwrap();
            all.iter().filter(|s| s.covers.is_some() && s.may_know(&zone)).map(|s| s.name).collect()
        };
        assert_eq!(of("GB"), ["UK Carbon Intensity"]);
        assert_eq!(of("DK-DK1"), ["Energi Data Service"]);
        assert_eq!((of("DE"), of("KR")), (vec!["Energy-Charts"], vec![]));
    }

    #[tokio::test]
    async fn a_proxy_that_cannot_be_used_stops_every_provider_and_its_password_is_not_told() {
        for (_, why) in
            sources(&[("HTTPS_PROXY", "socks5://me:hunter2@proxy:1080"), (ELECTRICITYMAPS_TOKEN, "k")])
        {
            let why = why.unwrap();
            let said = why.starts_with("HTTPS_PROXY: a proxy of \"socks5\"") || why.starts_with(NOTHING);
            assert!(said && !why.contains("hunter2"), "{why}");
        }
        let good = sources(&[("HTTPS_PROXY", "http://me:hunter2@proxy:3128"), (ELECTRICITYMAPS_TOKEN, "k")]);
        assert_eq!(good[0].1, None);
    }

    #[tokio::test]
    async fn secrets_come_from_files_too_and_are_not_told() {
        let dir = std::env::temp_dir().join(format!("kubercarbon-secret-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (good, large) = (dir.join("good"), dir.join("large"));
        std::fs::write(&good, "hunter2\n").unwrap();
        std::fs::write(&large, "x".repeat(5000)).unwrap();
        let file = format!("{ELECTRICITYMAPS_TOKEN}{FILE}");
        let why = |set: &[(&str, &str)]| sources(set).remove(0).1;
        assert_eq!(why(&[(&file, good.to_str().unwrap())]), None);
        let both = why(&[(&file, good.to_str().unwrap()), (ELECTRICITYMAPS_TOKEN, "hunter2")]).unwrap();
        assert!(both.contains("both set") && !both.contains("hunter2"), "{both}");
        for (path, said) in
            [(large.to_str().unwrap(), "more than 4096 bytes"), ("/nowhere/at/all", "No such file")]
        {
            let why = why(&[(&file, path)]).unwrap();
            assert!(why.starts_with(&file) && why.contains(said), "{why}");
        }
        let plain = why(&[(ELECTRICITYMAPS_TOKEN, "hunter2"), (ELECTRICITYMAPS_URL, "http://example.org")]);
        assert!(plain.unwrap().contains("is not HTTPS"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
