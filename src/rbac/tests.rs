//! Whole manifests: the test is the documentation. `tests/it` puts them before a real API server.

use super::*;

const ACCOUNT: &str = "dr-exporter";

fn config(yaml: &str) -> Config {
    crate::config::parse("f", yaml, jiff::Timestamp::UNIX_EPOCH).unwrap().config
}

fn account() -> Account {
    Account { namespace: "dr".to_owned(), name: ACCOUNT.to_owned() }
}

const SEED: &str = r#"
site: {name: dr-west, region: us-west-2, role: standby}
high_availability: {lease: {namespace: dr, name: dr-exporter}}
sharding: {shards: 2}
systems:
  - name: orders
    workloads:
      - {namespace: platform, deployment: api-server}
      - {namespace: platform, statefulset: worker}
      - {namespace: jobs, deployment: mailer}
    databases:
      - name: orders
        endpoint: {workload: api-server, env: DATABASE_URL}
        credentials: {user: probe, password: {secret: {namespace: platform, name: dr-probe, key: pg}}}
    dependencies:
      - {name: cache, endpoint: {url: "redis://cache:6379"}, password: {secret: {namespace: shared, name: cache, key: pw}}}
"#;

fn template(yaml: &str) -> References {
    References::of(&serde_saphyr::from_str(yaml).unwrap())
}

const TEMPLATE: &str = r#"
spec:
  initContainers:
    - name: migrate
      envFrom: [{secretRef: {name: migration}}]
  containers:
    - name: app
      env:
        - {name: DATABASE_URL, valueFrom: {secretKeyRef: {name: orders-db, key: url}}}
        - {name: REGION, valueFrom: {configMapKeyRef: {name: site, key: region}}}
        - {name: PLAIN, value: x}
        - {name: HOST, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
      envFrom:
        - {configMapRef: {name: settings}}
  volumes:
    - {name: a, configMap: {name: files}}
    - {name: b, secret: {secretName: tls}}
    - {name: c, projected: {sources: [{configMap: {name: more}}, {secret: {name: token}}, {serviceAccountToken: {path: t}}]}}
    - {name: d, emptyDir: {}}
"#;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn every_way_to_refer_to_an_object_is_found() {
    let found = template(TEMPLATE);
    assert_eq!(found.config_maps, set(&["files", "more", "settings", "site"]));
    assert_eq!(found.secrets, set(&["migration", "orders-db", "tls", "token"]));
    assert_eq!(template("{}"), References::default());
}

#[test]
fn all_that_the_cluster_of_the_seed_needs() {
    let config = config(SEED);
    let mut known = BTreeMap::new();
    for workload in workloads(&config) {
        let references =
            if workload.name == "api-server" { template(TEMPLATE) } else { References::default() };
        known.insert(workload, references);
    }
    let found = manifests(&config, &known, &account());
    assert!(found == include_str!("testdata/seed.yaml"), "if this is meant, the new text is:\n{found}");
}

#[test]
fn offline_says_what_to_fill_in() {
    let found = manifests(&config(SEED), &BTreeMap::new(), &account());
    assert!(found == include_str!("testdata/offline.yaml"), "if this is meant, the new text is:\n{found}");
}

#[test]
fn nothing_is_asked_for_that_is_not_needed() {
    let plain = "site: {name: a, region: b, role: standby}\nsystems: [{name: orders}]\n";
    let found = |yaml: &str| manifests(&config(yaml), &BTreeMap::new(), &account());
    assert_eq!(found(plain), "# This configuration needs no rights in a cluster.\n");
    let disabled = format!("{plain}kubernetes: {{mode: disabled}}\n");
    assert_eq!(found(&disabled), "# This configuration needs no rights in a cluster.\n");
    let dry = found(&format!("{SEED}kubernetes: {{create_dry_run: false}}\n"));
    assert!(!dry.contains("Admission") && !dry.contains("create\n  resources:\n  - pods"), "{dry}");
    let lease = found(&format!("{plain}high_availability: {{lease: {{namespace: dr, name: l}}}}\n"));
    assert!(
        lease.contains("resourceNames") && !lease.contains("pods") && !lease.contains("ClusterRole"),
        "{lease}"
    );
}

/// Whatever is asked for: Secrets never as a whole, nothing written but the Lease, and pods created as dry runs only.
#[test]
fn secrets_are_named_and_nothing_else_is_written() {
    let config = config(SEED);
    let known = workloads(&config).into_iter().map(|workload| (workload, template(TEMPLATE))).collect();
    let text = manifests(&config, &known, &account());
    let mut rules = 0;
    for document in text.split("---\n") {
        let document: Value = serde_saphyr::from_str(document).unwrap();
        for rule in document["rules"].as_array().into_iter().flatten() {
            rules += 1;
            let has = |list: &str, word: &str| rule[list].as_array().unwrap().iter().any(|one| one == word);
            assert!(!has("verbs", "*") && !has("resources", "*") && !has("apiGroups", "*"), "{rule}");
            assert!(
                !["delete", "patch", "deletecollection", "impersonate"].iter().any(|verb| has("verbs", verb)),
                "{rule}"
            );
            if has("resources", "secrets") {
                assert_eq!(rule["verbs"], json!(["get"]), "{rule}");
                assert!(!rule["resourceNames"].as_array().unwrap().is_empty(), "{rule}");
            }
            if has("verbs", "update") {
                assert_eq!(
                    (&rule["resources"], &rule["resourceNames"]),
                    (&json!(["leases"]), &json!(["dr-exporter-0", "dr-exporter-1"]))
                );
            }
        }
    }
    assert!(rules > 10, "{rules}");
    assert!(text.contains("kind: ValidatingAdmissionPolicyBinding\n"), "{text}");
}
