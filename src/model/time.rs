//! Points in time and lengths of time, as numbers and as words. Pure.

use std::time::Duration;

use jiff::Timestamp;

/// Seconds since 1970 with their fraction, as Prometheus writes time.
pub fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

/// How old `then` is at `now`; nothing is older than the future.
pub fn age(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// How long ago something was.
pub fn ago(now: Timestamp, then: Timestamp) -> String {
    let age = age(now, then);
    if age < Duration::from_secs(1) { "just now".to_owned() } else { format!("{} ago", length(age)) }
}

/// A duration as people write it.
pub fn length(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{} ms", duration.as_millis()),
        seconds if seconds < 10.0 => format!("{} s", (seconds * 10.0).round() / 10.0),
        seconds if seconds < 120.0 => format!("{} s", seconds.round()),
        seconds if seconds < 7_200.0 => format!("{} min", (seconds / 60.0).round()),
        seconds if seconds < 172_800.0 => format!("{} h", (seconds / 3_600.0).round()),
        seconds => format!("{} days", (seconds / 86_400.0).round()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_people_write_them() {
        let table: &[(u64, &str)] = &[
            (0, "0 ms"),
            (4, "4 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (15_100, "15 s"),
            (90_000, "90 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (93_600_000, "26 h"),
            (172_800_000, "2 days"),
        ];
        for (millis, words) in table {
            assert_eq!(length(Duration::from_millis(*millis)), *words);
        }
    }
}
