//! What births said: names and datatypes by alias, and where each edge node is in its sequence.
//!
//! Owns: what of it is known, what a message has to be after it, its bytes at a handover. Must not: write JSON.

use crate::payload::{Metric, Payload, Raw};
use crate::topic::Kind;
use crate::wire::{Read, array, put_varint, take, varint};
use std::collections::BTreeMap;
use witmq_sdk::Memory;

/// Bytes that a metric counts besides its name, and a node or a device besides its metrics.
const ENTRY_BYTES: usize = 48;
/// Bytes of the handover, which has to stay below 1 MiB.
const HANDOVER_BYTES: usize = 1_000_000;
/// The form of the handover, so that another one is told apart.
const FORM: u8 = 1;

/// A metric of a birth.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) name: Box<str>,
    pub(crate) datatype: Option<u32>,
    alias: Option<u64>,
}

/// The metrics of one birth.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Table {
    /// In the order of their names.
    metrics: Vec<Known>,
    /// Aliases in their order, and the places of their metrics.
    aliases: Vec<(u64, usize)>,
}

impl Table {
    /// What a birth says.
    pub(crate) fn of(payload: &Payload<'_>) -> Read<Self> {
        let known = |metric: &Metric<'_>| {
            let name = metric.name.ok_or("a metric of a birth has no name")?;
            Ok(Known {
                name: name.into(),
                datatype: metric.datatype,
                alias: metric.alias,
            })
        };
        let metrics: Read<_> = payload.metrics.iter().map(known).collect();
        Self::new(metrics?)
    }

    fn new(mut metrics: Vec<Known>) -> Read<Self> {
        // Of those with one name the last one counts; the sort keeps their order.
        metrics.reverse();
        metrics.sort_by(|one, other| one.name.cmp(&other.name));
        metrics.dedup_by(|later, kept| later.name == kept.name);
        let aliases = metrics.iter().enumerate();
        let mut aliases: Vec<_> = aliases
            .filter_map(|(at, metric)| Some((metric.alias?, at)))
            .collect();
        aliases.sort_unstable();
        let twice = aliases.iter().zip(aliases.iter().skip(1));
        match twice
            .into_iter()
            .find(|((one, _), (other, _))| one == other)
        {
            Some(((alias, _), _)) => Err(format!("the alias {alias} stands for two metrics")),
            None => Ok(Self { metrics, aliases }),
        }
    }

    /// The metric of the birth that this one is.
    pub(crate) fn find(&self, metric: &Metric<'_>) -> Option<&Known> {
        let at = match metric.name {
            Some(name) => self
                .metrics
                .binary_search_by(|known| (*known.name).cmp(name)),
            None => {
                let alias = metric.alias?;
                let at = self
                    .aliases
                    .binary_search_by_key(&alias, |(alias, _)| *alias);
                at.map(|at| self.aliases.get(at).map_or(usize::MAX, |(_, at)| *at))
            }
        };
        self.metrics.get(at.ok()?)
    }

    fn bytes(&self) -> usize {
        let bytes = self
            .metrics
            .iter()
            .map(|known| known.name.len() + ENTRY_BYTES);
        bytes.sum::<usize>() + ENTRY_BYTES
    }
}

/// An edge node and its devices.
#[derive(Clone, Debug, Default, PartialEq)]
struct Node {
    seq: Option<u8>,
    bd_seq: Option<u64>,
    table: Option<Table>,
    devices: BTreeMap<Box<str>, Table>,
}

impl Node {
    fn bytes(&self) -> usize {
        let devices = self.devices.iter();
        let devices = devices.map(|(name, table)| name.len() + table.bytes());
        ENTRY_BYTES + self.table.as_ref().map_or(0, Table::bytes) + devices.sum::<usize>()
    }

    fn table(&self, device: Option<&str>) -> Option<&Table> {
        match device {
            Some(device) => self.devices.get(device),
            None => self.table.as_ref(),
        }
    }
}

/// Why a message does not follow what was there before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    MissingBirth(String),
    Gap(String),
}

/// Whom a message is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'t> {
    pub(crate) kind: Kind,
    /// `{group}/{node}`.
    pub(crate) node: &'t str,
    pub(crate) device: Option<&'t str>,
}

/// All births that are known.
pub(crate) struct Births(Memory<Node>);

impl Births {
    pub(crate) fn new(max_nodes: u32, max_bytes: u32) -> Self {
        let bound = |bound| usize::try_from(bound).unwrap_or(usize::MAX);
        Self(Memory::new(bound(max_nodes), bound(max_bytes)))
    }

    /// How many edge nodes, and bytes of them.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.0.len(), self.0.bytes())
    }

    pub(crate) fn table(&mut self, source: Source<'_>) -> Option<&Table> {
        self.0.get(source.node)?.table(source.device)
    }

    /// What is wrong with a message, before it is taken.
    pub(crate) fn judge(&mut self, source: Source<'_>, payload: &Payload<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let node = self.0.get(source.node).map(|node| &*node);
        match (source.kind, source.device) {
            (Kind::Command, _) => return problems,
            (Kind::Death, None) => {
                let born = node.and_then(|node| node.bd_seq);
                if let (Some(born), Some(dead)) = (born, bd_seq(payload))
                    && born != dead
                {
                    problems.push(Problem::Gap(format!(
                        "bdSeq is {dead}, that of the birth was {born}: the death of an earlier session"
                    )));
                }
                return problems;
            }
            (Kind::Birth, None) => {}
            (kind, device) => {
                // A device is born after its node.
                let needed = device.filter(|_| kind != Kind::Birth);
                if node.and_then(|node| node.table(needed)).is_none() {
                    let name = if needed.is_some() { "DBIRTH" } else { "NBIRTH" };
                    let problem = format!("no {name} of it is known");
                    problems.push(Problem::MissingBirth(problem));
                }
            }
        }
        let is_first = (source.kind, source.device) == (Kind::Birth, None);
        let last = node.and_then(|node| node.seq).filter(|_| !is_first);
        let expected = last.map(|last| last.wrapping_add(1));
        let gap = match (payload.seq, seq(payload), expected) {
            (None, ..) => "it has no seq".to_owned(),
            (Some(seq), None, _) => format!("seq is {seq}, which is beyond 255"),
            (_, Some(seq), Some(expected)) if seq != expected => {
                format!("seq is {seq}, expected was {expected}")
            }
            _ => return problems,
        };
        problems.push(Problem::Gap(gap));
        problems
    }

    /// Takes a message; `table` is that of a birth. Says how many nodes were forgotten for it.
    pub(crate) fn take(
        &mut self,
        source: Source<'_>,
        payload: &Payload<'_>,
        table: Option<Table>,
    ) -> usize {
        let seq = seq(payload);
        match (source.kind, source.device) {
            (Kind::Command, _) => 0,
            (Kind::Data, _) => {
                if let Some(node) = self.0.get(source.node) {
                    node.seq = seq;
                }
                0
            }
            (Kind::Death, None) => {
                let born = self.0.get(source.node).and_then(|node| node.bd_seq);
                let dead = bd_seq(payload);
                if born.is_none() || dead.is_none() || born == dead {
                    self.0.remove(source.node);
                }
                0
            }
            // All devices are to be born again.
            (Kind::Birth, None) => self.put(
                source.node,
                Node {
                    seq,
                    bd_seq: bd_seq(payload),
                    table,
                    devices: BTreeMap::new(),
                },
            ),
            (Kind::Birth, Some(device)) => {
                let mut node = self.0.remove(source.node).unwrap_or_default();
                node.seq = seq;
                node.devices
                    .insert(device.into(), table.unwrap_or_default());
                self.put(source.node, node)
            }
            (Kind::Death, Some(device)) => {
                let Some(mut node) = self.0.remove(source.node) else {
                    return 0;
                };
                node.seq = seq;
                node.devices.remove(device);
                self.put(source.node, node)
            }
        }
    }

    fn put(&mut self, name: &str, node: Node) -> usize {
        let bytes = node.bytes();
        self.0.insert(name, node, bytes)
    }

    /// The handover, the least recently heard node first; how many nodes it has no room for.
    pub(crate) fn encode(&self) -> (Vec<u8>, usize) {
        let nodes: Vec<Vec<u8>> = self
            .0
            .iter()
            .map(|(name, node)| record(name, node))
            .collect();
        let mut room = HANDOVER_BYTES;
        let fitting = nodes.iter().rev().take_while(|node| {
            let rest = room.checked_sub(node.len());
            room = rest.unwrap_or(0);
            rest.is_some()
        });
        let left_out = nodes.len() - fitting.count();
        let mut out = vec![FORM];
        nodes
            .iter()
            .skip(left_out)
            .for_each(|node| out.extend(node));
        (out, left_out)
    }

    /// Takes a handover over; how many nodes there is no room for. `None` if it is none.
    pub(crate) fn adopt(&mut self, state: &[u8]) -> Option<usize> {
        let mut rest = state.strip_prefix(&[FORM])?;
        let mut gone = 0;
        while !rest.is_empty() {
            let (name, node) = read_record(&mut rest).ok()?;
            gone += self.put(name, node);
        }
        Some(gone)
    }
}

fn seq(payload: &Payload<'_>) -> Option<u8> {
    payload.seq.and_then(|seq| u8::try_from(seq).ok())
}

fn bd_seq(payload: &Payload<'_>) -> Option<u64> {
    let metric = payload
        .metrics
        .iter()
        .find(|metric| metric.name == Some("bdSeq"))?;
    match metric.value? {
        Raw::Int(value) => Some(value.into()),
        Raw::Long(value) => Some(value),
        _ => None,
    }
}

fn record(name: &str, node: &Node) -> Vec<u8> {
    let mut out = Vec::new();
    put_text(name, &mut out);
    put_option(node.seq.map(u64::from), &mut out);
    put_option(node.bd_seq, &mut out);
    out.push(u8::from(node.table.is_some()));
    if let Some(table) = &node.table {
        put_table(table, &mut out);
    }
    put_count(node.devices.len(), &mut out);
    for (name, table) in &node.devices {
        put_text(name, &mut out);
        put_table(table, &mut out);
    }
    out
}

fn put_table(table: &Table, out: &mut Vec<u8>) {
    put_count(table.metrics.len(), out);
    for known in &table.metrics {
        put_text(&known.name, out);
        put_option(known.datatype.map(u64::from), out);
        put_option(known.alias, out);
    }
}

fn put_count(count: usize, out: &mut Vec<u8>) {
    put_varint(u64::try_from(count).unwrap_or(u64::MAX), out);
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put_count(text.len(), out);
    out.extend(text.as_bytes());
}

fn put_option(value: Option<u64>, out: &mut Vec<u8>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put_varint(value, out);
    }
}

fn read_record<'s>(rest: &mut &'s [u8]) -> Read<(&'s str, Node)> {
    let name = text(rest)?;
    let mut node = Node {
        seq: option(rest)?.and_then(|seq| u8::try_from(seq).ok()),
        bd_seq: option(rest)?,
        ..Node::default()
    };
    let [has_table] = array(rest)?;
    if has_table != 0 {
        node.table = Some(read_table(rest)?);
    }
    for _ in 0..varint(rest)? {
        let name = text(rest)?;
        node.devices.insert(name.into(), read_table(rest)?);
    }
    Ok((name, node))
}

fn read_table(rest: &mut &[u8]) -> Read<Table> {
    let mut metrics = Vec::new();
    for _ in 0..varint(rest)? {
        metrics.push(Known {
            name: text(rest)?.into(),
            datatype: option(rest)?.and_then(|datatype| u32::try_from(datatype).ok()),
            alias: option(rest)?,
        });
    }
    Table::new(metrics)
}

fn text<'s>(rest: &mut &'s [u8]) -> Read<&'s str> {
    let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    std::str::from_utf8(take(rest, length)?).map_err(|error| error.to_string())
}

fn option(rest: &mut &[u8]) -> Read<Option<u64>> {
    let [is_there] = array(rest)?;
    (is_there != 0).then(|| varint(rest)).transpose()
}
