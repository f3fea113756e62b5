//! Subscribers of one filter.
//!
//! Owns: [`Subscribers`]. Most filters have one subscriber, so one takes no allocation; many are dense for the walk,
//! and indexed once looking through them would take long.

use foldhash::HashMap;

/// From so many subscribers of one filter on they are indexed.
const INDEX_FROM: usize = 16;

/// Who subscribed, with the value of each.
#[derive(Debug, Default)]
pub(super) enum Subscribers<V> {
    #[default]
    None,
    One((u32, V)),
    Many(Box<Many<V>>),
}

#[derive(Debug)]
pub(super) struct Many<V> {
    list: Vec<(u32, V)>,
    /// Places in `list`; empty while there are few.
    places: HashMap<u32, u32>,
}

fn place(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl<V> Subscribers<V> {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn list(&self) -> &[(u32, V)] {
        match self {
            Self::None => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => &many.list,
        }
    }

    pub(super) fn get(&self, key: u32) -> Option<&V> {
        let entry = match self {
            Self::Many(many) => many.list.get(many.find(key)?)?,
            few => few.list().iter().find(|(known, _)| *known == key)?,
        };
        Some(&entry.1)
    }

    /// The old value.
    pub(super) fn insert(&mut self, key: u32, value: V) -> Option<V> {
        *self = match std::mem::take(self) {
            Self::None => Self::One((key, value)),
            Self::One((known, old)) if known == key => {
                *self = Self::One((key, value));
                return Some(old);
            }
            Self::One(first) => Self::Many(Box::new(Many {
                list: vec![first, (key, value)],
                places: HashMap::default(),
            })),
            Self::Many(mut many) => {
                let old = many.insert(key, value);
                *self = Self::Many(many);
                return old;
            }
        };
        None
    }

    pub(super) fn remove(&mut self, key: u32) -> Option<V> {
        match std::mem::take(self) {
            Self::One((known, value)) if known == key => Some(value),
            Self::Many(mut many) => {
                let removed = many.remove(key);
                *self = match many.list.len() {
                    0 => Self::None,
                    1 => many.list.pop().map_or(Self::None, Self::One),
                    _ => Self::Many(many),
                };
                removed
            }
            other => {
                *self = other;
                None
            }
        }
    }
}

impl<V> Many<V> {
    fn find(&self, key: u32) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|(known, _)| *known == key);
        }
        let place = self.places.get(&key)?;
        usize::try_from(*place).ok()
    }

    fn insert(&mut self, key: u32, value: V) -> Option<V> {
        if let Some(slot) = self.find(key).and_then(|at| self.list.get_mut(at)) {
            return Some(std::mem::replace(&mut slot.1, value));
        }
        self.list.push((key, value));
        if self.list.len() == INDEX_FROM {
            let keys = self.list.iter().map(|(key, _)| *key);
            self.places = keys.zip(0..).collect();
        } else if self.list.len() > INDEX_FROM {
            self.places.insert(key, place(self.list.len() - 1));
        }
        None
    }

    fn remove(&mut self, key: u32) -> Option<V> {
        let at = self.find(key)?;
        let (_, value) = self.list.swap_remove(at);
        if self.list.len() < INDEX_FROM {
            self.places = HashMap::default();
        } else {
            self.places.remove(&key);
            if let Some((moved, _)) = self.list.get(at) {
                self.places.insert(*moved, place(at));
            }
        }
        Some(value)
    }
}
