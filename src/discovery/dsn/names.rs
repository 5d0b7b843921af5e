//! Which names of variables speak of a database, as frameworks and people write them. Pure.
//!
//! Names are compared in capitals with `_` for `.`, `-`, `:` and `__`, so that `spring.datasource.url`,
//! `ConnectionStrings__Default` and `DB_HOST` read alike.

/// A single value beside a connection string, or instead of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// A host or several.
    Host,
    /// A port or several.
    Port,
    /// The user.
    User,
    /// The password.
    Password,
    /// The database.
    Database,
    /// Anything else, by libpq's name for it.
    Other(&'static str),
}

/// What a name says about its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A connection string, whose siblings begin so.
    Address(String),
    /// A part of the group that begins so.
    Member(String),
    /// One of libpq's own variables.
    Libpq,
}

/// Names that end so hold a connection string. The longest that fits counts.
const ADDRESS_ENDS: &[&str] = &[
    "_JDBC_URL",
    "_REACTIVE_URL",
    "_CONNECTION_STRING",
    "_CONNECTIONSTRING",
    "_CONNECTION_URL",
    "_CONNECTION_URI",
    "_CONN_STR",
    "_CONN_STRING",
    "_CONNSTRING",
    "_CONNSTR",
    "_CONNINFO",
    "_URL",
    "_URI",
    "_DSN",
];

/// The ends of the names of a group's members, the usual ones first.
const MEMBER_ENDS: &[(Part, &[&str])] = &[
    (
        Part::Host,
        &[
            "_HOST",
            "_HOSTNAME",
            "_SERVER",
            "_ADDRESS",
            "_ADDR",
            "_ENDPOINT",
            "_HOSTS",
            "_HOST_NAME",
            "_WRITER_HOST",
        ],
    ),
    (Part::Port, &["_PORT"]),
    (Part::User, &["_USER", "_USERNAME", "_USER_NAME", "_LOGIN", "_ROLE"]),
    (Part::Password, &["_PASSWORD", "_PASS", "_PASSWD", "_PWD"]),
    (Part::Database, &["_NAME", "_DATABASE", "_DB", "_DBNAME", "_DB_NAME", "_DATABASE_NAME"]),
    (Part::Other("sslmode"), &["_SSLMODE", "_SSL_MODE"]),
    (Part::Other("sslrootcert"), &["_SSLROOTCERT", "_SSL_ROOT_CERT", "_SSL_ROOTCERT"]),
];

/// libpq's variables; PostgreSQL 17 manual 34.15. Those that do not change where and how one connects are left away.
pub const LIBPQ: &[(&str, Part)] = &[
    ("PGHOST", Part::Host),
    ("PGPORT", Part::Port),
    ("PGUSER", Part::User),
    ("PGPASSWORD", Part::Password),
    ("PGDATABASE", Part::Database),
    ("PGHOSTADDR", Part::Other("hostaddr")),
    ("PGSSLMODE", Part::Other("sslmode")),
    ("PGSSLROOTCERT", Part::Other("sslrootcert")),
    ("PGSSLCERT", Part::Other("sslcert")),
    ("PGSSLKEY", Part::Other("sslkey")),
    ("PGSSLSNI", Part::Other("sslsni")),
    ("PGSSLNEGOTIATION", Part::Other("sslnegotiation")),
    ("PGCHANNELBINDING", Part::Other("channel_binding")),
    ("PGTARGETSESSIONATTRS", Part::Other("target_session_attrs")),
    ("PGLOADBALANCEHOSTS", Part::Other("load_balance_hosts")),
    ("PGOPTIONS", Part::Other("options")),
    ("PGGSSENCMODE", Part::Other("gssencmode")),
    ("PGREQUIREAUTH", Part::Other("require_auth")),
    ("PGPASSFILE", Part::Other("passfile")),
    ("PGSERVICE", Part::Other("service")),
];

/// Words that make a name one of a relational database, which may be PostgreSQL.
const DATABASE_WORDS: &[&str] = &[
    "DB",
    "DATABASE",
    "DATABASES",
    "POSTGRES",
    "POSTGRESQL",
    "PG",
    "PSQL",
    "PGSQL",
    "POSTGIS",
    "TIMESCALE",
    "TIMESCALEDB",
    "RDS",
    "AURORA",
    "DATASOURCE",
    "DATASOURCES",
    "JDBC",
    "R2DBC",
    "SQLALCHEMY",
    "CONNECTIONSTRINGS",
    "SQL",
];

/// Words that make a name one of something else.
const OTHER_WORDS: &[&str] = &[
    "REDIS",
    "VALKEY",
    "CACHE",
    "MEMCACHED",
    "MYSQL",
    "MARIADB",
    "MONGO",
    "MONGODB",
    "RABBIT",
    "RABBITMQ",
    "AMQP",
    "KAFKA",
    "NATS",
    "ELASTIC",
    "ELASTICSEARCH",
    "OPENSEARCH",
    "CASSANDRA",
    "CLICKHOUSE",
    "INFLUX",
    "INFLUXDB",
    "NEO4J",
    "ORACLE",
    "MSSQL",
    "SQLSERVER",
    "DYNAMODB",
    "COUCHDB",
    "SQLITE",
    "SMTP",
    "MAIL",
    "LDAP",
    "SENTRY",
    "QUEUE",
    "BROKER",
    "S3",
    "GRAPHITE",
    "VAULT",
    "ETCD",
];

/// The beginnings of groups that are looked for even where nobody knows yet which variables are set.
pub const GROUPS: &[&str] = &["DB", "DATABASE", "POSTGRES", "POSTGRESQL", "PG", "SPRING_DATASOURCE"];

/// The names of connection strings that are looked for even where nobody knows yet which variables are set.
pub const ADDRESSES: &[&str] = &[
    "DATABASE_URL",
    "DATABASE_URI",
    "DATABASE_DSN",
    "DB_URL",
    "DB_URI",
    "DB_DSN",
    "DB_CONNECTION_STRING",
    "POSTGRES_URL",
    "POSTGRES_URI",
    "POSTGRES_DSN",
    "POSTGRES_CONNECTION_STRING",
    "POSTGRESQL_URL",
    "POSTGRESQL_URI",
    "PG_URL",
    "PG_DSN",
    "JDBC_URL",
    "JDBC_DATABASE_URL",
    "SPRING_DATASOURCE_URL",
    "SPRING_R2DBC_URL",
    "QUARKUS_DATASOURCE_JDBC_URL",
    "QUARKUS_DATASOURCE_REACTIVE_URL",
    "DATASOURCES_DEFAULT_URL",
    "R2DBC_DATASOURCES_DEFAULT_URL",
    "SQLALCHEMY_DATABASE_URI",
    "SQLALCHEMY_DATABASE_URL",
    "ConnectionStrings__Default",
    "ConnectionStrings__DefaultConnection",
];

/// Members of a group that say which product it is.
pub const KIND_ENDS: &[&str] = &[
    "_CONNECTION",
    "_DRIVER",
    "_DIALECT",
    "_ENGINE",
    "_TYPE",
    "_ADAPTER",
    "_DB_KIND",
    "_KIND",
    "_CLIENT",
    "_DRIVER_CLASS_NAME",
];

/// The name as it is compared.
pub fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for c in name.chars() {
        let c = if matches!(c, '.' | '-' | ':' | '_') { '_' } else { c.to_ascii_uppercase() };
        if c != '_' || !plain.ends_with('_') {
            plain.push(c);
        }
    }
    plain
}

/// Whether the end of a plain name says that it is a connection string.
pub fn ends_as_address(plain: &str) -> bool {
    ADDRESS_ENDS.iter().any(|end| plain.ends_with(end))
}

/// What a plain name says about its value, whether or not it speaks of a database.
pub fn meaning(plain: &str) -> Meaning {
    if LIBPQ.iter().any(|(name, _)| *name == plain) {
        return Meaning::Libpq;
    }
    if let Some(prefix) = ADDRESS_ENDS.iter().find_map(|end| plain.strip_suffix(end)) {
        return Meaning::Address(prefix.to_owned());
    }
    // `ORDERS_DB_NAME` belongs to `ORDERS_DB_HOST`, so the shorter end counts; but `DB_USER_NAME` belongs to `DB_HOST`.
    let two = ["_USER_NAME", "_HOST_NAME"].iter().find_map(|end| plain.strip_suffix(end));
    let ends = MEMBER_ENDS.iter().flat_map(|(_, ends)| *ends);
    let one = ends.filter_map(|end| plain.strip_suffix(end)).max_by_key(|prefix| prefix.len());
    let member = two.or(one);
    match member.filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => Meaning::Member(prefix.to_owned()),
        None => Meaning::Address(plain.to_owned()),
    }
}

/// The plain names that a part of a group may have, the usual ones first.
pub fn members(prefix: &str, part: Part) -> impl Iterator<Item = String> {
    let ends = MEMBER_ENDS.iter().filter(move |(is, _)| *is == part).flat_map(|(_, ends)| *ends);
    ends.map(move |end| format!("{prefix}{end}"))
}

/// The part that a plain name of that group is.
pub fn part_of(prefix: &str, plain: &str) -> Option<Part> {
    parts().find(|part| members(prefix, *part).any(|name| name == plain))
}

/// The parts that a group may have.
pub fn parts() -> impl Iterator<Item = Part> {
    MEMBER_ENDS.iter().map(|(part, _)| *part)
}

/// Whether the words of a plain name speak of a database that may be PostgreSQL.
pub fn speaks_of_database(plain: &str) -> bool {
    let mut words = plain.split('_');
    let has = |list: &[&str]| plain.split('_').any(|word| list.contains(&word));
    !has(OTHER_WORDS) && words.any(|word| DATABASE_WORDS.contains(&word))
}

/// Whether the words of a plain name speak of something else.
pub fn speaks_of_other(plain: &str) -> bool {
    plain.split('_').any(|word| OTHER_WORDS.contains(&word))
}

/// Whether a text is plainly the address of something that is not PostgreSQL.
pub fn is_foreign(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let ours = ["postgres", "psql", "pgsql", "postgis"];
    if let Some(rest) = text
        .strip_prefix("jdbc:")
        .or_else(|| text.strip_prefix("r2dbc:"))
        .or_else(|| text.strip_prefix("r2dbcs:"))
    {
        return !rest
            .split(['/', '@', '?'])
            .next()
            .unwrap_or_default()
            .split(':')
            .any(|word| word.starts_with("postgres"));
    }
    if let Some((scheme, _)) = text.split_once("://")
        && !scheme.is_empty()
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+.-_".contains(c))
    {
        return !ours.iter().any(|our| scheme.starts_with(our));
    }
    let begins = [
        "sqlite:",
        "sqlite3:",
        "file:",
        "mysql:",
        "redis:",
        "endpoint=sb:",
        "accountendpoint=",
        "defaultendpointsprotocol=",
    ];
    // Go's MySQL driver, and SQL Server's own keys.
    let holds = [
        "@tcp(",
        "@unix(",
        "initial catalog=",
        "trusted_connection=",
        "multipleactiveresultsets=",
        "abortconnect=",
    ];
    begins.iter().any(|begin| text.starts_with(begin)) || holds.iter().any(|word| text.contains(word))
}

/// Whether a text is plainly the address of a PostgreSQL database, whatever its variable is called.
pub fn is_postgres(text: &str) -> bool {
    let text = text.trim_start().to_ascii_lowercase();
    let begins = [
        "postgres://",
        "postgresql://",
        "postgresql+",
        "postgres+",
        "jdbc:postgresql:",
        "r2dbc:postgresql:",
        "postgis://",
    ];
    begins.iter().any(|begin| text.starts_with(begin))
}

/// Whether the value of a member that says which product it is, names another one.
pub fn is_foreign_kind(value: &str) -> bool {
    let value = value.trim().to_ascii_lowercase();
    let foreign = [
        "mysql",
        "mariadb",
        "sqlite",
        "mssql",
        "sqlserver",
        "sqlsrv",
        "oracle",
        "mongo",
        "redis",
        "h2",
        "db2",
    ];
    foreign.iter().any(|word| value.contains(word))
}

/// Whether the port is another product's: MySQL, SQL Server, Oracle, MongoDB, Redis, Cassandra, ClickHouse.
pub fn is_foreign_port(port: &str) -> bool {
    matches!(port.trim(), "3306" | "1433" | "1521" | "27017" | "6379" | "9042" | "8123" | "9000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_their_values_are() {
        let address = |prefix: &str| Meaning::Address(prefix.to_owned());
        let member = |prefix: &str| Meaning::Member(prefix.to_owned());
        for (name, expected) in [
            ("DATABASE_URL", address("DATABASE")),
            ("spring.datasource.url", address("SPRING_DATASOURCE")),
            ("SPRING_R2DBC_URL", address("SPRING_R2DBC")),
            ("QUARKUS_DATASOURCE_JDBC_URL", address("QUARKUS_DATASOURCE")),
            ("QUARKUS_DATASOURCE_REACTIVE_URL", address("QUARKUS_DATASOURCE")),
            ("DATASOURCES_DEFAULT_URL", address("DATASOURCES_DEFAULT")),
            ("ConnectionStrings__Default", address("CONNECTIONSTRINGS_DEFAULT")),
            ("JDBC_URL", address("JDBC")),
            ("ORDERS", address("ORDERS")),
            ("DB_HOST", member("DB")),
            ("DB_NAME", member("DB")),
            ("ORDERS_DB_NAME", member("ORDERS_DB")),
            ("orders-db-username", member("ORDERS_DB")),
            ("POSTGRES_DB", member("POSTGRES")),
            ("Database__Host", member("DATABASE")),
            ("DB_USER_NAME", member("DB")),
            ("PGHOST", Meaning::Libpq),
            ("PGSSLROOTCERT", Meaning::Libpq),
        ] {
            assert_eq!(meaning(&plain(name)), expected, "{name}");
        }
    }

    #[test]
    fn what_is_plainly_something_else_is_told() {
        for text in [
            "mysql://h/d",
            "redis://h",
            "rediss://h",
            "https://key@sentry.io/1",
            "jdbc:mysql://h/d",
            "jdbc:sqlserver://h;databaseName=postgres",
            "r2dbc:mariadb://h/d",
            "sqlite:///x.db",
            "sqlite:x.db",
            "u:p@tcp(h:3306)/d",
            "Server=h;Initial Catalog=d;User ID=u",
            "redis-1:6379,password=x,abortConnect=false",
            "mongodb+srv://h",
            " MySQL2://h/d",
        ] {
            assert!(is_foreign(text) && !is_postgres(text), "{text}");
        }
        for text in [
            "postgres://h/d",
            "POSTGRESQL+asyncpg://h/d",
            "jdbc:postgresql://h/d",
            "jdbc:aws-wrapper:postgresql://h/d",
            "r2dbc:pool:postgresql://h/d",
            "host=h dbname=d",
            "Host=h;Database=d",
            "h:5432/d",
            "",
        ] {
            assert!(!is_foreign(text), "{text}");
        }
    }

    #[test]
    fn words_decide_what_a_name_speaks_of() {
        for name in ["DATABASE_URL", "ORDERS_DB", "SPRING_DATASOURCE", "POSTGRES", "JDBC"] {
            assert!(speaks_of_database(name), "{name}");
        }
        for name in ["REDIS_DB", "MONGO_DB_URL", "DB_MYSQL", "API", "SENTRY_DSN", "DBA", "CACHE_DATABASE"] {
            assert!(!speaks_of_database(name), "{name}");
        }
    }
}
