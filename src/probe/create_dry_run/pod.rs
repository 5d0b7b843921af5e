//! The pod that a workload's controller would make. Pure.

use serde_json::{Map, Value, json};

use crate::discovery::{ControllerKind, WorkloadRef};

/// A pod of the template of this Deployment or StatefulSet, as the API server gave it; `None` if it has no template.
///
/// It has the workload as its owner, because policies against pods that nobody controls would refuse it and not the
/// real one. (The owner of a Deployment's pod is a ReplicaSet, which we may not read.) The claims of a StatefulSet are
/// those of its pod 0, as its controller writes them: the API server does not ask whether a claim exists, and policies see the
/// kind of volume that they would see.
pub(super) fn of(workload: &WorkloadRef, object: &Value) -> Option<Value> {
    let template = object.pointer("/spec/template")?;
    let mut spec = template.get("spec")?.as_object()?.clone();
    let name = &*workload.object.name;
    let mut labels =
        template.pointer("/metadata/labels").and_then(Value::as_object).cloned().unwrap_or_default();
    match workload.kind {
        ControllerKind::Deployment => {}
        ControllerKind::StatefulSet => {
            mount_claims(&mut spec, name, object.pointer("/spec/volumeClaimTemplates"));
            if let Some(service) = object.pointer("/spec/serviceName") {
                spec.entry("subdomain").or_insert_with(|| service.clone());
            }
            labels.entry("apps.kubernetes.io/pod-index").or_insert_with(|| "0".into());
        }
    }
    let kind = match workload.kind {
        ControllerKind::Deployment => "Deployment",
        ControllerKind::StatefulSet => "StatefulSet",
    };
    let uid = object.pointer("/metadata/uid").and_then(Value::as_str).unwrap_or_default();
    let owner =
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true}]);
    let mut metadata = Map::new();
    // The API server cuts what is too long before it adds its five letters.
    metadata.insert("generateName".to_owned(), format!("{name}-drcheck-").into());
    metadata.insert("namespace".to_owned(), workload.namespace().to_string().into());
    metadata.insert("labels".to_owned(), labels.into());
    if let Some(annotations) = template.pointer("/metadata/annotations").filter(|value| value.is_object()) {
        metadata.insert("annotations".to_owned(), annotations.clone());
    }
    if !uid.is_empty() {
        metadata.insert("ownerReferences".to_owned(), owner);
    }
    Some(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))
}

/// Adds a volume for each claim; one of the template with the same name gives way, as it does in the controller.
fn mount_claims(spec: &mut Map<String, Value>, set: &str, claims: Option<&Value>) {
    let claims = claims.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names: Vec<&str> =
        claims.iter().filter_map(|claim| claim.pointer("/metadata/name")?.as_str()).collect();
    if names.is_empty() {
        return;
    }
    let mut volumes =
        spec.remove("volumes").and_then(|volumes| volumes.as_array().cloned()).unwrap_or_default();
    volumes.retain(|volume| !names.iter().any(|name| volume["name"] == *name));
    volumes.extend(names.iter().map(
        |name| json!({"name": name, "persistentVolumeClaim": {"claimName": format!("{name}-{set}-0")}}),
    ));
    spec.insert("volumes".to_owned(), volumes.into());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::ObjectRef;

    fn workload(kind: ControllerKind) -> WorkloadRef {
        WorkloadRef { kind, object: ObjectRef::new("prod", "api") }
    }

    #[test]
    fn a_deployments_pod_is_its_template_with_an_owner() {
        let object = json!({
            "metadata": {"name": "api", "uid": "u-1"},
            "spec": {"template": {
                "metadata": {"labels": {"app": "api"}, "annotations": {"a": "b"}},
                "spec": {"containers": [{"name": "c", "image": "i", "unheardOf": {"kept": true}}]},
            }},
        });
        let pod = of(&workload(ControllerKind::Deployment), &object).unwrap();
        let expected = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "generateName": "api-drcheck-", "namespace": "prod",
                "labels": {"app": "api"}, "annotations": {"a": "b"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "api", "uid": "u-1", "controller": true}],
            },
            "spec": {"containers": [{"name": "c", "image": "i", "unheardOf": {"kept": true}}]},
        });
        assert_eq!(pod, expected);
    }

    #[test]
    fn a_stateful_sets_pod_has_the_claims_of_pod_0() {
        let object = json!({
            "metadata": {"uid": "u"},
            "spec": {
                "serviceName": "db",
                "volumeClaimTemplates": [{"metadata": {"name": "data"}}],
                "template": {"spec": {
                    "containers": [],
                    "volumes": [{"name": "data", "emptyDir": {}}, {"name": "config", "configMap": {"name": "c"}}],
                }},
            },
        });
        let pod = of(&workload(ControllerKind::StatefulSet), &object).unwrap();
        let volumes = json!([
            {"name": "config", "configMap": {"name": "c"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-api-0"}},
        ]);
        assert_eq!(pod["spec"]["volumes"], volumes);
        assert_eq!(pod["spec"]["subdomain"], "db");
        assert_eq!(pod["metadata"]["labels"]["apps.kubernetes.io/pod-index"], "0");
        assert!(of(&workload(ControllerKind::StatefulSet), &json!({"spec": {}})).is_none());
    }
}
