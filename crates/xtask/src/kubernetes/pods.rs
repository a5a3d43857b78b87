//! What a cluster refuses although each field is a field: mounts of volumes that are not there, and pods that their namespace does
//! not allow.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::object::{containers, list, text};

/// Checks the pods of all StatefulSets and Deployments.
pub(super) fn check(documents: &[Value]) -> anyhow::Result<()> {
    for object in documents {
        let Some(pod) = object.pointer("/spec/template/spec") else {
            continue;
        };
        let namespace = text(object, "/metadata/namespace");
        let mut all = containers(pod);
        all.try_for_each(|container| {
            let name = text(container, "/name");
            volumes(object, pod, container)
                .and_then(|()| ports(container))
                .and_then(|()| match is_restricted(documents, namespace) {
                    true => restricted(pod, container),
                    false => Ok(()),
                })
                .with_context(|| {
                    format!(
                        "{} {}, container {name}",
                        text(object, "/kind"),
                        text(object, "/metadata/name")
                    )
                })
        })?;
    }
    Ok(())
}

/// Each mount is of a volume of the pod, or of a claim that the StatefulSet makes.
fn volumes(object: &Value, pod: &Value, container: &Value) -> anyhow::Result<()> {
    let volumes = list(pod, "/volumes").map(|volume| text(volume, "/name"));
    let claims = list(object, "/spec/volumeClaimTemplates").map(|claim| text(claim, "/metadata/name"));
    let known: Vec<&str> = volumes.chain(claims).collect();
    for mount in list(container, "/volumeMounts") {
        let name = text(mount, "/name");
        ensure!(known.contains(&name), "mounts {name}, which is no volume of the pod");
    }
    Ok(())
}

/// Each probe asks a port that the container names.
fn ports(container: &Value) -> anyhow::Result<()> {
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let port = text(container, &format!("/{probe}/httpGet/port"));
        let is_named = list(container, "/ports").any(|named| text(named, "/name") == port);
        ensure!(
            port.is_empty() || is_named,
            "its {probe} asks port {port}, which it does not have"
        );
    }
    Ok(())
}

fn is_restricted(documents: &[Value], namespace: &str) -> bool {
    documents
        .iter()
        .filter(|object| text(object, "/kind") == "Namespace" && text(object, "/metadata/name") == namespace)
        .any(|object| text(object, "/metadata/labels/pod-security.kubernetes.io~1enforce") == "restricted")
}

/// The Pod Security Standard *restricted*, as far as these pods could miss it.
fn restricted(pod: &Value, container: &Value) -> anyhow::Result<()> {
    for (field, object, expected) in [
        ("/securityContext/runAsNonRoot", pod, json!(true)),
        ("/securityContext/seccompProfile/type", pod, json!("RuntimeDefault")),
        ("/securityContext/allowPrivilegeEscalation", container, json!(false)),
        ("/securityContext/capabilities/drop", container, json!(["ALL"])),
        ("/securityContext/readOnlyRootFilesystem", container, json!(true)),
    ] {
        let is_so = object.pointer(field) == Some(&expected);
        ensure!(is_so, "{field} is not {expected}, in a restricted namespace");
    }
    ensure!(
        pod.pointer("/hostNetwork").is_none(),
        "the network of the node, in a restricted namespace"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered() -> Vec<Value> {
        let container = json!({
            "name": "c",
            "ports": [{"name": "admin", "containerPort": 9090}],
            "livenessProbe": {"httpGet": {"path": "/livez", "port": "admin"}},
            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "sockets", "mountPath": "/run"}],
            "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}},
        });
        let pod = json!({
            "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "volumes": [{"name": "sockets", "emptyDir": {}}],
        });
        let namespace = json!({"kind": "Namespace", "metadata": {
            "name": "n", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}});
        let set = json!({"kind": "StatefulSet", "metadata": {"name": "s", "namespace": "n"}, "spec": {
            "template": {"spec": pod}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        vec![namespace, set]
    }

    #[test]
    fn a_pod_that_a_cluster_would_refuse_is_found() {
        check(&rendered()).unwrap();
        let container = "/spec/template/spec/containers/0";
        for (field, value, expected) in [
            ("/volumeMounts/1/name", json!("socket"), "mounts socket"),
            ("/livenessProbe/httpGet/port", json!("other"), "asks port other"),
            ("/securityContext/capabilities/drop", json!([]), "is not [\"ALL\"]"),
        ] {
            let mut documents = rendered();
            *documents[1].pointer_mut(&format!("{container}{field}")).unwrap() = value;
            let error = format!("{:#}", check(&documents).unwrap_err());
            assert!(
                error.contains("StatefulSet s, container c") && error.contains(expected),
                "{error}"
            );
        }
    }
}
