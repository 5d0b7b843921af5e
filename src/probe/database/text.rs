//! Values of any common PostgreSQL type as comparable values. Source: PostgreSQL documentation, "Frontend/Backend
//! Protocol", and the binary `send` functions of the types.

use std::error::Error;

use jiff::Timestamp;
use serde_json::{Number, Value};
use tokio_postgres::types::{FromSql, Kind, Type};

use crate::probe::expect::from_seconds;

/// 2000-01-01T00:00:00Z, from which PostgreSQL counts, in microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// A value as JSON: numbers stay numbers, points in time become RFC 3339 text.
#[derive(Clone, Debug, PartialEq)]
pub struct Text(pub Value);

impl<'a> FromSql<'a> for Text {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        if let Kind::Enum(_) = kind.kind() {
            return Ok(Text(Value::String(std::str::from_utf8(raw)?.to_owned())));
        }
        let value = match *kind {
            Type::BOOL => Value::Bool(bool::from_sql(kind, raw)?),
            Type::INT2 => i16::from_sql(kind, raw)?.into(),
            Type::INT4 => i32::from_sql(kind, raw)?.into(),
            Type::INT8 => i64::from_sql(kind, raw)?.into(),
            Type::OID => u32::from_sql(kind, raw)?.into(),
            Type::FLOAT4 => number(f32::from_sql(kind, raw)?.to_string()),
            Type::FLOAT8 => number(f64::from_sql(kind, raw)?.to_string()),
            Type::NUMERIC => number(numeric(raw).ok_or("not a numeric")?),
            Type::TIMESTAMP | Type::TIMESTAMPTZ => moment(i64::from_be_bytes(raw.try_into()?))?,
            Type::DATE => moment(i64::from(i32::from_be_bytes(raw.try_into()?)).saturating_mul(DAY_MICROS))?,
            Type::UUID => Value::String(uuid(raw).ok_or("not a uuid")?),
            Type::JSON => serde_json::from_slice(raw)?,
            Type::JSONB => serde_json::from_slice(raw.strip_prefix(&[1]).ok_or("another version of jsonb")?)?,
            _ => Value::String(<&str>::from_sql(kind, raw)?.to_owned()),
        };
        Ok(Text(value))
    }

    fn accepts(kind: &Type) -> bool {
        let known = [
            Type::BOOL,
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::OID,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::TIMESTAMP,
            Type::TIMESTAMPTZ,
            Type::DATE,
            Type::UUID,
            Type::JSON,
            Type::JSONB,
        ];
        known.contains(kind) || matches!(kind.kind(), Kind::Enum(_)) || <&str as FromSql>::accepts(kind)
    }
}

/// A number that JSON can hold, else its text (`NaN`, infinities).
fn number(text: String) -> Value {
    text.parse::<Number>().map_or(Value::String(text), Value::Number)
}

/// Infinity is the end of the range in both directions, and a text.
fn moment(since_2000: i64) -> Result<Value, Box<dyn Error + Sync + Send>> {
    match since_2000 {
        i64::MAX => Ok(Value::String("infinity".to_owned())),
        i64::MIN => Ok(Value::String("-infinity".to_owned())),
        micros => {
            let since_1970 = micros.checked_add(EPOCH_MICROS).ok_or("out of range")?;
            Ok(Value::String(Timestamp::from_microsecond(since_1970)?.to_string()))
        }
    }
}

/// `numeric` in its binary form: digits to the base of 10000, a weight, a sign and a display scale.
fn numeric(raw: &[u8]) -> Option<String> {
    let mut words = raw.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (count, weight) = (usize::from(words.next()?), i32::from(words.next()? as i16));
    let (sign, scale) = (words.next()?, usize::from(words.next()?));
    let digits: Vec<u16> = words.take(count).collect();
    match sign {
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let digit =
        |place: i32| usize::try_from(place).ok().and_then(|place| digits.get(place)).copied().unwrap_or(0);
    let whole: String = (0..=weight).map(|place| format!("{:04}", digit(place))).collect();
    let whole = whole.trim_start_matches('0');
    let behind: String =
        (1..=scale.div_ceil(4)).map(|place| format!("{:04}", digit(weight + place as i32))).collect();
    let mut text = if sign == 0x4000 { "-".to_owned() } else { String::new() };
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.push_str(behind.get(..scale)?);
    }
    Some(text)
}

fn uuid(raw: &[u8]) -> Option<String> {
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..32)?];
    Some(parts.join("-"))
}

/// A point in time, written as RFC 3339 or as PostgreSQL does, as a date, or as seconds since 1970.
pub fn as_moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Number(number) => from_seconds(number.as_f64()?),
        Value::String(text) => {
            let zoned = text.parse::<Timestamp>().ok();
            // Without an offset it is taken as UTC, which is what a server in UTC means.
            let civil = || text.parse::<jiff::civil::DateTime>().ok();
            zoned.or_else(|| jiff::tz::Offset::UTC.to_timestamp(civil()?).ok())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn numeric_of(weight: i16, sign: u16, scale: u16, digits: &[u16]) -> Option<String> {
        let head = [digits.len() as u16, weight as u16, sign, scale];
        let raw: Vec<u8> = head.iter().chain(digits).flat_map(|word| word.to_be_bytes()).collect();
        numeric(&raw)
    }

    #[test]
    fn numerics_read_as_postgres_writes_them() {
        // As sent by PostgreSQL 15 for: 0, 1, 12345.678, -0.001, 100000000, 0.00000001, NaN.
        assert_eq!(numeric_of(0, 0, 0, &[]).unwrap(), "0");
        assert_eq!(numeric_of(0, 0, 0, &[1]).unwrap(), "1");
        assert_eq!(numeric_of(1, 0, 3, &[1, 2345, 6780]).unwrap(), "12345.678");
        assert_eq!(numeric_of(-1, 0x4000, 3, &[10]).unwrap(), "-0.001");
        assert_eq!(numeric_of(2, 0, 0, &[1]).unwrap(), "100000000");
        assert_eq!(numeric_of(-2, 0, 8, &[1]).unwrap(), "0.00000001");
        assert_eq!(numeric_of(0, 0xC000, 0, &[]).unwrap(), "NaN");
        assert_eq!(numeric(&[0, 1]), None);
    }

    #[test]
    fn moments_are_understood_in_the_ways_people_store_them() {
        let expected: Timestamp = "2024-12-18T14:22:03Z".parse().unwrap();
        for value in [
            json!("2024-12-18T14:22:03Z"),
            json!("2024-12-18 14:22:03+00"),
            json!("2024-12-18T15:22:03+01:00"),
            json!("2024-12-18 14:22:03"),
            json!(1_734_531_723),
            json!(1_734_531_723.0),
        ] {
            assert_eq!(as_moment(&value), Some(expected), "{value}");
        }
        for value in [json!("soon"), json!(true), json!(null), json!(f64::MAX)] {
            assert_eq!(as_moment(&value), None, "{value}");
        }
        assert_eq!(moment(0).unwrap(), json!("2000-01-01T00:00:00Z"));
        assert_eq!(moment(i64::MAX).unwrap(), json!("infinity"));
    }
}
