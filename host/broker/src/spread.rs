//! Numbers that every thread counts in a place of its own, and that are added up by whoever looks.
//!
//! Owns: [`Spread`]. A counter that several shards write is a cache line that wanders between their cores, which costs
//! more than most of what is counted.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Places; threads beyond them share.
const PLACES: usize = 8;

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// One `T` for each thread, or for a few of them.
#[derive(Debug, Default)]
pub struct Spread<T>([Line<T>; PLACES]);

fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static PLACE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % PLACES;
    }
    PLACE.with(|place| *place)
}

impl<T> Spread<T> {
    /// That of this thread.
    pub fn mine(&self) -> &T {
        let [first, ..] = &self.0;
        &self.0.get(place()).unwrap_or(first).0
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    #[test]
    fn what_threads_count_adds_up() {
        let count = Spread::<AtomicU64>::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        count.mine().fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        let sum: u64 = count.all().map(|part| part.load(Ordering::Relaxed)).sum();
        assert_eq!(sum, 16_000);
    }
}
