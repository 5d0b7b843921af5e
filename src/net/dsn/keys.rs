//! The names of settings per form, from memory of the drivers' manuals, not checked against a release's list.
//! A name that stands in no list is unknown, and unknown is an error.

use super::DsnForm;

/// What a setting is about, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Host,
    HostAddr,
    Port,
    Database,
    User,
    Password,
    SslMode,
    /// A switch (`ssl=true`), whose meaning depends on the form.
    Ssl,
    SslRootCert,
    ClientCert,
    ClientPrivate,
    SslSni,
    SslNegotiation,
    SslMinVersion,
    SslMaxVersion,
    /// Prisma's `sslaccept`.
    SslAccept,
    /// pgjdbc's `sslfactory`.
    SslFactory,
    TrustServerCertificate,
    ChannelBinding,
    TargetSessionAttrs,
    LoadBalanceHosts,
    ConnectTimeout,
    ApplicationName,
    Options,
    SearchPath,
    /// Must be off: it would make another kind of connection.
    MustBeOff,
    /// `gssencmode`: all but `require` leaves us alone.
    GssEncMode,
    /// Only matters when no password is given.
    PassFile,
    /// Does not change where and how one connects.
    Ignored,
    /// Would change it, and we cannot follow.
    Unsupported,
}

/// What the name means in that form; `None` is unknown.
pub(super) fn key(form: DsnForm, decorated: bool, name: &str) -> Option<Key> {
    match form {
        DsnForm::Url => libpq(name).or_else(|| url_only(name, decorated)),
        DsnForm::KeyValue | DsnForm::Parts => libpq(name).or_else(|| runtime(name).then_some(Key::Ignored)),
        DsnForm::Jdbc => jdbc(name),
        DsnForm::R2dbc => r2dbc(name),
        DsnForm::Npgsql => npgsql(name),
    }
}

/// PostgreSQL 17 manual 34.1.2.
fn libpq(name: &str) -> Option<Key> {
    Some(match name {
        "host" => Key::Host,
        "hostaddr" => Key::HostAddr,
        "port" => Key::Port,
        "dbname" => Key::Database,
        "user" => Key::User,
        "password" => Key::Password,
        "sslmode" => Key::SslMode,
        "sslrootcert" => Key::SslRootCert,
        "sslcert" => Key::ClientCert,
        "sslkey" => Key::ClientPrivate,
        "sslsni" => Key::SslSni,
        "sslnegotiation" => Key::SslNegotiation,
        "ssl_min_protocol_version" => Key::SslMinVersion,
        "ssl_max_protocol_version" => Key::SslMaxVersion,
        "channel_binding" => Key::ChannelBinding,
        "target_session_attrs" => Key::TargetSessionAttrs,
        "load_balance_hosts" => Key::LoadBalanceHosts,
        "connect_timeout" => Key::ConnectTimeout,
        "application_name" => Key::ApplicationName,
        "options" => Key::Options,
        "search_path" => Key::SearchPath,
        "replication" => Key::MustBeOff,
        "gssencmode" => Key::GssEncMode,
        "passfile" => Key::PassFile,
        "keepalives"
        | "keepalives_idle"
        | "keepalives_interval"
        | "keepalives_count"
        | "tcp_user_timeout"
        | "client_encoding"
        | "fallback_application_name"
        | "sslcompression"
        | "gsslib"
        | "gssdelegation"
        | "krbsrvname"
        | "min_protocol_version"
        | "max_protocol_version" => Key::Ignored,
        "sslpassword" | "sslcrl" | "sslcrldir" | "sslcertmode" | "requiressl" | "requirepeer"
        | "require_auth" | "service" | "servicefile" | "sslinline" | "sslkeylogfile" | "scram_client_key"
        | "scram_server_key" => Key::Unsupported,
        _ => return None,
    })
}

/// What drivers and frameworks put into a `postgres://` URL beyond libpq's names.
fn url_only(name: &str, decorated: bool) -> Option<Key> {
    Some(match name {
        "ssl" => Key::Ssl,
        "sslaccept" => Key::SslAccept,
        "ssl-mode" => Key::SslMode,
        "ssl-root-cert" | "ssl-ca" => Key::SslRootCert,
        "ssl-cert" => Key::ClientCert,
        "ssl-key" => Key::ClientPrivate,
        "schema" | "schema_search_path" | "options[search_path]" => Key::SearchPath,
        "target_session_attr" if decorated => Key::TargetSessionAttrs,
        // Prisma.
        "connection_limit"
        | "pool_timeout"
        | "pgbouncer"
        | "statement_cache_size"
        | "socket_timeout"
        | "single_use_connections"
        | "max_connection_lifetime"
        | "max_idle_connection_lifetime"
        | "workaround" => Key::Ignored,
        // Rails, Django, node-postgres, postgres.js.
        "pool"
        | "timeout"
        | "checkout_timeout"
        | "reaping_frequency"
        | "idle_timeout"
        | "prepared_statements"
        | "statement_limit"
        | "encoding"
        | "min_messages"
        | "advisory_locks"
        | "max_connections"
        | "keepalive"
        | "conn_max_age"
        | "conn_health_checks"
        | "disable_server_side_cursors"
        | "max"
        | "max_lifetime"
        | "prepare"
        | "uselibpqcompat"
        | "query_timeout" => Key::Ignored,
        // pgx, lib/pq, sqlx, SQLAlchemy.
        "pool_max_conns"
        | "pool_min_conns"
        | "pool_max_conn_lifetime"
        | "pool_max_conn_idle_time"
        | "pool_max_conn_lifetime_jitter"
        | "pool_health_check_period"
        | "pool_min_idle_conns"
        | "default_query_exec_mode"
        | "statement_cache_mode"
        | "statement_cache_capacity"
        | "description_cache_capacity"
        | "binary_parameters"
        | "disable_prepared_binary_result"
        | "statement-cache-capacity"
        | "prepared_statement_cache_size"
        | "prepare_threshold"
        | "command_timeout"
        | "pool_size"
        | "max_overflow"
        | "pool_recycle"
        | "pool_pre_ping" => Key::Ignored,
        _ if runtime(name) => Key::Ignored,
        _ => return None,
    })
}

/// Settings of the session that drivers pass on; none of them changes where one connects.
fn runtime(name: &str) -> bool {
    matches!(
        name,
        "statement_timeout"
            | "lock_timeout"
            | "idle_in_transaction_session_timeout"
            | "idle_session_timeout"
            | "timezone"
            | "TimeZone"
            | "datestyle"
            | "DateStyle"
            | "intervalstyle"
            | "extra_float_digits"
            | "client_min_messages"
            | "standard_conforming_strings"
            | "default_transaction_isolation"
            | "default_transaction_read_only"
            | "plan_cache_mode"
            | "work_mem"
            | "jit"
    )
}

/// pgjdbc 42.7, `PGProperty`. The names are case-sensitive: the driver overlooks a misspelt one, we report it.
fn jdbc(name: &str) -> Option<Key> {
    Some(match name {
        "user" => Key::User,
        "password" => Key::Password,
        "PGHOST" => Key::Host,
        "PGPORT" => Key::Port,
        "PGDBNAME" => Key::Database,
        "ssl" => Key::Ssl,
        "sslmode" => Key::SslMode,
        "sslrootcert" => Key::SslRootCert,
        "sslcert" => Key::ClientCert,
        "sslkey" => Key::ClientPrivate,
        "sslfactory" => Key::SslFactory,
        "sslNegotiation" => Key::SslNegotiation,
        "channelBinding" => Key::ChannelBinding,
        "targetServerType" => Key::TargetSessionAttrs,
        "loadBalanceHosts" => Key::LoadBalanceHosts,
        "connectTimeout" => Key::ConnectTimeout,
        "ApplicationName" => Key::ApplicationName,
        "currentSchema" => Key::SearchPath,
        "options" => Key::Options,
        "replication" => Key::MustBeOff,
        "gssEncMode" => Key::GssEncMode,
        "allowEncodingChanges"
        | "adaptiveFetch"
        | "adaptiveFetchMaximum"
        | "adaptiveFetchMinimum"
        | "assumeMinServerVersion"
        | "autosave"
        | "binaryTransfer"
        | "binaryTransferDisable"
        | "binaryTransferEnable"
        | "cancelSignalTimeout"
        | "cleanupSavepoints"
        | "convertBooleanToNumeric"
        | "databaseMetadataCacheFields"
        | "databaseMetadataCacheFieldsMiB"
        | "defaultRowFetchSize"
        | "disableColumnSanitiser"
        | "escapeSyntaxCallMode"
        | "groupStartupParameters"
        | "gssResponseTimeout"
        | "gssUseDefaultCreds"
        | "hideUnprivilegedObjects"
        | "hostRecheckSeconds"
        | "jaasApplicationName"
        | "jaasLogin"
        | "kerberosServerName"
        | "loggerFile"
        | "loggerLevel"
        | "loginTimeout"
        | "logServerErrorDetail"
        | "logUnclosedConnections"
        | "maxResultBuffer"
        | "maxSendBufferSize"
        | "preferQueryMode"
        | "preparedStatementCacheQueries"
        | "preparedStatementCacheSizeMiB"
        | "prepareThreshold"
        | "protocolVersion"
        | "queryTimeout"
        | "quoteReturningIdentifiers"
        | "readOnly"
        | "readOnlyMode"
        | "receiveBufferSize"
        | "reWriteBatchedInserts"
        | "sendBufferSize"
        | "socketTimeout"
        | "sslResponseTimeout"
        | "stringtype"
        | "tcpKeepAlive"
        | "tcpNoDelay"
        | "unknownLength"
        | "useSpnego"
        | "xmlFactoryFactory" => Key::Ignored,
        "sslpassword"
        | "sslpasswordcallback"
        | "sslhostnameverifier"
        | "sslfactoryarg"
        | "socketFactory"
        | "socketFactoryArg"
        | "service"
        | "localSocketAddress"
        | "authenticationPluginClassName"
        | "gsslib"
        | "sspiServiceClass"
        | "requireAuth" => Key::Unsupported,
        _ => return None,
    })
}

/// r2dbc-postgresql 1.0 and r2dbc-pool.
fn r2dbc(name: &str) -> Option<Key> {
    Some(match name {
        "host" => Key::Host,
        "port" => Key::Port,
        "database" => Key::Database,
        "username" | "user" => Key::User,
        "password" => Key::Password,
        "ssl" => Key::Ssl,
        "sslMode" => Key::SslMode,
        "sslRootCert" => Key::SslRootCert,
        "sslCert" => Key::ClientCert,
        "sslKey" => Key::ClientPrivate,
        "sslSni" => Key::SslSni,
        "targetServerType" => Key::TargetSessionAttrs,
        "loadBalanceHosts" => Key::LoadBalanceHosts,
        "applicationName" => Key::ApplicationName,
        "schema" | "searchPath" => Key::SearchPath,
        "options" => Key::Options,
        "autodetectExtensions"
        | "compatibilityMode"
        | "connectTimeout"
        | "errorResponseLogLevel"
        | "extensions"
        | "fetchSize"
        | "forceBinary"
        | "hostRecheckTime"
        | "lockWaitTimeout"
        | "noticeLogLevel"
        | "preferAttachedBuffers"
        | "preparedStatementCacheQueries"
        | "statementTimeout"
        | "tcpKeepAlive"
        | "tcpNoDelay"
        | "timeZone"
        | "acquireRetry"
        | "backgroundEvictionInterval"
        | "initialSize"
        | "maxSize"
        | "minIdle"
        | "maxLifeTime"
        | "maxIdleTime"
        | "maxAcquireTime"
        | "maxCreateConnectionTime"
        | "maxValidationTime"
        | "poolName"
        | "registerJmx"
        | "validationDepth"
        | "validationQuery" => Key::Ignored,
        "socket" | "sslPassword" | "sslHostnameVerifier" | "sslContextBuilderCustomizer" => Key::Unsupported,
        _ => return None,
    })
}

/// Npgsql 9; case and spaces do not count.
fn npgsql(name: &str) -> Option<Key> {
    let plain: String = name.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_ascii_lowercase();
    Some(match plain.as_str() {
        "host" | "server" => Key::Host,
        "port" => Key::Port,
        "database" | "db" => Key::Database,
        "username" | "userid" | "uid" | "user" => Key::User,
        "password" | "pwd" | "psw" => Key::Password,
        "sslmode" => Key::SslMode,
        "rootcertificate" => Key::SslRootCert,
        "sslcertificate" => Key::ClientCert,
        "sslkey" => Key::ClientPrivate,
        "sslnegotiation" => Key::SslNegotiation,
        "trustservercertificate" => Key::TrustServerCertificate,
        "channelbinding" => Key::ChannelBinding,
        "targetsessionattributes" => Key::TargetSessionAttrs,
        "loadbalancehosts" => Key::LoadBalanceHosts,
        "timeout" => Key::ConnectTimeout,
        "applicationname" => Key::ApplicationName,
        "searchpath" => Key::SearchPath,
        "options" => Key::Options,
        "passfile" => Key::PassFile,
        "checkcertificaterevocation" => Key::MustBeOff,
        "gssencryptionmode" => Key::GssEncMode,
        "arraynullabilitymode"
        | "autopreparemaxusages"
        | "autoprepareminusages"
        | "cancellationtimeout"
        | "clientencoding"
        | "commandtimeout"
        | "connectionidlelifetime"
        | "connectionlifetime"
        | "connectionpruninginterval"
        | "convertinfinitydatetime"
        | "encoding"
        | "enlist"
        | "hostrecheckseconds"
        | "includeerrordetail"
        | "includeerrordetails"
        | "includefailedbatchedcommand"
        | "includerealm"
        | "internalcommandtimeout"
        | "keepalive"
        | "kerberosservicename"
        | "loadtablecomposites"
        | "logparameters"
        | "maxautoprepare"
        | "maximumpoolsize"
        | "maxpoolsize"
        | "minimumpoolsize"
        | "minpoolsize"
        | "multiplexing"
        | "noresetonclose"
        | "persistsecurityinfo"
        | "pooling"
        | "readbuffersize"
        | "servercompatibilitymode"
        | "socketreceivebuffersize"
        | "socketsendbuffersize"
        | "tcpkeepalive"
        | "tcpkeepaliveinterval"
        | "tcpkeepalivetime"
        | "timezone"
        | "usesslstream"
        | "writebuffersize"
        | "writecoalescingbufferthresholdbytes"
        | "integratedsecurity" => Key::Ignored,
        "sslpassword" | "requireauth" => Key::Unsupported,
        _ => return None,
    })
}
