//! The table of the heartbeat and the statements about it, as text. Pure.

use std::time::Duration;

/// The columns of [`look`]: replays, may not write, feeds another one.
pub const REPLAYS: usize = 3;
/// See [`REPLAYS`].
pub const READ_ONLY: usize = 4;
/// See [`REPLAYS`].
pub const FEEDS: usize = 5;

/// Begins a transaction that waits neither for a lock nor for a synchronous standby, and asks what the server is. Two
/// statements, and two more for the beat: 24 a minute at the default pace.
pub fn look(within: Duration) -> String {
    let limit = within.as_millis().max(1);
    format!(
        "begin; select pg_catalog.set_config('statement_timeout', '{limit}', true), pg_catalog.set_config('lock_timeout', '{limit}', true), \
         pg_catalog.set_config('synchronous_commit', 'local', true), pg_catalog.pg_is_in_recovery(), \
         pg_catalog.current_setting('transaction_read_only'), exists (select from pg_catalog.pg_stat_replication)"
    )
}

/// The beat, in the transaction that [`look`] began. The server is asked once more whether it replays; the time is its own.
pub fn beat(table: &str, site: &str) -> String {
    format!(
        "insert into {} as beat (site, beat_at) select {}, pg_catalog.clock_timestamp() where not pg_catalog.pg_is_in_recovery() \
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
        let sql = beat("dr.he\"art", "a'b");
        assert!(sql.contains("insert into \"dr\".\"he\"\"art\" as beat"), "{sql}");
        assert!(sql.contains("select 'a''b', pg_catalog.clock_timestamp()"), "{sql}");
    }

    #[test]
    fn every_wait_has_an_end() {
        let sql = look(Duration::from_secs(2));
        assert!(sql.contains("'statement_timeout', '2000', true"), "{sql}");
        assert!(look(Duration::ZERO).contains("'lock_timeout', '1', true"), "0 would mean no limit");
        // Everything before the three columns is counted.
        assert_eq!(sql[..sql.find("pg_is_in_recovery").unwrap()].matches("set_config").count(), REPLAYS);
        assert_eq!((READ_ONLY, FEEDS), (REPLAYS + 1, REPLAYS + 2));
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
