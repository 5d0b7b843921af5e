//! The table of the heartbeat and the statements about it, as text. Pure.

use std::time::Duration;

/// What the server is before anything is written to it.
pub const LOOK: &str = "select pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only'), \
     exists (select from pg_catalog.pg_stat_replication)";

/// One beat: a transaction of its own, in which the server is asked once more whether it replays, that waits for nobody's
/// lock and for no synchronous standby. The time is the server's.
pub fn beat(table: &str, site: &str, within: Duration) -> String {
    let limit = within.as_millis().max(1);
    format!(
        "begin; set local statement_timeout = {limit}; set local lock_timeout = {limit}; set local synchronous_commit = local; \
         insert into {} as beat (site, beat_at) select {}, pg_catalog.clock_timestamp() where not pg_catalog.pg_is_in_recovery() \
         on conflict (site) do update set beat_at = excluded.beat_at returning beat.beat_at; commit",
        quoted(table),
        literal(site),
    )
}

/// What has to be run once, by the owner of the database on its primary.
pub fn ddl(table: &str, writer: &str, reader: &str) -> String {
    let (shown, writer, reader) = (quoted(table), identifier(writer), identifier(reader));
    format!(
        "\
-- The heartbeat: one row for each site, written by dr-exporter on the primary and replicated like everything else. Its age
-- on the standby is how much would be lost. Run this once, as the owner of the database, on the primary.
create table if not exists {shown} (
    site    text primary key,
    beat_at timestamptz not null
) with (fillfactor = 50);
-- The one that writes, on the primary (heartbeat_writer.credentials), and the one that reads, on the standby.
grant select, insert, update on {shown} to {writer};
grant select on {shown} to {reader};
-- Logical replication only: the table has to travel too. Name your publication.
-- alter publication my_publication add table {shown};
"
    )
}

/// A name, or a schema and a name, in quotes.
fn quoted(name: &str) -> String {
    name.split('.').map(identifier).collect::<Vec<_>>().join(".")
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_quotes() {
        let sql = beat("dr.he\"art", "a'b", Duration::from_secs(2));
        assert!(sql.contains("insert into \"dr\".\"he\"\"art\" as beat"), "{sql}");
        assert!(sql.contains("select 'a''b', pg_catalog.clock_timestamp()"), "{sql}");
        assert!(sql.contains("statement_timeout = 2000"), "{sql}");
        assert!(beat("t", "s", Duration::ZERO).contains("statement_timeout = 1;"), "0 would mean no limit");
    }

    #[test]
    fn the_ddl_names_what_it_was_asked_for() {
        let sql = ddl("ops.beat", "writer", "reader");
        for part in [
            "create table if not exists \"ops\".\"beat\" (",
            "update on \"ops\".\"beat\" to \"writer\";",
            "select on \"ops\".\"beat\" to \"reader\";",
        ] {
            assert!(sql.contains(part), "{sql}");
        }
    }
}
