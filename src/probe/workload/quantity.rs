//! Kubernetes quantities, exactly: `500m`, `1.5Gi`, `2e3`. Pure.
//!
//! The grammar is that of `k8s.io/apimachinery/pkg/api/resource` (`quantity.go`): a decimal number with a binary
//! suffix, a decimal one or an exponent. Nothing is smaller than a nano; what is left is rounded up, away from zero.

use std::fmt;

const NANO: i128 = 1_000_000_000;

/// A quantity in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Quantity(i128);

// === impl Quantity ===

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity(0);

    /// A whole number.
    pub fn whole(number: u32) -> Self {
        Quantity(i128::from(number) * NANO)
    }

    /// What is written, if it is a quantity that fits: everything up to 10⁹ Ei does.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = format!("{whole}{fraction}");
        if digits.is_empty() || fraction.contains('.') {
            return None;
        }
        let (numerator, denominator) = scale(suffix)?;
        let numerator = digits.parse::<i128>().ok()?.checked_mul(numerator)?;
        let denominator = denominator.checked_mul(power(fraction.len())?)?;
        let rest = i128::from(numerator % denominator != 0);
        let nanos = numerator / denominator + rest;
        Some(Quantity(if negative { -nanos } else { nanos }))
    }

    /// The sum, if it fits.
    pub fn plus(self, other: Quantity) -> Option<Self> {
        self.0.checked_add(other.0).map(Quantity)
    }

    /// What is left; below zero, if it is less than nothing.
    pub fn minus(self, other: Quantity) -> Option<Self> {
        self.0.checked_sub(other.0).map(Quantity)
    }

    /// So many times it, if that fits.
    pub fn times(self, number: u32) -> Option<Self> {
        self.0.checked_mul(i128::from(number)).map(Quantity)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantity(nanos) = *self;
        if nanos % NANO != 0 {
            return match nanos % 1_000_000 {
                0 => write!(f, "{}m", nanos / 1_000_000),
                _ => write!(f, "{nanos}n"),
            };
        }
        let number = nanos / NANO;
        let binary = [("Gi", 1 << 30), ("Mi", 1 << 20)];
        match binary.iter().find(|(_, unit)| number != 0 && number % unit == 0) {
            Some((suffix, unit)) => write!(f, "{}{suffix}", number / unit),
            None => write!(f, "{number}"),
        }
    }
}

/// By what a number with that suffix is to be multiplied and divided, to be in billionths.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    let decimal = |exponent: i32| {
        let places = usize::try_from((exponent + 9).unsigned_abs()).ok()?;
        if exponent + 9 >= 0 { Some((power(places)?, 1)) } else { Some((1, power(places)?)) }
    };
    match suffix {
        "Ki" => Some((NANO << 10, 1)),
        "Mi" => Some((NANO << 20, 1)),
        "Gi" => Some((NANO << 30, 1)),
        "Ti" => Some((NANO << 40, 1)),
        "Pi" => Some((NANO << 50, 1)),
        "Ei" => Some((NANO << 60, 1)),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "" => decimal(0),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        _ => {
            let exponent = suffix.strip_prefix(['e', 'E'])?;
            let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() < 100)?;
            decimal(exponent)
        }
    }
}

fn power(exponent: usize) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_exact() {
        let nanos = |text| Quantity::parse(text).map(|Quantity(nanos)| nanos);
        let table: &[(&str, i128)] = &[
            ("0", 0),
            ("1", NANO),
            ("+1", NANO),
            ("-1", -NANO),
            ("1n", 1),
            ("1u", 1_000),
            ("250m", 250_000_000),
            ("0.1", 100_000_000),
            (".5", 500_000_000),
            ("5.", 5 * NANO),
            ("2k", 2_000 * NANO),
            ("1M", 1_000_000 * NANO),
            ("1G", NANO * NANO),
            ("1T", 1_000 * NANO * NANO),
            ("1P", 1_000_000 * NANO * NANO),
            ("1E", NANO * NANO * NANO),
            ("1Ki", 1_024 * NANO),
            ("1.5Gi", 1_610_612_736 * NANO),
            ("8Ei", NANO << 63),
            ("1e3", 1_000 * NANO),
            ("1E3", 1_000 * NANO),
            ("1e+3", 1_000 * NANO),
            ("12e-3", 12_000_000),
            ("1e-12", 1),
            // Less than a nano is rounded up, away from zero.
            ("0.1n", 1),
            ("-0.1n", -1),
            ("1.0000000001", NANO + 1),
        ];
        for (text, expected) in table {
            assert_eq!(nanos(text), Some(*expected), "{text}");
        }
    }

    #[test]
    fn what_is_none_or_does_not_fit_is_not_guessed() {
        for text in ["", "-", ".", "m", "1.2.3", "1 Gi", "1K", "1gi", "1e", "1ee3", "one", "1e99", "1mm", "٣"]
        {
            assert_eq!(Quantity::parse(text), None, "{text}");
        }
        assert_eq!(Quantity::parse(&"9".repeat(40)), None);
        assert!(Quantity::parse("99999999Ei").is_some());
    }

    #[test]
    fn sums_are_exact() {
        let quantity = |text| Quantity::parse(text).unwrap();
        assert_eq!(quantity("0.1").plus(quantity("0.2")), Some(quantity("300m")));
        assert_eq!(quantity("4").minus(quantity("3500m")), Some(quantity("0.5")));
        assert_eq!(quantity("100m").times(3), Some(quantity("300m")));
        assert!(quantity("1023Mi") < quantity("1Gi") && quantity("1G") < quantity("1Gi"));
    }

    #[test]
    fn they_read_as_people_write_them() {
        for (text, shown) in [
            ("0", "0"),
            ("1500m", "1500m"),
            ("2000m", "2"),
            ("512Mi", "512Mi"),
            ("2Gi", "2Gi"),
            ("1k", "1000"),
            ("-500m", "-500m"),
            ("3u", "3000n"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), shown, "{text}");
        }
    }
}
