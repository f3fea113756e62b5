//! Which calls are timed: two looks at the clock cost a tenth of a short one.
//!
//! Owns: [`Sampling`], of one instance. Must not: know the clock; it is told when messages came.

/// Calls that the time of one stands for at most.
const STRIDE: u64 = 16;

/// The first call for what came in a millisecond is timed, and of the others one in 16. So every call of a plugin that is
/// rarely called is timed, and a busy one is measured by so many that it makes no difference.
#[derive(Debug, Default)]
pub(crate) struct Sampling {
    /// The millisecond of the last call.
    at_ms: Option<u64>,
    /// Calls since the last that was timed.
    untimed: u64,
}

impl Sampling {
    /// A call begins for what came in this millisecond: how many its time stands for, if it is to be timed.
    pub(crate) fn next(&mut self, received_ms: u64) -> Option<u64> {
        self.untimed += 1;
        if self.at_ms == Some(received_ms) && self.untimed < STRIDE {
            return None;
        }
        self.at_ms = Some(received_ms);
        Some(std::mem::take(&mut self.untimed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_calls_are_all_timed_and_of_many_one_in_so_many() {
        let mut sampling = Sampling::default();
        assert!((0..5).all(|ms| sampling.next(ms) == Some(1)));
        let busy: Vec<_> = (0..2 * STRIDE).map(|_| sampling.next(4)).collect();
        let timed: Vec<_> = busy.iter().flatten().collect();
        assert_eq!(timed, [&STRIDE, &STRIDE]);
        assert_eq!(busy.last(), Some(&Some(STRIDE)));
        assert_eq!(sampling.next(4), None);
        assert_eq!(sampling.next(5), Some(2), "with the one that was not");
    }
}
