//! `resource.Quantity`: numbers with a suffix, as in `500m`, `2Gi`, `1e3`.
//!
//! A value is whole nano-units in an `i128`; anything finer is rounded away from zero, as Kubernetes
//! does. Binary suffixes saturate at 2⁶³ − 1 units. Leaves out the text a quantity was written with:
//! what is printed is always the canonical form.

use std::fmt;

/// Nano-units in one unit.
pub const NANO: i128 = 1_000_000_000;
/// Longest text read; longer numbers exceed every range.
pub const TEXT_MAX: usize = 128;

/// Which family of suffixes a quantity was written with, and is printed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `1e3`.
    DecimalExponent,
    /// `1Ki`.
    BinarySi,
    /// `1k`, `1m`, and no suffix.
    DecimalSi,
}

/// A quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    nanos: i128,
    format: Format,
}

/// Why a text is not a quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something else than digits and a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// An unknown suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: [(&str, i64); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

/// The parts of a text: sign, digits before and after the point, suffix.
fn parts(text: &str) -> Result<(bool, &str, &str, &str), Error> {
    let negative = text.starts_with('-');
    let rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = |t: &str| t.len() - t.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (whole, rest) = rest.split_at(digits(rest));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let tail = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let tail = tail.strip_prefix(['+', '-']).unwrap_or(tail);
    if text.is_empty() || text.len() > TEXT_MAX || !tail.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Error::Format);
    }
    Ok((negative, whole, fraction, suffix))
}

/// `digits` × 2^`two` × 10^`ten`, rounded up, saturating.
fn scale(digits: &str, two: u32, ten: i64) -> i128 {
    let mut value: i128 = 0;
    for digit in digits.bytes() {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(i128::from(digit - b'0')));
        let Some(next) = next else { return i128::MAX };
        value = next;
    }
    if value == 0 {
        return 0;
    }
    let Some(value) = value.checked_mul(1_i128 << two) else { return i128::MAX };
    let power = u32::try_from(ten.unsigned_abs()).ok().and_then(|e| 10_i128.checked_pow(e));
    match (ten >= 0, power) {
        (true, Some(power)) => value.checked_mul(power).unwrap_or(i128::MAX),
        (true, None) => i128::MAX,
        (false, Some(power)) => value / power + i128::from(value % power != 0),
        (false, None) => 1,
    }
}

impl Quantity {
    /// From nano-units, to be printed with `format`'s suffixes.
    pub const fn from_nanos(nanos: i128, format: Format) -> Quantity {
        Quantity { nanos, format }
    }
    /// Reads a quantity.
    pub fn parse(text: &str) -> Result<Quantity, Error> {
        let (negative, whole, fraction, suffix) = parts(text)?;
        let (two, exponent, format) = if let Some(i) = BINARY.iter().position(|s| *s == suffix) {
            (10 * (i as u32 + 1), 0, Format::BinarySi)
        } else if let Some((_, exponent)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
            (0, *exponent, Format::DecimalSi)
        } else {
            let exponent = suffix.strip_prefix(['e', 'E']).and_then(|e| e.parse::<i64>().ok());
            (0, exponent.ok_or(Error::Suffix)?, Format::DecimalExponent)
        };
        let ten = 9_i64.saturating_add(exponent).saturating_sub(fraction.len() as i64);
        let mut nanos = scale(&format!("{whole}{fraction}"), two, ten);
        if format == Format::BinarySi {
            nanos = nanos.min(i128::from(i64::MAX) * NANO);
        }
        Ok(Quantity { nanos: if negative { -nanos } else { nanos }, format })
    }
    /// In nano-units.
    pub const fn nanos(self) -> i128 {
        self.nanos
    }
    /// In whole units, rounded away from zero.
    pub const fn units(self) -> i128 {
        let down = self.nanos / NANO;
        if self.nanos % NANO == 0 { down } else { down + self.nanos.signum() }
    }
    /// Its suffixes' family.
    pub const fn format(self) -> Format {
        self.format
    }
    /// Rounded away from zero to whole milli-units, as the API server stores amounts of resources.
    pub const fn rounded_to_millis(self) -> Quantity {
        let milli = NANO / 1000;
        let down = self.nanos / milli;
        let up = if self.nanos % milli == 0 { down } else { down + self.nanos.signum() };
        Quantity { nanos: up.saturating_mul(milli), format: self.format }
    }
}

/// The canonical form: no fraction, the largest suffix that loses nothing.
impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nanos == 0 {
            return f.write_str("0");
        }
        let small = self.nanos.abs() < 1024 * NANO;
        if self.format == Format::BinarySi && !small && self.nanos % NANO == 0 {
            let mut units = self.nanos / NANO;
            let mut power = 0;
            while units % 1024 == 0 && power < BINARY.len() {
                units /= 1024;
                power += 1;
            }
            let suffix = if power == 0 { "" } else { BINARY[power - 1] };
            return write!(f, "{units}{suffix}");
        }
        let (mut mantissa, mut exponent) = (self.nanos, -9_i64);
        while mantissa % 1000 == 0 && exponent < 18 {
            mantissa /= 1000;
            exponent += 3;
        }
        if self.format == Format::DecimalExponent {
            return if exponent == 0 { write!(f, "{mantissa}") } else { write!(f, "{mantissa}e{exponent}") };
        }
        let suffix = DECIMAL.iter().find(|(_, e)| *e == exponent).map_or("", |(s, _)| s);
        write!(f, "{mantissa}{suffix}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_and_print() {
        for (text, canonical) in [
            ("1.5Gi", "1536Mi"),
            ("0.1", "100m"),
            ("1000m", "1"),
            ("1e3", "1e3"),
            ("1.024Ki", "1048576m"),
            ("m", "0"),
            ("1E", "1E"),
            ("0.5m", "500u"),
            ("0.1n", "1n"),
            ("93.857Ei", "9223372036854775807"),
            ("-2k", "-2k"),
        ] {
            assert_eq!(Quantity::parse(text).unwrap().to_string(), canonical, "{text}");
        }
        assert_eq!(Quantity::parse("1 "), Err(Error::Format));
        assert_eq!(Quantity::parse("1ki"), Err(Error::Suffix));
        assert_eq!(Quantity::parse("100u").unwrap().rounded_to_millis().to_string(), "1m");
    }
}
