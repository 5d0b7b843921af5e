use super::*;
use crate::discovery::recipe::Read;
use crate::discovery::testing::{World, deployment};
use crate::discovery::{Feed, Sight};
use crate::model::Resource;
use crate::secret::Secret;

/// The connection string with its password, and where it is from.
fn look(world: &World, env: Option<&str>) -> Result<(String, String), Gap> {
    let settled = endpoint(&world.inventory, &deployment("api"), env, None)?.settle(&world.read, None)?;
    let password = settled.dsn.password.as_ref().map(Secret::expose).unwrap_or("-");
    Ok((format!("{} {password}", settled.dsn), settled.from))
}

fn found(world: &World, env: Option<&str>) -> String {
    look(world, env).map_or_else(|gap| format!("{:?}: {}", gap.reason, gap.detail), |(dsn, _)| dsn)
}

fn literal(pairs: &[(&str, &str)]) -> World {
    let env: Vec<_> =
        pairs.iter().map(|(name, value)| serde_json::json!({"name": name, "value": value})).collect();
    World::new().container(&serde_json::json!({ "env": env }).to_string())
}

const PG: &str = "postgres://u:p@pg-west:5433/orders";
const IS_PG: &str = "postgres://u@pg-west:5433/orders?sslmode=prefer p";

#[test]
fn what_frameworks_and_people_write_is_found() {
    let jdbc = "jdbc:postgresql://pg-west:5433/orders";
    for pairs in [
        &[("DATABASE_URL", PG)][..],
        &[("ORDERS_DATABASE_URL", PG)],
        &[("WHATEVER", PG)],
        &[("DATABASE_URL", "  postgresql+asyncpg://u:p@pg-west:5433/orders\n")],
        &[
            ("SPRING_DATASOURCE_URL", jdbc),
            ("SPRING_DATASOURCE_USERNAME", "u"),
            ("SPRING_DATASOURCE_PASSWORD", "p"),
        ],
        &[
            ("spring.datasource.url", jdbc),
            ("spring.datasource.username", "u"),
            ("spring.datasource.password", "p"),
        ],
        &[
            ("SPRING_R2DBC_URL", "r2dbc:postgresql://pg-west:5433/orders?sslMode=prefer"),
            ("SPRING_R2DBC_USERNAME", "u"),
            ("SPRING_R2DBC_PASSWORD", "p"),
        ],
        &[
            ("QUARKUS_DATASOURCE_JDBC_URL", jdbc),
            ("QUARKUS_DATASOURCE_USERNAME", "u"),
            ("QUARKUS_DATASOURCE_PASSWORD", "p"),
        ],
        &[
            ("DATASOURCES_DEFAULT_URL", jdbc),
            ("DATASOURCES_DEFAULT_USERNAME", "u"),
            ("DATASOURCES_DEFAULT_PASSWORD", "p"),
        ],
        &[("JDBC_URL", jdbc), ("JDBC_USER", "u"), ("JDBC_PASSWORD", "p")],
        // Credentials under another well-known name.
        &[("JDBC_DATABASE_URL", jdbc), ("DB_USERNAME", "u"), ("DB_PASSWORD", "p")],
        &[("ConnectionStrings__Default", "Host=pg-west;Port=5433;Database=orders;Username=u;Password=p")],
        &[
            ("ConnectionStrings__Orders", "Host=pg-west;Port=5433;Database=orders;Username=u;Password=p"),
            ("ConnectionStrings__Redis", "redis:6379,password=x"),
        ],
        &[("DB_DSN", "host=pg-west port=5433 dbname=orders user=u password=p")],
        &[
            ("PGHOST", "pg-west"),
            ("PGPORT", "5433"),
            ("PGDATABASE", "orders"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "p"),
        ],
        &[
            ("DB_HOST", "pg-west"),
            ("DB_PORT", "5433"),
            ("DB_NAME", "orders"),
            ("DB_USER", "u"),
            ("DB_PASSWORD", "p"),
        ],
        &[
            ("DB_HOST", "pg-west:5433"),
            ("DB_DATABASE", "orders"),
            ("DB_USERNAME", "u"),
            ("DB_PASS", "p"),
            ("DB_CONNECTION", "pgsql"),
        ],
        &[
            ("POSTGRES_HOST", "pg-west"),
            ("POSTGRES_PORT", "5433"),
            ("POSTGRES_DB", "orders"),
            ("POSTGRES_USER", "u"),
            ("POSTGRES_PASSWORD", "p"),
        ],
        &[
            ("POSTGRES_SERVER", "pg-west"),
            ("POSTGRES_PORT", "5433"),
            ("POSTGRES_DB", "orders"),
            ("POSTGRES_USER", "u"),
            ("POSTGRES_PASSWORD", "p"),
        ],
        &[
            ("ORDERS_DB_HOST", "pg-west"),
            ("ORDERS_DB_PORT", "5433"),
            ("ORDERS_DB_NAME", "orders"),
            ("ORDERS_DB_USER", "u"),
            ("ORDERS_DB_PASSWORD", "p"),
        ],
        &[
            ("Database__Host", "pg-west"),
            ("Database__Port", "5433"),
            ("Database__Name", "orders"),
            ("Database__Username", "u"),
            ("Database__Password", "p"),
        ],
        // The same place twice is one place.
        &[
            ("DATABASE_URL", PG),
            ("DATABASE_HOST", "pg-west"),
            ("DATABASE_PORT", "5433"),
            ("DATABASE_NAME", "orders"),
            ("DATABASE_USER", "u"),
        ],
        &[("DATABASE_URL", "postgres://$(DB_USER):$(DB_PASS)@$(DB_HOST):5433/orders"), ("DB_USER", "x")],
        // Other things beside it.
        &[
            ("DATABASE_URL", PG),
            ("REDIS_URL", "redis://r"),
            ("SENTRY_DSN", "https://k@sentry.io/1"),
            ("REDIS_HOST", "r"),
            ("REDIS_DB", "0"),
            ("REDIS_USER", "x"),
        ],
        &[
            ("DATABASE_URL", PG),
            ("LEGACY_DB_HOST", "my"),
            ("LEGACY_DB_NAME", "d"),
            ("LEGACY_DB_PORT", "3306"),
        ],
        &[
            ("DATABASE_URL", PG),
            ("OLD_DATABASE_URL", "mysql://u:p@h/d"),
            ("OLD_DB_DRIVER", "mysql"),
            ("OLD_DB_HOST", "h"),
            ("OLD_DB_USER", "u"),
        ],
        &[
            ("DATABASE_URL", PG),
            ("APP_HOST", "0.0.0.0"),
            ("APP_USER", "x"),
            ("APP_NAME", "y"),
            ("DB_POOL_SIZE", "5"),
        ],
        &[("DATABASE_URL", PG), ("DB_URL", "")],
    ] {
        let world = if pairs[0].1.contains("$(") {
            literal(&[&[("DB_USER", "u"), ("DB_PASS", "p"), ("DB_HOST", "pg-west")], &pairs[..1]].concat())
        } else {
            literal(pairs)
        };
        assert_eq!(found(&world, None), IS_PG, "{pairs:?}");
    }
}

#[test]
fn what_is_there_twice_or_not_at_all_is_no_guess() {
    let gap = |pairs: &[(&str, &str)]| look(&literal(pairs), None).unwrap_err();
    let two = gap(&[("DATABASE_URL", PG), ("REPLICA_DATABASE_URL", "postgres://u:p@other/orders")]);
    assert_eq!(two.reason, Some(GapReason::Ambiguous));
    assert_eq!(
        two.detail,
        "Deployment platform/api has more than one database: variable DATABASE_URL (container api); variable REPLICA_DATABASE_URL (container api); name one with `env`"
    );
    let users = gap(&[("DATABASE_URL", PG), ("MIGRATION_URL", "postgres://owner:p@pg-west:5433/orders")]);
    assert_eq!(users.reason, Some(GapReason::Ambiguous), "another user may be another right");
    let group = gap(&[("DATABASE_URL", PG), ("DB_HOST", "pg-east"), ("DB_NAME", "orders"), ("DB_USER", "u")]);
    assert!(group.detail.contains("variables DB_HOST, DB_USER, DB_NAME (container api)"), "{}", group.detail);
    for pairs in [
        &[][..],
        &[("DATABASE_URL", "")],
        &[("DATABASE_URL", "mysql://u:p@h/d")],
        &[("DB_HOST", "h"), ("DB_NAME", "d"), ("DB_PORT", "3306")],
        &[("DB_HOST", "h"), ("DB_NAME", "d"), ("DB_CONNECTION", "mysql")],
        &[("DB_HOST", "h")],
        &[("MONGO_DB_HOST", "h"), ("MONGO_DB_NAME", "d")],
        &[("REDIS_HOST", "h"), ("REDIS_DB", "1"), ("REDIS_PASSWORD", "x")],
        &[("POSTGRES_PASSWORD", "p"), ("POSTGRES_DB", "d")],
        &[("ConnectionStrings__Main", "Server=h;Initial Catalog=d;User ID=u;Password=p")],
    ] {
        let gap = gap(pairs);
        assert_eq!(gap.reason, Some(GapReason::NotFound), "{pairs:?}: {}", gap.detail);
        assert!(gap.detail.contains("DATABASE_URL") && gap.detail.contains("`env`"), "{}", gap.detail);
    }
}

#[test]
fn a_named_variable_is_taken_with_its_siblings() {
    let group = [
        ("A_HOST", "pg-west"),
        ("A_PORT", "5433"),
        ("A_NAME", "orders"),
        ("A_USERNAME", "u"),
        ("A_PASSWORD", "p"),
        ("DATABASE_URL", "postgres://elsewhere/x"),
    ];
    for name in ["A_HOST", "A_PORT", "A_NAME", "A_USERNAME", "A_PASSWORD"] {
        assert_eq!(found(&literal(&group), Some(name)), IS_PG, "{name}");
    }
    for (pairs, name, expected) in [
        (&[("X", PG)][..], "X", IS_PG),
        (&[("X_NAME", PG)], "X_NAME", IS_PG),
        (&[("DB_HOST", PG)], "DB_HOST", IS_PG),
        (
            &[("A_URL", "postgres://pg-west/orders"), ("A_PORT", "5433"), ("A_USER", "u"), ("A_PASS", "p")],
            "A_URL",
            IS_PG,
        ),
        // What the address says wins.
        (
            &[
                ("A_URL", PG),
                ("A_HOST", "no"),
                ("A_PORT", "1"),
                ("A_USER", "no"),
                ("A_PASSWORD", "no"),
                ("PGUSER", "no"),
            ],
            "A_URL",
            IS_PG,
        ),
        (
            &[("A_URL", "postgres://pg-west:5433/orders"), ("PGUSER", "u"), ("PGPASSWORD", "p")],
            "A_URL",
            IS_PG,
        ),
        (
            &[
                ("PGHOSTADDR", "10.1.0.9"),
                ("PGUSER", "u"),
                ("PGSSLMODE", "require"),
                ("PGTARGETSESSIONATTRS", "read-write"),
            ],
            "PGHOSTADDR",
            "postgres://u@10.1.0.9:5432?sslmode=require&target_session_attrs=read-write -",
        ),
        (
            &[("A_URL", "postgres://pg/d"), ("DB_PASSWORD", "x"), ("POSTGRES_PASSWORD", "y")],
            "A_URL",
            "Some(Ambiguous): Deployment platform/api, container api, variable A_URL: its password may be in DB_PASSWORD or in POSTGRES_PASSWORD",
        ),
        (
            &[("DATABASE_URL", "")],
            "DATABASE_URL",
            "Some(NotFound): variable DATABASE_URL of Deployment platform/api (api) is empty",
        ),
        (
            &[("DATABASE_URI", PG)],
            "DATABASE_URL",
            "Some(NotFound): no container of Deployment platform/api (api) has the variable DATABASE_URL; similar ones: DATABASE_URI",
        ),
        (
            &[("A_URL", "mysql://u:hunter2@h/d")],
            "A_URL",
            "Some(Unsupported): Deployment platform/api: variable A_URL lead to something that is not PostgreSQL",
        ),
        (
            &[("A_URL", "\"postgres://u:hunter2@h/d\"")],
            "A_URL",
            "Some(Unparsable): Deployment platform/api, container api, variable A_URL: this is neither a URL nor key=value pairs; the quotes around it are a part of the value",
        ),
        (
            &[("A_URL", "postgres://u:${DB_PASSWORD}@h/d")],
            "A_URL",
            "Some(Unparsable): Deployment platform/api, container api, variable A_URL: a reference such as $(NAME) or ${NAME} is left in the value: Kubernetes replaces only $(NAME), and only by what is set before",
        ),
    ] {
        assert_eq!(found(&literal(pairs), Some(name)), expected, "{pairs:?}");
    }
}

#[test]
fn a_password_that_is_joined_unencoded_is_told_and_never_shown() {
    let container = r"
env:
- {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: pw}}}
- {name: DATABASE_URL, value: 'postgres://u:$(DB_PASSWORD)@pg-west/orders'}
";
    for (password, parsed) in [
        ("plain-1", Some("plain-1")),
        ("p%40ss", Some("p@ss")),
        ("p@ss", None),
        ("hun/ter2", None),
        ("hun#ter2", None),
        ("hun?ter2", None),
        ("100%sure", None),
        ("hun:ter2", Some("hun:ter2")),
        ("two\nlines", Some("two\nlines")),
    ] {
        let world = World::new().container(container).secret("db", &[("pw", password)]);
        match (look(&world, Some("DATABASE_URL")), parsed) {
            (Ok((dsn, from)), Some(parsed)) => {
                assert_eq!(dsn, format!("postgres://u@pg-west:5432/orders?sslmode=prefer {parsed}"));
                assert_eq!(
                    from,
                    "Deployment platform/api, container api, variable DATABASE_URL, with DB_PASSWORD from Secret db, key pw"
                );
            }
            (Err(gap), None) => {
                assert_eq!(gap.reason, Some(GapReason::Unparsable));
                assert!(gap.detail.contains("percent-encoded in the Secret"), "{}", gap.detail);
                assert!(!gap.detail.contains(password), "{}", gap.detail);
            }
            (got, expected) => panic!("{password}: {got:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn secrets_decide_late_and_by_what_they_hold() {
    let container = "envFrom: [{secretRef: {name: app}}]";
    let of = |data: &[(&str, &str)]| World::new().container(container).secret("app", data);
    assert_eq!(found(&of(&[("DATABASE_URL", PG), ("X", "y")]), None), IS_PG);
    assert_eq!(found(&of(&[("DATABASE_URL", PG)]), Some("DATABASE_URL")), IS_PG);
    let group = [
        ("DB_HOST", "pg-west"),
        ("DB_PORT", "5433"),
        ("DB_DATABASE", "orders"),
        ("DB_USERNAME", "u"),
        ("DB_PWD", "p"),
    ];
    assert_eq!(found(&of(&group), None), IS_PG);
    assert_eq!(found(&of(&group), Some("DB_HOST")), IS_PG);
    assert_eq!(
        found(
            &of(&[
                ("DATABASE_URL", PG),
                ("DB_HOST", "pg-west"),
                ("DB_PORT", "5433"),
                ("DB_NAME", "orders"),
                ("DB_USER", "u")
            ]),
            None
        ),
        IS_PG
    );
    for (data, reason) in [
        (&[("X", "y")][..], GapReason::NotFound),
        (&[("DATABASE_URL", "redis://h")], GapReason::Unsupported),
        (&[("DATABASE_URL", PG), ("POSTGRES_URL", "postgres://u:p@other/d")], GapReason::Ambiguous),
        (&[("DATABASE_URL", "hunter2")], GapReason::Unparsable),
    ] {
        let gap = look(&of(data), None).unwrap_err();
        assert_eq!(gap.reason, Some(reason), "{}", gap.detail);
        assert!(!gap.detail.contains("hunter2"), "{}", gap.detail);
    }
    // A prefix belongs to the name of the variable, not to that of the key.
    let prefixed = World::new()
        .container("envFrom: [{prefix: ORDERS_, secretRef: {name: app}}]")
        .secret("app", &[("DATABASE_URL", PG)]);
    assert_eq!(found(&prefixed, None), IS_PG);
    assert_eq!(found(&prefixed, Some("ORDERS_DATABASE_URL")), IS_PG);
    assert!(found(&prefixed, Some("DATABASE_URL")).starts_with("Some(NotFound)"));
}

#[test]
fn hosts_in_a_configmap_and_passwords_in_a_secret_make_one() {
    let world = World::new()
        .container(
            r"
envFrom: [{configMapRef: {name: app-env}}]
env:
- {name: DB_USER, valueFrom: {secretKeyRef: {name: orders-db, key: username}}}
- {name: DB_PASSWORD_FILE, value: /run/secrets/pw}
volumeMounts: [{name: s, mountPath: /run/secrets}]
",
        )
        .config_map("app-env", &[("DB_HOST", "pg-west"), ("DB_PORT", "5433"), ("DB_NAME", "orders")])
        .secret("orders-db", &[("username", "u"), ("pw", "p\n")]);
    let mut world = world;
    let template = &mut world.inventory.controllers.get_mut(&deployment("api")).unwrap().template;
    template.spec.volumes =
        serde_json::from_value(serde_json::json!([{"name": "s", "secret": {"secretName": "orders-db"}}]))
            .unwrap();
    let (dsn, from) = look(&world, None).unwrap();
    assert_eq!(dsn, IS_PG);
    assert_eq!(
        from,
        "Deployment platform/api, container api, variables DB_HOST (from ConfigMap app-env, key DB_HOST), DB_PORT (from ConfigMap app-env, key DB_PORT), DB_USER (from Secret orders-db, key username), DB_PASSWORD_FILE (by the file /run/secrets/pw from Secret orders-db, key pw), DB_NAME (from ConfigMap app-env, key DB_NAME)"
    );
    assert_eq!(found(&world, Some("DB_PASSWORD_FILE")), IS_PG);
    assert_eq!(found(&world, Some("DB_HOST")), IS_PG);
    // What the Secret lacks is named.
    world.read = Read::default();
    let world = world.secret("orders-db", &[("pw", "p")]);
    let gap = look(&world, Some("DB_HOST")).unwrap_err();
    assert_eq!(gap.reason, Some(GapReason::NotFound));
    assert!(gap.detail.ends_with("the Secret platform/orders-db has no key username"), "{}", gap.detail);
}

#[test]
fn a_line_end_in_a_variable_belongs_to_the_password() {
    let world = World::new()
        .container(
            r"
env:
- {name: DATABASE_URL, value: 'postgres://u@pg-west/orders'}
- {name: DATABASE_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: pw}}}
",
        )
        .secret("db", &[("pw", "p\n")]);
    let settled = endpoint(&world.inventory, &deployment("api"), Some("DATABASE_URL"), None)
        .unwrap()
        .settle(&world.read, None)
        .unwrap();
    assert_eq!(settled.dsn.password.as_ref().map(Secret::expose), Some("p\n"));
    assert_eq!(settled.oddities, ["the password ends in a line end, which is a part of it"]);
    let given = Secret::new("given");
    let settled = endpoint(&world.inventory, &deployment("api"), None, None).unwrap();
    let settled = settled.settle(&world.read, Some(&given)).unwrap();
    assert_eq!(settled.dsn.password, Some(given), "the configured password wins over a sibling");
    assert!(settled.oddities.is_empty());
}

fn two_containers(first: &str, second: &str) -> World {
    let template = format!(
        "{{spec: {{containers: [{{name: api, env: [{first}]}}], initContainers: [{{name: migrate, env: [{second}]}}, {{name: proxy, restartPolicy: Always}}]}}}}"
    );
    World::new()
        .deployment("api", &template)
        .secret("db", &[("url", PG), ("other", "postgres://u:p@pg-east/orders")])
}

#[test]
fn every_container_counts() {
    let value = format!("{{name: DATABASE_URL, value: '{PG}'}}");
    let from =
        |key: &str| format!("{{name: DATABASE_URL, valueFrom: {{secretKeyRef: {{name: db, key: {key}}}}}}}");
    let named = Some("DATABASE_URL");
    for (first, second) in [
        (&*value, ""),
        ("", &*value),
        (&*value, &*value),
        (&*value, &*from("url")),
        (&*from("url"), &*from("url")),
    ] {
        for env in [named, None] {
            assert_eq!(found(&two_containers(first, second), env), IS_PG, "{first} {second}");
        }
    }
    let (_, from_both) = look(&two_containers(&from("url"), &from("url")), named).unwrap();
    assert_eq!(
        from_both,
        "Deployment platform/api, containers api and migrate, variable DATABASE_URL, from Secret db, key url"
    );
    for env in [named, None] {
        let gap = look(&two_containers(&value, &from("other")), env).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::Ambiguous));
        assert!(gap.detail.contains("api") && gap.detail.contains("migrate"), "{}", gap.detail);
    }
    let gap = look(
        &two_containers(
            &value,
            "{name: DATABASE_URL, value: 'postgres://u:p@pg-west:5433/orders?sslmode=require'}",
        ),
        named,
    );
    assert_eq!(gap.unwrap_err().reason, Some(GapReason::Ambiguous), "one variable, two values");
}

#[test]
fn a_file_holds_an_address() {
    let template = r"
spec:
  containers:
  - {name: api, volumeMounts: [{name: s, mountPath: /etc/app/url, subPath: url}], env: [{name: DB_USER, value: u}]}
  - {name: sidecar, volumeMounts: [{name: s, mountPath: /mnt}]}
  volumes: [{name: s, secret: {secretName: db}}]
";
    let world =
        World::new().deployment("api", template).secret("db", &[("url", "postgres://pg-west:5433/orders\n")]);
    let at = |path: &str| endpoint(&world.inventory, &deployment("api"), None, Some(path));
    let settled = at("/etc/app/url").unwrap().settle(&world.read, None).unwrap();
    assert_eq!(settled.dsn.to_string(), "postgres://u@pg-west:5433/orders?sslmode=prefer");
    assert_eq!(
        settled.from,
        "Deployment platform/api, container api, file /etc/app/url, from Secret db, key url; user from variable DB_USER"
    );
    let settled = at("/mnt/url").unwrap().settle(&world.read, None).unwrap();
    assert_eq!(settled.dsn.user, None);
    let gap = at("/etc/nowhere").unwrap_err();
    assert_eq!(gap.reason, Some(GapReason::NotFound));
    assert!(
        gap.detail
            .starts_with("no container of Deployment platform/api (api, sidecar) has a file /etc/nowhere")
    );
    assert_eq!(at("relative").unwrap_err().reason, Some(GapReason::Unsupported));
}

#[test]
fn what_cannot_be_seen_is_named_and_never_taken_for_absent() {
    let container =
        "envFrom: [{configMapRef: {name: app}}]\nenv: [{name: DATABASE_URL, value: 'postgres://u:p@h/d'}]";
    let feed = Feed::named(Resource::ConfigMaps, &ObjectRef::new("platform", "app"));
    let world = World::new().container(container).with_sight(feed.clone(), Sight::Forbidden);
    let gap = look(&world, None).unwrap_err();
    assert_eq!(gap.reason, Some(GapReason::Forbidden));
    assert!(
        gap.detail.contains("`list, watch` on `configmaps` with resourceNames [app] in namespace platform")
    );
    assert_eq!(
        found(&world, Some("DATABASE_URL")),
        "postgres://u@h:5432/d?sslmode=prefer p",
        "its value stands there"
    );
    let gap = look(&World::new().container(container).with_sight(feed, Sight::Lost), None).unwrap_err();
    assert_eq!(gap.reason, None, "{}", gap.detail);
    let mut world =
        World::new().container("env: [{name: A_URL, valueFrom: {secretKeyRef: {name: s, key: k}}}]");
    let refused = Gap::new(GapReason::Forbidden, "forbidden: our account needs the rule `get` on `secrets`");
    world.read.insert(ObjectRef::new("platform", "s"), Err(refused));
    let gap = look(&world, Some("A_URL")).unwrap_err();
    assert_eq!(gap.reason, Some(GapReason::Forbidden));
    assert_eq!(
        gap.detail,
        "Deployment platform/api, container api, variable A_URL, from Secret s, key k: forbidden: our account needs the rule `get` on `secrets`"
    );
}

#[test]
fn nothing_that_is_read_is_in_the_debug_form() {
    let world = literal(&[("DATABASE_URL", "postgres://u:hunter2@h/d"), ("DATABASE_PASSWORD", "hunter2")]);
    let wiring = endpoint(&world.inventory, &deployment("api"), None, None).unwrap();
    let settled = wiring.settle(&world.read, None).unwrap();
    assert!(!format!("{wiring:?} {settled:?}").contains("hunter2"));
}
