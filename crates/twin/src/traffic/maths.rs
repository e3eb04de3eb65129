//! e^x by arithmetic alone, so that the same input gives the same bits on every machine: a library's last bit differs.

/// ln 2 in two parts: the first has so few bits that whole multiples of it are exact.
const LN_2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;
/// Below this e^x is taken to be 0 (the least normal number is e^−708.4), above the other it is infinite.
const LEAST: f64 = -708.0;
const MOST: f64 = 709.0;
/// Terms of the series: for |r| ≤ ln 2 / 2 the seventeenth is below 1e-22.
const TERMS: u32 = 16;

/// e^x; the relative error is below 1e-14.
pub(super) fn exp(x: f64) -> f64 {
    if x.is_nan() || x > MOST {
        return if x.is_nan() { x } else { f64::INFINITY };
    }
    if x < LEAST {
        return 0.0;
    }
    // x = k ln 2 + r
    let k = (x / std::f64::consts::LN_2).round();
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let series = (1..=TERMS).rev().fold(1.0, |sum, n| 1.0 + r / f64::from(n) * sum);
    // k lies between −1022 and 1023, so that this is a normal number.
    let power = f64::from_bits(((k as i64 + 1023) as u64) << 52);
    series * power
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_is_the_exponential() {
        for step in -70_000..70_000 {
            let x = f64::from(step) / 100.0;
            let library = x.exp();
            assert!((exp(x) - library).abs() <= 1e-14 * library, "{x}: {} {library}", exp(x));
        }
        assert_eq!((exp(0.0), exp(-1e9), exp(f64::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(1e9).is_infinite() && exp(f64::NAN).is_nan());
    }
}
