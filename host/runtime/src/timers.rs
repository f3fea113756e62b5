//! Timers of plugins: one thread and one heap for all of them.
//!
//! Owns: [`Clock`], which fires; [`Timers`], one plugin's handle, bounded in number.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Timers that were taken back and are still in the heap, beyond twice the living ones.
const SLACK: usize = 1000;
/// The longest delay: about 136 years.
const LONGEST: Duration = Duration::from_secs(u32::MAX as u64);

/// What is called when a timer falls due: name of the plugin, token, when it was due.
pub(crate) type Fire = Box<dyn Fn(&str, u64, Instant) + Send>;

/// When, of which plugin, token, number.
type Due = (Instant, Arc<str>, u64, u64);

#[derive(Default)]
struct Table {
    /// A number that is not in `alive` was taken back or replaced.
    heap: BinaryHeap<Reverse<Due>>,
    alive: HashMap<(Arc<str>, u64), u64>,
    counts: HashMap<Arc<str>, usize>,
    next: u64,
    is_closing: bool,
}

#[derive(Default)]
struct Shared {
    table: Mutex<Table>,
    changed: Condvar,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread; it ends when this is dropped.
pub(crate) struct Clock {
    shared: Arc<Shared>,
}

impl Clock {
    pub(crate) fn start(fire: Fire) -> std::io::Result<Self> {
        let shared: Arc<Shared> = Arc::default();
        let for_thread = shared.clone();
        std::thread::Builder::new()
            .name("plugin-timers".to_owned())
            .spawn(move || run(&for_thread, &fire))?;
        Ok(Self { shared })
    }

    /// The timers of one plugin, so many at most.
    pub(crate) fn timers(&self, plugin: &str, maximum: usize) -> Timers {
        Timers {
            plugin: plugin.into(),
            maximum,
            shared: self.shared.clone(),
        }
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.shared.table().is_closing = true;
        self.shared.changed.notify_all();
    }
}

fn run(shared: &Shared, fire: &Fire) {
    let mut table = shared.table();
    while !table.is_closing {
        let now = Instant::now();
        let next = table.heap.peek().map(|Reverse((due, ..))| *due);
        match next {
            Some(due) if due <= now => {
                let Some(Reverse((due, plugin, token, number))) = table.heap.pop() else {
                    continue;
                };
                if table.forget(&plugin, token, Some(number)) {
                    drop(table);
                    fire(&plugin, token, due); // without the lock: it may set another one
                    table = shared.table();
                }
            }
            Some(due) => {
                let waited = shared.changed.wait_timeout(table, due - now);
                table = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                let waited = shared.changed.wait(table);
                table = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
    }
}

impl Table {
    /// Takes a timer out, if it is there and (where one is given) still of this number.
    fn forget(&mut self, plugin: &Arc<str>, token: u64, number: Option<u64>) -> bool {
        let key = (plugin.clone(), token);
        let known = self.alive.get(&key).copied();
        if known.is_none_or(|known| number.is_some_and(|number| number != known)) {
            return false;
        }
        self.alive.remove(&key);
        if let Some(count) = self.counts.get_mut(plugin) {
            *count -= 1;
        }
        true
    }

    /// Replaced and cancelled timers stay in the heap until they are due: beyond twice the living it is built anew.
    fn tidy(&mut self) {
        if self.heap.len() > 2 * self.alive.len() + SLACK {
            let alive = &self.alive;
            self.heap.retain(|Reverse((_, plugin, token, number))| {
                alive.get(&(plugin.clone(), *token)) == Some(number)
            });
        }
    }
}

/// The timers of one plugin.
#[derive(Clone)]
pub(crate) struct Timers {
    plugin: Arc<str>,
    maximum: usize,
    shared: Arc<Shared>,
}

impl Timers {
    /// Timers that never fire.
    pub(crate) fn none() -> Self {
        Self {
            plugin: "".into(),
            maximum: SLACK,
            shared: Arc::default(),
        }
    }

    /// Fires `token` after so many milliseconds; false if the plugin has as many as it may.
    pub(crate) fn after(&self, token: u64, delay_ms: u64) -> bool {
        let now = Instant::now();
        let due = now + Duration::from_millis(delay_ms).min(LONGEST);
        let mut table = self.shared.table();
        table.forget(&self.plugin, token, None);
        let count = table.counts.entry(self.plugin.clone()).or_default();
        if *count >= self.maximum {
            return false;
        }
        *count += 1;
        table.next += 1;
        let number = table.next;
        table.alive.insert((self.plugin.clone(), token), number);
        table
            .heap
            .push(Reverse((due, self.plugin.clone(), token, number)));
        table.tidy();
        self.shared.changed.notify_all();
        true
    }

    /// Takes a timer back; whether it had not fired.
    pub(crate) fn cancel(&self, token: u64) -> bool {
        self.shared.table().forget(&self.plugin, token, None)
    }

    /// Takes all of the plugin's timers back.
    pub(crate) fn clear(&self) {
        let mut table = self.shared.table();
        let plugin = &self.plugin;
        table.alive.retain(|(of, _), _| of != plugin);
        table.counts.remove(plugin);
        table.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, channel};

    fn clock() -> (Clock, Receiver<(String, u64)>) {
        let (fired, seen) = channel();
        let fire: Fire = Box::new(move |plugin, token, due| {
            assert!(Instant::now() >= due, "never early");
            fired.send((plugin.to_owned(), token)).unwrap();
        });
        (Clock::start(fire).unwrap(), seen)
    }

    #[test]
    fn timers_fire_in_order_once_replaced_and_taken_back() {
        let (clock, seen) = clock();
        let (a, b) = (clock.timers("a", 9), clock.timers("b", 9));
        assert!(a.after(1, 40) && b.after(1, 20) && a.after(2, 10));
        assert!(a.after(3, 1) && a.cancel(3) && !a.cancel(3));
        assert!(a.after(2, 60), "replaces the one of 10 ms");
        let next = || seen.recv_timeout(Duration::from_secs(10)).unwrap();
        let all = [next(), next(), next()];
        let all: Vec<_> = all.iter().map(|(name, token)| (&**name, *token)).collect();
        assert_eq!(all, [("b", 1), ("a", 1), ("a", 2)]);
        assert!(!a.cancel(2));
    }

    #[test]
    fn a_plugin_has_so_many_and_another_one_its_own() {
        let (clock, _seen) = clock();
        const TIMERS: usize = 100;
        let (a, b) = (clock.timers("a", TIMERS), clock.timers("b", TIMERS));
        for token in 0..u64::try_from(TIMERS).unwrap() {
            assert!(a.after(token, 3_600_000));
        }
        assert!(!a.after(5000, 3_600_000) && b.after(5000, 3_600_000));
        assert!(a.after(7, 1_800_000), "replacing needs no room");
        assert!(a.cancel(8) && a.after(5000, u64::MAX));
        a.clear();
        assert!(a.after(1, 3_600_000));
        for _ in 0..10 * SLACK {
            assert!(a.after(1, 3_600_000));
        }
        assert!(clock.shared.table().heap.len() <= SLACK + 10);
    }
}
