//! Seeded draws, the same on every machine.

/// A small generator (xorshift64*, S. Vigna 2016).
pub struct Draw(u64);

impl Draw {
    /// The same seed, the same draws.
    pub fn new(seed: u64) -> Draw {
        Draw((seed ^ 0x9E37_79B9_7F4A_7C15).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A whole number below `below`; 0 below 0.
    pub fn below(&mut self, below: usize) -> usize {
        ((u128::from(self.next()) * below as u128) >> 64) as usize
    }

    /// In [0, 1).
    pub fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Exponentially distributed with mean 1. By arithmetic alone (−ln by its series): no library's
    /// logarithm, whose last bit differs between machines.
    pub fn exponential(&mut self) -> f64 {
        let mut x = 1.0 - self.share();
        let mut halvings = 0.0;
        while x < 0.5 {
            x *= 2.0;
            halvings += 1.0;
        }
        // ln x = 2 atanh y with y = (x − 1) / (x + 1), at most a third.
        let y = (x - 1.0) / (x + 1.0);
        let z = y * y;
        let series = 1.0 + z * (1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0 + z / 11.0))));
        halvings * std::f64::consts::LN_2 - 2.0 * y * series
    }

    /// In a drawn order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_spread_as_they_should_be() {
        let mut draw = Draw::new(7);
        let many = 100_000;
        let mean = (0..many).map(|_| draw.exponential()).sum::<f64>() / f64::from(many);
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let above = (0..many).filter(|_| draw.exponential() > 2.0).count() as f64 / f64::from(many);
        assert!((above - (-2f64).exp()).abs() < 0.005, "{above}");
        assert!((0..many).all(|_| draw.below(3) < 3));
        assert_eq!(draw.below(0), 0);
    }
}
