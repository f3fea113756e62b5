//! What is known of the values of a window, put together from its parts.
//!
//! Owns: [`Sum`], [`Sums`]. Nothing is ever subtracted: a large value that left a window leaves no error behind.

/// Of the values of one name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sum {
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) first: f64,
    pub(crate) last: f64,
}

/// Of all names, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Sums {
    /// Messages.
    pub(crate) count: u64,
    pub(crate) names: Box<[Sum]>,
}

impl Sums {
    /// Of one message.
    pub(super) fn of(values: &[f64]) -> Self {
        let one = |value: &f64| Sum {
            sum: *value,
            min: *value,
            max: *value,
            first: *value,
            last: *value,
        };
        Self {
            count: 1,
            names: values.iter().map(one).collect(),
        }
    }

    /// With what came after it.
    pub(super) fn then(&self, later: &Self) -> Self {
        let mut both = self.clone();
        both.push(later);
        both
    }

    /// Takes what came after it.
    pub(super) fn push(&mut self, later: &Self) {
        if self.count == 0 {
            self.clone_from(later);
            return;
        }
        if later.count == 0 {
            return;
        }
        self.count += later.count;
        for (one, later) in self.names.iter_mut().zip(&later.names) {
            one.sum += later.sum;
            one.min = one.min.min(later.min);
            one.max = one.max.max(later.max);
            one.last = later.last;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.names)
    }
}
