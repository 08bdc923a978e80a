//! Numbers that look random and are the same in every run.

/// A linear congruential generator.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Makes dice that fall differently for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number from 0 up to `sides`, exclusive.
    pub fn roll(&mut self, sides: usize) -> usize {
        // The constants are those of Knuth's MMIX; the lower bits repeat too soon to be used.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}
