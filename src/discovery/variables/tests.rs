use super::*;
use crate::discovery::Sight;
use crate::discovery::testing::{World, deployment};

/// The variables of the container `api`, cooked; `name!` for a gap.
fn look(world: &World, name: &str) -> Result<Option<(String, String)>, String> {
    let workload = deployment("api");
    let controller = &world.inventory.controllers[&workload];
    let container = &controller.template.spec.containers[0];
    let environment = Environment::of(&world.inventory, &workload, controller, container);
    let told = |gap: Gap| gap.to_string();
    let Some(value) = environment.get(name).map_err(told)? else { return Ok(None) };
    let text = value.recipe.cook(&world.read).map_err(told)?;
    Ok(text.map(|text| (text.expose().to_owned(), value.origin)))
}

fn text(world: &World, name: &str) -> Option<String> {
    look(world, name).unwrap().map(|(text, _)| text)
}

#[test]
fn references_mean_what_the_kubelet_means() {
    let world = World::new().container(
        r"
env:
- {name: A, value: a}
- {name: EMPTY, value: ''}
- {name: CHAIN, value: '$(A)-$(B)-$(A)'}
- {name: B, value: b}
- {name: AGAIN, value: '$(CHAIN)/$(B)'}
- {name: ESCAPED, value: '$$(A) $$$(A) $$$$ $'}
- {name: BROKEN, value: '$(A $A $() ${A} $(A'}
- {name: SELF, value: '$(SELF)x'}
- {name: A, value: '$(A)2'}
- {name: LAST, value: '$(A)$(EMPTY)ü$ü'}
",
    );
    for (name, expected) in [
        ("CHAIN", "a-$(B)-a"),
        ("AGAIN", "a-$(B)-a/b"),
        ("ESCAPED", "$(A) $a $$ $"),
        // `$(A $A $()` is one name, up to its bracket.
        ("BROKEN", "$(A $A $() ${A} $(A"),
        ("SELF", "$(SELF)x"),
        ("A", "a2"),
        ("LAST", "a2ü$ü"),
        ("EMPTY", ""),
    ] {
        assert_eq!(text(&world, name).as_deref(), Some(expected), "{name}");
    }
    assert_eq!(look(&world, "NOBODY"), Ok(None));
}

#[test]
fn the_later_one_wins_and_env_wins_over_whole_objects() {
    let world = World::new()
        .container(
            r"
envFrom:
- {configMapRef: {name: base}}
- {secretRef: {name: first}}
- {prefix: P_, secretRef: {name: second}}
- {configMapRef: {name: last}}
env:
- {name: OWN, value: 'own $(FROM_BASE) $(P_KEY) $(P_GONE)'}
- {name: KEY, value: env}
",
        )
        .config_map(
            "base",
            &[("FROM_BASE", "base"), ("KEY", "base"), ("SECOND", "base"), ("LAST", "base"), ("A=B", "x")],
        )
        .config_map("last", &[("LAST", "last"), ("P_LAST", "last")])
        .secret("first", &[("KEY", "first"), ("SECOND", "first"), ("LAST", "first")])
        .secret("second", &[("KEY", "second"), ("LAST", "second")]);
    for (name, expected) in [
        ("FROM_BASE", Some("base")),
        ("SECOND", Some("first")),
        ("LAST", Some("last")),
        ("P_KEY", Some("second")),
        ("P_LAST", Some("last")),
        ("P_GONE", None),
        ("P_", None),
        ("KEY", Some("env")),
        ("OWN", Some("own base second $(P_GONE)")),
        ("A=B", None),
    ] {
        assert_eq!(text(&world, name).as_deref(), expected, "{name}");
    }
    let (_, origin) = look(&world, "SECOND").unwrap().unwrap();
    assert_eq!(origin, "from Secret first, key SECOND, else from ConfigMap base, key SECOND");
    let (_, origin) = look(&world, "OWN").unwrap().unwrap();
    assert!(
        origin.starts_with("with FROM_BASE from Secret first, key FROM_BASE, else from ConfigMap base"),
        "{origin}"
    );
}

#[test]
fn an_optional_reference_that_leads_nowhere_leaves_what_was_before() {
    let world = World::new()
        .container(
            r"
envFrom:
- {configMapRef: {name: base}}
env:
- {name: URL, valueFrom: {configMapKeyRef: {name: gone, key: url, optional: true}}}
- {name: PASSWORD, value: before}
- {name: PASSWORD, valueFrom: {secretKeyRef: {name: db, key: pw, optional: true}}}
- {name: NOWHERE, valueFrom: {secretKeyRef: {name: db, key: pw, optional: true}}}
- {name: DSN, value: '$(URL) $(PASSWORD) $(NOWHERE)'}
",
        )
        .config_map("base", &[("URL", "base")])
        .no_config_map("gone");
    let gone = World { inventory: world.inventory.clone(), ..World::new() }.no_secret("db");
    assert_eq!(text(&gone, "DSN").as_deref(), Some("base before $(NOWHERE)"));
    assert_eq!(text(&gone, "NOWHERE"), None);
    let there = World { inventory: world.inventory, ..World::new() }.secret("db", &[("pw", "$(URL)")]);
    assert_eq!(
        text(&there, "DSN").as_deref(),
        Some("base $(URL) $(URL)"),
        "values of references are not looked into"
    );
}

#[test]
fn what_leads_nowhere_is_named() {
    let world = World::new()
        .container(
            r"
env:
- {name: A, valueFrom: {configMapKeyRef: {name: app, key: url}}}
- {name: B, valueFrom: {configMapKeyRef: {name: gone, key: url}}}
- {name: C, valueFrom: {secretKeyRef: {name: db, key: url}}}
- {name: D, valueFrom: {secretKeyRef: {name: nowhere, key: url}}}
- {name: E, valueFrom: {configMapKeyRef: {name: hidden, key: url}}}
- {name: F, value: 'x $(A)'}
- {name: G, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
- {name: H, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}
",
        )
        .config_map("app", &[("other", "x")])
        .no_config_map("gone")
        .secret("db", &[])
        .no_secret("nowhere");
    let hidden = ObjectRef::new("platform", "hidden");
    let world = world.with_sight(Feed::named(Resource::ConfigMaps, &hidden), Sight::Forbidden);
    for (name, expected) in [
        ("A", "the ConfigMap platform/app has no key url, which variable A needs"),
        ("B", "there is no ConfigMap platform/gone, of which variable B needs key url"),
        ("C", "the Secret platform/db has no key url"),
        ("D", "there is no Secret platform/nowhere, of which key url is needed"),
        (
            "E",
            "forbidden: our account needs the rule `list, watch` on `configmaps` with resourceNames [hidden] in namespace platform",
        ),
        ("F", "the ConfigMap platform/app has no key url, which variable A needs"),
        ("G", "variable G is taken from something that only the kubelet knows"),
        ("H", "variable H depends on the pod (status.hostIP), so it is not the same for all of them"),
    ] {
        assert_eq!(look(&world, name), Err(expected.to_owned()), "{name}");
    }
}

#[test]
fn a_whole_configmap_that_is_not_there_hides_only_what_nothing_else_sets() {
    let world = World::new()
        .container(
            r"
envFrom:
- {prefix: X_, configMapRef: {name: gone}}
- {configMapRef: {name: later}}
- {configMapRef: {name: unneeded, optional: true}}
env: [{name: OWN, value: own}]
",
        )
        .no_config_map("gone")
        .no_config_map("unneeded")
        .config_map("later", &[("X_LATER", "later")]);
    assert_eq!(text(&world, "OWN").as_deref(), Some("own"));
    assert_eq!(text(&world, "X_LATER").as_deref(), Some("later"));
    assert_eq!(text(&world, "ELSE"), None, "its prefix is another one");
    let error = look(&world, "X_URL").unwrap_err();
    assert_eq!(error, "there is no ConfigMap platform/gone, which all variables are taken from");
}

#[test]
fn fields_that_are_the_same_for_all_pods_are_known() {
    let template = r#"
metadata: {labels: {region: us-west-2}, annotations: {dr.io/db: pg-west}}
spec:
  containers:
  - name: api
    env:
    - {name: NS, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
    - {name: LABEL, valueFrom: {fieldRef: {fieldPath: "metadata.labels['region']"}}}
    - {name: NONE, valueFrom: {fieldRef: {fieldPath: "metadata.labels['x']"}}}
    - {name: NOTE, valueFrom: {fieldRef: {fieldPath: "metadata.annotations['dr.io/db']"}}}
    - {name: HOST, value: 'db.$(NS).svc'}
"#;
    let world = World::new().deployment("api", template);
    for (name, expected) in [
        ("NS", "platform"),
        ("LABEL", "us-west-2"),
        ("NONE", ""),
        ("NOTE", "pg-west"),
        ("HOST", "db.platform.svc"),
    ] {
        assert_eq!(text(&world, name).as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn services_give_variables_that_all_others_override() {
    let template = |links: bool| {
        format!(
            "{{spec: {{enableServiceLinks: {links}, containers: [{{name: api, env: [{{name: URL, value: 'postgres://$(PG_WEST_SERVICE_HOST):$(PG_WEST_SERVICE_PORT)/d'}}, {{name: OTHER_SERVICE_HOST, value: mine}}]}}]}}}}"
        )
    };
    let services = |world: World| {
        world
            .service("pg-west", "spec: {clusterIP: 172.20.0.9, ports: [{name: pg, port: 5433}, {port: 1}]}")
            .service("other", "spec: {clusterIP: 172.20.0.8, ports: [{port: 1}]}")
            .service("headless", "spec: {clusterIP: None, ports: [{port: 1}]}")
    };
    let world = services(World::new().deployment("api", &template(true)));
    assert_eq!(text(&world, "URL").as_deref(), Some("postgres://172.20.0.9:5433/d"));
    assert_eq!(text(&world, "OTHER_SERVICE_HOST").as_deref(), Some("mine"));
    assert_eq!(text(&world, "HEADLESS_SERVICE_HOST"), None);
    let world = services(World::new().deployment("api", &template(false)));
    assert_eq!(
        text(&world, "URL").as_deref(),
        Some("postgres://$(PG_WEST_SERVICE_HOST):$(PG_WEST_SERVICE_PORT)/d")
    );
}
