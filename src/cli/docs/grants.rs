//! What a database has to be told once: the role of the exporter with the least it needs. Pure.

/// The script for the role that reads.
pub(super) fn grants(role: &str) -> String {
    let name = format!("\"{}\"", role.replace('"', "\"\""));
    let text = role.replace('\'', "''");
    format!(
        "\
-- The least that dr-exporter needs of PostgreSQL 12 to 18. Run this in each database that it looks at, as its owner or
-- as an administrator, on the primary: a streaming standby gets it from there. It can be run again.
do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = '{text}') then
        create role {name} login;
    end if;
    execute pg_catalog.format('grant connect on database %I to {role_in_format}', pg_catalog.current_database());
end
$$;
-- Its password: \\password {name} in psql, or a certificate or GSSAPI in pg_hba.conf.
-- One connection at a time is all that it opens; a failover may leave an old one for a moment.
alter role {name} connection limit 4;
-- It writes nothing. (The heartbeat is written by another role: dr-exporter docs heartbeat.)
alter role {name} set default_transaction_read_only = on;

-- Replication. Without this pg_stat_wal_receiver, pg_stat_replication and some settings are NULL to it, and what hangs on
-- them is `unknown`, never fine: when the standby last heard, from whom it is fed, which of its settings stop a promotion.
-- A plain role still sees: in recovery or not, replayed and received position, the heartbeat, the system identifier.
grant pg_monitor to {name};
-- Instead of pg_monitor, where that is too much:
-- grant pg_read_all_stats, pg_read_all_settings to {name};

-- The business queries, if they are to run as this role (`credentials`) and not as the application's own. Name the tables.
-- grant usage on schema public to {name};
-- grant select on orders to {name};
",
        role_in_format = name.replace('%', "%%").replace('\'', "''"),
    )
}
