//! The nodes of a trie and the edges between them, packed.
//!
//! Owns: [`Nodes`]. Nodes lie in blocks and edges in many small tables, so that growing never moves all of them at once:
//! a million subscriptions do not make the million-and-first wait. An edge is the child's number; what leads to it is
//! in the child. A node that leads to nothing else has all levels that are left of its filter, its tail: most filters
//! part from all others early, so that a filter is one node and to find it one look at an edge and one at a node.

use super::subscribers::Subscribers;
use crate::short::Short;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;
use std::num::NonZeroU32;

/// Nodes of one block.
const BLOCK: usize = 4096;
/// Tables that the edges are divided among.
const TABLES: usize = 256;

/// A level, or a few: 22 bytes lie in the node.
type Level = Short<22>;

/// The root's number.
pub(super) const ROOT: u32 = 0;

#[derive(Debug)]
pub(super) struct Node<V> {
    /// The level that leads here, and its tail behind that. With a tail there are no children.
    label: Level,
    parent: u32,
    children: u32,
    plus: Option<NonZeroU32>,
    /// Bytes of the level that leads here.
    head: u16,
    /// Subscribers whose filter ends here, or with the tail.
    pub(super) here: Subscribers<V>,
    /// Subscribers whose filter ends here with `#`.
    pub(super) below: Subscribers<V>,
}

impl<V> Node<V> {
    fn new(parent: u32, label: &[u8]) -> Self {
        Self {
            label: Level::new(label),
            parent,
            children: 0,
            plus: None,
            head: u16::try_from(cut(label).0.len()).unwrap_or(u16::MAX), // as long as a filter may be
            here: Subscribers::None,
            below: Subscribers::None,
        }
    }

    fn is_unused(&self) -> bool {
        self.children == 0 && self.here.is_empty() && self.below.is_empty()
    }

    /// The level that leads here.
    fn head(&self) -> &[u8] {
        let label = self.label.as_bytes();
        label.get(..usize::from(self.head)).unwrap_or(label)
    }

    /// Levels behind the one that leads here.
    pub(super) fn tail(&self) -> Option<&[u8]> {
        self.label.as_bytes().get(usize::from(self.head) + 1..)
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

/// The first level of a text and what is behind it.
pub(super) fn cut(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|byte| *byte == b'/') {
        None => (text, None),
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end + 1..)),
    }
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
            blocks: vec![vec![Node::new(ROOT, b"")]],
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
    pub(super) fn child(&self, at: u32, level: &[u8]) -> Option<u32> {
        if level == b"+" {
            return self.get(at)?.plus();
        }
        self.edge(at, level)
    }

    /// The node that a level of a topic leads to, `+` not counted.
    pub(super) fn edge(&self, at: u32, level: &[u8]) -> Option<u32> {
        if self.get(at)?.children == 0 {
            return None;
        }
        let hash = self.hasher.hash_one((at, level));
        let is_it = |child: &u32| {
            let child = self.get(*child);
            child.is_some_and(|child| child.parent == at && child.head() == level)
        };
        self.edges.get(table(hash))?.find(hash, is_it).copied()
    }

    /// The node of a filter, `rest` its levels.
    pub(super) fn find(&self, mut rest: Option<&[u8]>) -> Option<u32> {
        let mut at = ROOT;
        while let Some(text) = rest {
            let (level, behind) = cut(text);
            at = self.child(at, level)?;
            match self.get(at)?.tail() {
                None => rest = behind,
                tail => return (tail == behind).then_some(at),
            }
        }
        Some(at)
    }

    /// The same, made if there is none.
    pub(super) fn find_or_insert(&mut self, mut rest: Option<&[u8]>) -> u32 {
        let mut at = ROOT;
        while let Some(text) = rest {
            let (level, behind) = cut(text);
            let Some(child) = self.child(at, level) else {
                return self.add_child(at, text);
            };
            match self.get(child).and_then(Node::tail) {
                None => {}
                tail if tail == behind => return child,
                Some(_) => self.part(child, behind),
            }
            (at, rest) = (child, behind);
        }
        at
    }

    /// Another filter goes by a node with a tail: what both have becomes nodes of a level each.
    fn part(&mut self, mut at: u32, mut other: Option<&[u8]>) {
        let Some(node) = self.get_mut(at) else { return };
        let head = Level::new(node.head());
        let label = std::mem::replace(&mut node.label, head);
        let (here, below) = (
            std::mem::take(&mut node.here),
            std::mem::take(&mut node.below),
        );
        let Some(mut tail) = cut(label.as_bytes()).1 else {
            return;
        };
        while let ((level, Some(left)), Some((same, behind))) = (cut(tail), other.map(cut))
            && level == same
        {
            at = self.add_child(at, level);
            (tail, other) = (left, behind);
        }
        let leaf = self.add_child(at, tail);
        if let Some(leaf) = self.get_mut(leaf) {
            (leaf.here, leaf.below) = (here, below);
        }
    }

    fn add_child(&mut self, at: u32, label: &[u8]) -> u32 {
        let (level, _) = cut(label);
        let child = self.add(Node::new(at, label));
        if let Some(parent) = self.get_mut(at) {
            parent.children += 1;
            if level == b"+" {
                parent.plus = NonZeroU32::new(child);
            }
        }
        if level != b"+" {
            let Self {
                blocks,
                edges,
                hasher,
                ..
            } = self;
            let hash = hasher.hash_one((at, level));
            let hash_of = |child: &u32| {
                let (block, place) = split(*child);
                let child = blocks.get(block).and_then(|block| block.get(place));
                child.map_or(0, |child| hasher.hash_one((child.parent, child.head())))
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
            let label = std::mem::replace(&mut node.label, Level::new(b""));
            let (level, _) = cut(label.as_bytes());
            let is_plus = level == b"+";
            if !is_plus {
                let hash = self.hasher.hash_one((parent, level));
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
