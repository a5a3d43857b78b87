//! Names that objects are told in variables: nothing in Kubernetes checks that they are names of anything.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::object::{containers, list, text};

/// Variables that hold addresses of Services or pods, parted by commas.
const ADDRESSES: [&str; 5] = [
    "P2PSIP__CREATE__NODES",
    "P2PSIP__CREATE__SERVERS",
    "P2PSIP__PEER__SERVERS",
    "P2PSIP__OVERLAY__BOOTSTRAP",
    "P2PSIP__SIP_EDGE__OVERLAY",
];

/// Checks that each address is that of a Service, or of a pod of a StatefulSet, and that each ConfigMap is there.
pub(super) fn check(documents: &[Value]) -> anyhow::Result<()> {
    let known = Known::of(documents);
    let sets = documents.iter().filter(|object| text(object, "/kind") == "StatefulSet");
    let mut nodes = 0;
    for set in sets {
        let name = text(set, "/metadata/name");
        let namespace = text(set, "/metadata/namespace");
        let pod = set.pointer("/spec/template/spec").unwrap_or(&Value::Null);
        for container in containers(pod) {
            let told = variables(container);
            for (variable, value) in told.iter().filter(|(variable, _)| ADDRESSES.contains(variable)) {
                for address in value.split(',') {
                    known
                        .check(host(address), namespace)
                        .with_context(|| format!("StatefulSet {name}: {variable}: {address}"))?;
                    nodes += usize::from(*variable == "P2PSIP__CREATE__NODES");
                }
            }
        }
        for map in config_maps(pod) {
            if !known.config_maps.contains(&(namespace, map)) {
                bail!("StatefulSet {name}: there is no ConfigMap {map} in the namespace {namespace}");
            }
        }
    }
    if nodes < 3 {
        bail!("the document would name {nodes} bootstrap nodes, of which three should be");
    }
    Ok(())
}

/// The objects that others name.
struct Known<'a> {
    /// By namespace and name.
    services: BTreeSet<(&'a str, &'a str)>,
    config_maps: BTreeSet<(&'a str, &'a str)>,
    /// The Service of each StatefulSet.
    sets: BTreeMap<(&'a str, &'a str), &'a str>,
}

impl<'a> Known<'a> {
    fn of(documents: &'a [Value]) -> Self {
        let of_kind = |kind: &'static str| documents.iter().filter(move |object| text(object, "/kind") == kind);
        let key = |object: &'a Value| (text(object, "/metadata/namespace"), text(object, "/metadata/name"));
        Self {
            services: of_kind("Service").map(key).collect(),
            config_maps: of_kind("ConfigMap").map(key).collect(),
            sets: of_kind("StatefulSet")
                .map(|set| (key(set), text(set, "/spec/serviceName")))
                .collect(),
        }
    }

    /// A host is SERVICE, SERVICE.NAMESPACE, SET-NUMBER.SERVICE or SET-NUMBER.SERVICE.NAMESPACE.
    fn check(&self, host: &str, own: &str) -> anyhow::Result<()> {
        let labels: Vec<&str> = host.split('.').collect();
        let set = labels.first().and_then(|label| Some(label.rsplit_once('-')?.0));
        let is_pod = |service: &str, namespace: &str| {
            let named = set.and_then(|set| self.sets.get(&(namespace, set)));
            named == Some(&service) && self.services.contains(&(namespace, service))
        };
        let is_known = match labels.as_slice() {
            [service] => self.services.contains(&(own, *service)),
            [first, second] => self.services.contains(&(*second, *first)) || is_pod(second, own),
            [_, service, namespace] => is_pod(service, namespace),
            _ => false,
        };
        if !is_known {
            bail!("{host} is neither a Service nor a pod of a StatefulSet");
        }
        Ok(())
    }
}

/// The variables of a container, with those that they refer to filled in as the kubelet does.
fn variables(container: &Value) -> BTreeMap<&str, String> {
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    for variable in list(container, "/env") {
        let mut value = text(variable, "/value").to_owned();
        for (name, earlier) in &known {
            value = value.replace(&format!("$({name})"), earlier);
        }
        known.insert(text(variable, "/name"), value);
    }
    known
}

fn config_maps(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = list(pod, "/volumes").filter_map(|volume| volume.pointer("/configMap/name")?.as_str());
    let environments = containers(pod).flat_map(|container| list(container, "/envFrom"));
    volumes.chain(environments.filter_map(|source| source.pointer("/configMapRef/name")?.as_str()))
}

/// The host of `tcp:HOST:PORT`, `https://HOST:PORT` or `HOST:PORT`.
fn host(address: &str) -> &str {
    let address = address.trim_start_matches("https://").trim_start_matches("tcp:");
    address.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A service for enrollment, and peers whose bootstrap nodes are as told.
    fn rendered(nodes: &str) -> Vec<Value> {
        let service = |name: &str| json!({"kind": "Service", "metadata": {"name": name, "namespace": "n"}});
        let set = |name: &str, env: Value| {
            json!({"kind": "StatefulSet", "metadata": {"name": name, "namespace": "n"}, "spec": {"serviceName": name, "template": {
                "spec": {"containers": [{"env": env, "envFrom": [{"configMapRef": {"name": "environment"}}]}]}}}})
        };
        let told = json!([{"name": "PEER", "value": "x-peer"}, {"name": "P2PSIP__CREATE__NODES", "value": nodes}]);
        let map = json!({"kind": "ConfigMap", "metadata": {"name": "environment", "namespace": "n"}});
        let overlay = json!([{"name": "P2PSIP__OVERLAY__BOOTSTRAP", "value": "tcp:bootstrap-0.bootstrap.n:7403"}]);
        vec![
            service("x-peer"),
            service("bootstrap"),
            set("x-peer", overlay),
            set("bootstrap", told),
            map,
        ]
    }

    #[test]
    fn bootstrap_nodes_are_pods_of_a_stateful_set() {
        check(&rendered(
            "$(PEER)-0.$(PEER):6084,$(PEER)-1.$(PEER):6084,x-peer-2.x-peer:6084",
        ))
        .unwrap();
        for (nodes, expected) in [
            (
                "peer-0.peer:1,peer-1.peer:1,peer-2.peer:1",
                "peer-0.peer is neither a Service nor a pod",
            ),
            ("$(PEER)-0.$(PEER):1", "would name 1 bootstrap nodes"),
        ] {
            let error = format!("{:#}", check(&rendered(nodes)).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_config_map_that_nothing_makes_is_found() {
        let mut documents = rendered("$(PEER)-0.$(PEER):1,$(PEER)-1.$(PEER):1,$(PEER)-2.$(PEER):1");
        documents.pop();
        let error = check(&documents).unwrap_err().to_string();
        assert!(error.contains("there is no ConfigMap environment"), "{error}");
    }
}
