//! The same at two sites is the same, and nothing else is.

use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::discovery::inventory::{Controller, FeedState, Pod};
use crate::discovery::{ControllerKind, ObjectRef, Sight};
use crate::secret::{KubernetesAccess, Secret, Secrets};

const WEST: Site<'static> = Site { name: "dr-west", region: "us-west-2" };
const EAST: Site<'static> = Site { name: "main-east", region: "us-east-1" };

fn workload() -> WorkloadRef {
    WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new("prod", "api") }
}

fn live() -> FeedState {
    FeedState { sight: Sight::Live, since: Timestamp::UNIX_EPOCH, heard: None, skipped: 0 }
}

/// A cluster with this template and this ConfigMap `settings`.
fn cluster(template: &Value, settings: &Value) -> Inventory {
    let mut inventory = Inventory::default();
    let namespace = Arc::from("prod");
    for (resource, namespace) in [
        (Resource::Deployments, Some(&namespace)),
        (Resource::ConfigMaps, Some(&namespace)),
        (Resource::CustomResourceDefinitions, None),
    ] {
        inventory.feeds.insert(Feed::all(resource, namespace), live());
    }
    // Through text, as it comes.
    let template = serde_json::from_str(&template.to_string()).unwrap();
    inventory.controllers.insert(workload(), Controller { template, ..Controller::default() });
    let settings = serde_json::from_value(settings.clone()).unwrap();
    inventory.config_maps.insert(ObjectRef::new("prod", "settings"), settings);
    inventory
}

fn template(image: &str, env: &[(String, String)]) -> Value {
    let env: Vec<_> = env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    json!({"spec": {
        "containers": [{"name": "app", "image": image, "env": env, "envFrom": [{"configMapRef": {"name": "settings"}}]}],
    }})
}

fn taken(inventory: &Inventory, site: Site<'_>) -> [Fingerprint; 3] {
    let seen = SecretsSeen::default();
    of_workload(inventory, &workload(), site, &Digest::plain(), &seen).try_into().unwrap()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn two_sites_that_differ_in_their_own_names_only_are_the_same() {
    let at = |site: Site<'_>| {
        let env = pairs(&[
            ("DB_HOST", &format!("db.{}.example.com", site.region)),
            ("SITE", site.name),
            ("LEVEL", "info"),
        ]);
        let image = format!("1.dkr.ecr.{}.amazonaws.com/orders/api:7", site.region);
        let key = format!("application-{}.yaml", site.region);
        let settings = json!({key: format!("zones: [{0}a, {0}b]", site.region)});
        taken(&cluster(&template(&image, &env), &settings), site)
    };
    let (west, east) = (at(WEST), at(EAST));
    for (west, east) in west.iter().zip(&east) {
        assert_eq!((&west.hash, &west.objects), (&east.hash, &east.objects), "{}", west.kind);
        assert!(west.hash.is_some());
    }
    assert_eq!(west[1].parts, 6, "{:?}", west[1].objects);
}

#[test]
fn what_differs_is_named() {
    let at = |image: &str, level: &str, timeout: &str| {
        taken(&cluster(&template(image, &pairs(&[("LEVEL", level)])), &json!({"timeout": timeout})), WEST)
    };
    let differing = |a: &Fingerprint, b: &Fingerprint| -> Vec<String> {
        assert_ne!(a.hash, b.hash);
        let differing = a.objects.iter().zip(&b.objects).filter(|(a, b)| a != b);
        differing.map(|(a, _)| a.0.clone()).collect()
    };
    let one = at("r/orders/api:7", "info", "5s");
    assert_eq!(differing(&one[0], &at("r/orders/api:8", "info", "5s")[0]), ["r/orders/api"]);
    assert_eq!(differing(&one[0], &at("r/orders/api:7@sha256:00", "info", "5s")[0]), ["r/orders/api"]);
    assert_eq!(differing(&one[1], &at("r/orders/api:7", "debug", "5s")[1]), ["variable app/LEVEL"]);
    assert_eq!(
        differing(&one[1], &at("r/orders/api:7", "info", "9s")[1]),
        ["ConfigMap settings key timeout"]
    );
}

#[test]
fn values_that_look_like_credentials_are_hashed_with_a_key_only() {
    let of = |password: &str, digest: &Digest| {
        let inventory = cluster(&template("a", &pairs(&[("DB_PASSWORD", password)])), &json!({}));
        of_workload(&inventory, &workload(), WEST, digest, &SecretsSeen::default()).remove(1)
    };
    let (one, two) = (of("hunter2", &Digest::plain()), of("hunter3", &Digest::plain()));
    assert_eq!(one.hash, two.hash);
    assert!(one.note.as_deref().unwrap().starts_with("1 values look like credentials"), "{one:?}");
    let key = Digest::keyed(Some(Secret::new("key")));
    let (one, two) = (of("hunter2", &key), of("hunter3", &key));
    assert_ne!(one.hash, two.hash);
    assert!(one.keyed && one.note.is_none());
}

#[test]
fn without_sight_there_is_no_hash() {
    let mut inventory = cluster(&template("a", &[]), &json!({}));
    for (feed, state) in &mut inventory.feeds {
        state.sight = if feed.resource == Resource::ConfigMaps { Sight::Forbidden } else { Sight::Live };
    }
    let [images, configuration, _] = taken(&inventory, WEST);
    assert!(images.hash.is_some() && configuration.hash.is_none());
    assert!(configuration.note.unwrap().contains("`list, watch` on `configmaps`"));
    inventory.controllers.clear();
    assert!(taken(&inventory, WEST).iter().all(|one| one.hash.is_none() && one.note.is_some()));
}

#[test]
fn definitions_are_names_served_versions_and_the_stored_one() {
    let of = |versions: Value| {
        let mut inventory = cluster(&template("a", &[]), &json!({}));
        let versions = serde_json::from_value(versions).unwrap();
        inventory.definitions.insert(ObjectRef::new("", "orders.example.com"), versions);
        definitions(&inventory)
    };
    let version = |name: &str, served, storage| json!({"name": name, "served": served, "storage": storage});
    let one = of(json!([version("v1", true, true), version("v1beta1", true, false)]));
    assert_eq!(one, of(json!([version("v1beta1", true, false), version("v1", true, true)])));
    assert_eq!(one.objects[0].0, "orders.example.com");
    for other in [
        json!([version("v1", true, true)]),
        json!([version("v1", true, true), version("v1beta1", false, false)]),
        json!([version("v1", true, false), version("v1beta1", true, true)]),
    ] {
        assert_ne!(one.hash, of(other).hash);
    }
}

fn with_secret() -> Value {
    json!({"spec": {"containers": [{"name": "app", "image": "a", "env": [
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ]}]}})
}

#[test]
fn secrets_are_the_names_of_their_keys_unless_there_is_a_key() {
    let inventory = cluster(&with_secret(), &json!({}));
    let of = |digest: &Digest, hash: Option<&str>| {
        let keys = [("password".to_owned(), hash.map(str::to_owned))].into();
        let seen = SecretsSeen([("db".to_owned(), Ok(keys))].into());
        of_workload(&inventory, &workload(), WEST, digest, &seen).remove(2)
    };
    let names = of(&Digest::plain(), None);
    assert_eq!(
        names.objects.iter().map(|(name, _)| &**name).collect::<Vec<_>>(),
        ["Secret db", "Secret db key password"]
    );
    assert!(names.note.is_some() && !names.keyed);
    let key = Digest::keyed(Some(Secret::new("key")));
    assert_ne!(of(&key, Some("1")).hash, of(&key, Some("2")).hash);
    let unread = of_workload(&inventory, &workload(), WEST, &key, &SecretsSeen::default()).remove(2);
    assert_eq!((unread.hash, unread.note.as_deref()), (None, Some("the Secret db was not read yet")));
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_says_why() {
    let secrets = Secrets::new(KubernetesAccess::Disabled);
    let seen = seen(&secrets, "prod", ["db"].into(), WEST, &Digest::plain()).await;
    assert_eq!(seen.0["db"], Err("kubernetes.mode is `disabled`".to_owned()));
    let inventory = cluster(&with_secret(), &json!({}));
    let unread = of_workload(&inventory, &workload(), WEST, &Digest::plain(), &seen).remove(2);
    assert_eq!(unread.note.as_deref(), Some("kubernetes.mode is `disabled`"));
}

/// Objects with their keys in another order.
fn turned(value: &Value) -> Value {
    match value {
        Value::Object(map) => map.iter().rev().map(|(key, value)| (key.clone(), turned(value))).collect(),
        Value::Array(list) => list.iter().map(turned).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::btree_map("[A-Z]{1,6}", "[a-z0-9:./ -]{0,12}", 1..6)
        .prop_map(|map| map.into_iter().collect())
}

proptest! {
    #[test]
    fn order_does_not_matter(variables in variables(), seed in any::<usize>()) {
        let settings: Value = variables.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let one = taken(&cluster(&template("r/a:1", &variables), &settings), WEST);
        let mut other = variables.clone();
        other.rotate_left(seed % variables.len());
        other.reverse();
        let mut inventory = cluster(&turned(&template("r/a:1", &other)), &turned(&settings));
        // Pods come and go.
        inventory.pods.insert(workload(), [(format!("api-{seed}").into(), Pod::default())].into());
        prop_assert_eq!(one, taken(&inventory, WEST));
    }

    #[test]
    fn every_change_of_a_value_matters(variables in variables(), place in any::<usize>(), value in "[a-z0-9:./ -]{0,12}") {
        // Values that look like credentials are hashed with a key only.
        let digest = Digest::keyed(Some(Secret::new("key")));
        let of = |variables: &[(String, String)]| {
            let inventory = cluster(&template("r/a:1", variables), &json!({}));
            of_workload(&inventory, &workload(), WEST, &digest, &SecretsSeen::default()).remove(1)
        };
        let mut other = variables.clone();
        let place = place % other.len();
        prop_assume!(other[place].1 != value);
        other[place].1 = value;
        prop_assert_ne!(of(&variables).hash, of(&other).hash);
    }
}
