//! The nodes of a trie and the edges between them, packed.
//!
//! Owns: [`Nodes`]. Nodes lie in blocks and edges in many small tables, so that growing never moves all of them at once:
//! a million subscriptions do not make the million-and-first wait. An edge is the child's number; what leads to it is
//! in the child.

use super::level::Level;
use super::subscribers::Subscribers;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use std::num::NonZeroU32;

/// Nodes of one block.
const BLOCK: usize = 4096;
/// Tables that the edges are divided among.
const TABLES: usize = 256;

/// The root's number.
pub(super) const ROOT: u32 = 0;

#[derive(Debug)]
pub(super) struct Node<V> {
    /// The level that leads here.
    level: Level,
    parent: u32,
    children: u32,
    plus: Option<NonZeroU32>,
    /// Subscribers whose filter ends here.
    pub(super) here: Subscribers<V>,
    /// Subscribers whose filter ends here with `#`.
    pub(super) below: Subscribers<V>,
}

impl<V> Node<V> {
    fn new(parent: u32, level: &str) -> Self {
        Self {
            level: Level::new(level),
            parent,
            children: 0,
            plus: None,
            here: Subscribers::None,
            below: Subscribers::None,
        }
    }

    fn is_unused(&self) -> bool {
        self.children == 0 && self.here.is_empty() && self.below.is_empty()
    }

    /// Where `+` leads.
    pub(super) fn plus(&self) -> Option<u32> {
        self.plus.map(NonZeroU32::get)
    }
}

#[derive(Debug)]
pub(super) struct Nodes<V> {
    blocks: Vec<Vec<Node<V>>>,
    free: Vec<u32>,
    edges: Box<[HashTable<u32>]>,
    hasher: RandomState,
}

/// Block and place of a node.
fn split(at: u32) -> (usize, usize) {
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    (at / BLOCK, at % BLOCK)
}

/// The table of an edge: other bits of the hash than those the table itself looks at first.
fn table(hash: u64) -> usize {
    usize::try_from(hash >> 40).unwrap_or(0) % TABLES
}

impl<V> Nodes<V> {
    /// The root alone.
    pub(super) fn new() -> Self {
        Self {
            blocks: vec![vec![Node::new(ROOT, "")]],
            free: Vec::new(),
            edges: std::iter::repeat_with(HashTable::new)
                .take(TABLES)
                .collect(),
            hasher: RandomState::default(),
        }
    }

    pub(super) fn get(&self, at: u32) -> Option<&Node<V>> {
        let (block, place) = split(at);
        self.blocks.get(block)?.get(place)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut Node<V>> {
        let (block, place) = split(at);
        self.blocks.get_mut(block)?.get_mut(place)
    }

    /// The node that a level of a filter leads to.
    pub(super) fn child(&self, at: u32, level: &str) -> Option<u32> {
        if level == "+" {
            return self.get(at)?.plus();
        }
        self.edge(at, level)
    }

    /// The node that a level of a topic leads to, `+` not counted.
    pub(super) fn edge(&self, at: u32, level: &str) -> Option<u32> {
        if self.get(at)?.children == 0 {
            return None;
        }
        let level = level.as_bytes();
        let hash = self.hasher.hash_one((at, level));
        let is_it = |child: &u32| {
            let child = self.get(*child);
            child.is_some_and(|child| child.parent == at && child.level.as_bytes() == level)
        };
        self.edges.get(table(hash))?.find(hash, is_it).copied()
    }

    pub(super) fn child_or_insert(&mut self, at: u32, level: &str) -> u32 {
        if let Some(child) = self.child(at, level) {
            return child;
        }
        let child = self.add(Node::new(at, level));
        if let Some(parent) = self.get_mut(at) {
            parent.children += 1;
            if level == "+" {
                parent.plus = NonZeroU32::new(child);
            }
        }
        if level != "+" {
            let Self {
                blocks,
                edges,
                hasher,
                ..
            } = self;
            let hash = hasher.hash_one((at, level.as_bytes()));
            let hash_of = |child: &u32| {
                let (block, place) = split(*child);
                let child = blocks.get(block).and_then(|block| block.get(place));
                child.map_or(0, |child| {
                    hasher.hash_one((child.parent, child.level.as_bytes()))
                })
            };
            if let Some(edges) = edges.get_mut(table(hash)) {
                edges.insert_unique(hash, child, hash_of);
            }
        }
        child
    }

    fn add(&mut self, node: Node<V>) -> u32 {
        if let Some(at) = self.free.pop() {
            if let Some(slot) = self.get_mut(at) {
                *slot = node;
            }
            return at;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::new());
        }
        let full = (self.blocks.len() - 1) * BLOCK;
        let Some(block) = self.blocks.last_mut() else {
            return ROOT; // there is one: it was pushed
        };
        block.push(node);
        u32::try_from(full + block.len() - 1).unwrap_or(u32::MAX)
    }

    /// Gives back nodes nobody uses any more, from one of them upwards.
    pub(super) fn prune(&mut self, mut at: u32) {
        while at != ROOT {
            let Some(node) = self.get_mut(at).filter(|node| node.is_unused()) else {
                return;
            };
            let parent = node.parent;
            let level = std::mem::replace(&mut node.level, Level::new(""));
            let is_plus = level.as_bytes() == b"+";
            if !is_plus {
                let hash = self.hasher.hash_one((parent, level.as_bytes()));
                let edges = self.edges.get_mut(table(hash));
                let edge =
                    edges.and_then(|edges| edges.find_entry(hash, |child| *child == at).ok());
                if let Some(edge) = edge {
                    edge.remove();
                }
            }
            self.free.push(at);
            if let Some(node) = self.get_mut(parent) {
                node.children -= 1;
                if is_plus {
                    node.plus = None;
                }
            }
            at = parent;
        }
    }

    /// Edges that lead anywhere.
    #[cfg(test)]
    pub(super) fn edges(&self) -> usize {
        self.edges.iter().map(HashTable::len).sum()
    }
}
