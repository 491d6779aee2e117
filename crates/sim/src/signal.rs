//! The value of a sensor that nothing happens to: a walk that is drawn back to its mean, plus noise, in the steps of the instrument.
//!
//! Pure and repeatable. Start at [`Signal::sample`].

use crate::rng::Rng;

/// A mean-reverting walk.
#[derive(Clone, Debug)]
pub struct Signal {
    /// Where it is drawn to.
    pub mean: f64,
    /// It never leaves mean ± spread.
    pub spread: f64,
    /// Decimals of the instrument, 0 to 6.
    pub decimals: u8,
    /// Current level before noise, as an offset from the mean.
    level: f64,
    rng: Rng,
}

impl Signal {
    /// A walk around `mean` that never leaves `mean ± spread`.
    pub fn new(mean: f64, spread: f64, decimals: u8, mut rng: Rng) -> Self {
        let level = spread * 0.2 * rng.normal();
        Self { mean, spread, decimals, level, rng }
    }

    /// The next sample. One call is one sampling period, whatever its length.
    pub fn sample(&mut self) -> f64 {
        // A pull of 5 % a sample keeps slow trends of some twenty samples, as temperatures and levels have.
        self.level += -0.05 * self.level + self.spread * 0.06 * self.rng.normal();
        let noisy = self.level + self.spread * 0.03 * self.rng.normal();
        quantize(self.mean + noisy.clamp(-self.spread, self.spread), self.decimals)
    }
}

/// `value` in steps of 10^-decimals. Dividing a whole number gives the nearest double of the decimal text; multiplying would not.
pub fn quantize(value: f64, decimals: u8) -> f64 {
    let scale = 10_f64.powi(i32::from(decimals.min(6)));
    (value * scale).round() / scale + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_in_its_band_and_moves() {
        let mut signal = Signal::new(40.0, 3.0, 1, Rng::named(3, "s"));
        let values: Vec<f64> = (0..5_000).map(|_| signal.sample()).collect();
        assert!(values.iter().all(|v| (37.0..=43.0).contains(v)));
        assert!(values.windows(2).filter(|w| w[0] != w[1]).count() > 2_500);
    }

    #[test]
    fn a_quantized_value_prints_with_its_decimals_only() {
        assert_eq!(quantize(0.1 + 0.2, 1).to_string(), "0.3");
        assert_eq!(quantize(-0.04, 1).to_string(), "0", "no negative zero");
    }
}
