//! What came: counted, and checked for order and duplicates.
//!
//! Owns: [`Tally`], the handler of all connections. It answers what MQTT wants answered.

use crate::report::Report;
use witmq_bench::histogram::Histogram;
use witmq_bench::io::{Connection, Handler, State};
use witmq_bench::probe::now_ns;
use witmq_bench::wire::{self, Stamp};

/// Everything that came so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) connacks: u64,
    pub(crate) refused: u64,
    pub(crate) subacks: u64,
    pub(crate) unsubacks: u64,
    /// Connections with a SUBACK or UNSUBACK since this was emptied.
    pub(crate) subscribed: Vec<usize>,
    pub(crate) refused_filters: u64,
    pub(crate) closed: u64,
    pub(crate) pingresps: u64,
    pub(crate) delivered: u64,
    pub(crate) acked: u64,
    /// Deliveries by publisher.
    pub(crate) received_by: Vec<u64>,
    /// Acknowledgements by publisher.
    pub(crate) acked_by: Vec<u64>,
    /// Publishers of which something came.
    touched: Vec<usize>,
    is_touched: Vec<bool>,
    /// The next sequence of each publisher, or of each subscriber.
    next: Vec<u32>,
    /// Order is that of one publisher at many subscribers.
    by_subscriber: bool,
    checks_order: bool,
    pub(crate) gaps: u64,
    pub(crate) repeated: u64,
    malformed: u64,
    pub(crate) latency: Histogram,
    /// Whether latency is written down at present.
    pub(crate) records: bool,
    now_ns: u64,
}

impl Tally {
    /// Begins to tell publishers apart, all of which may send.
    pub(crate) fn expect(&mut self, publishers: usize, subscribers: usize, by_subscriber: bool) {
        self.received_by = vec![0; publishers];
        self.acked_by = vec![0; publishers];
        self.is_touched = vec![true; publishers];
        self.touched = (0..publishers).collect();
        self.next = vec![0; publishers.max(subscribers)];
        self.by_subscriber = by_subscriber;
    }

    /// From now on order counts.
    pub(crate) fn check_order(&mut self) {
        self.checks_order = true;
    }

    /// Has a publisher looked at.
    pub(crate) fn touch(&mut self, publisher: usize) {
        if let Some(is_touched) = self.is_touched.get_mut(publisher)
            && !std::mem::replace(is_touched, true)
        {
            self.touched.push(publisher);
        }
    }

    /// Publishers to look at.
    pub(crate) fn take_touched(&mut self) -> Vec<usize> {
        let touched = std::mem::take(&mut self.touched);
        for publisher in &touched {
            if let Some(is_touched) = self.is_touched.get_mut(*publisher) {
                *is_touched = false;
            }
        }
        touched
    }

    /// Nothing missing inside, nothing twice, nothing that is no message of ours.
    pub(crate) fn is_clean(&self) -> bool {
        self.gaps == 0 && self.repeated == 0 && self.malformed == 0 && self.refused_filters == 0
    }

    /// What every run says.
    pub(crate) fn describe(&self, report: &mut Report) {
        report.set("delivered", self.delivered);
        report.set("acked", self.acked);
        report.set("gaps", self.gaps);
        report.set("dups_or_reordered", self.repeated);
        report.set("malformed", self.malformed);
        report.set("refused", self.refused);
        report.set("refused_filters", self.refused_filters);
        report.set("closed", self.closed);
    }

    fn deliver(&mut self, connection: &mut Connection, first: u8, body: &[u8]) {
        let Some((id, payload)) = wire::publish(first, body) else {
            self.malformed += 1;
            return;
        };
        if let Some([high, low]) = id {
            let answer = if first & 0x06 == 0x02 { 0x40 } else { 0x50 };
            connection.out.extend_from_slice(&[answer, 2, high, low]);
        }
        let Some(stamp) = Stamp::read(payload) else {
            self.malformed += 1;
            return;
        };
        self.delivered += 1;
        let publisher = usize::try_from(stamp.publisher).unwrap_or(usize::MAX);
        if let Some(received) = self.received_by.get_mut(publisher) {
            *received += 1;
            let key = if self.by_subscriber {
                connection.number
            } else {
                publisher
            };
            self.order(key, stamp.sequence);
            self.touch(publisher);
        }
        if self.records {
            self.latency.add(self.now_ns.saturating_sub(stamp.due_ns));
        }
    }

    fn order(&mut self, key: usize, sequence: u32) {
        let Some(next) = self.next.get_mut(key).filter(|_| self.checks_order) else {
            return;
        };
        if sequence < *next {
            self.repeated += 1;
            return;
        }
        self.gaps += u64::from(sequence - *next);
        *next = sequence.wrapping_add(1);
    }
}

impl Handler for Tally {
    fn on_read(&mut self) {
        self.now_ns = now_ns();
    }

    fn on_packet(&mut self, connection: &mut Connection, index: usize, first: u8, body: &[u8]) {
        let id = body.first_chunk::<2>().copied().unwrap_or_default();
        match first >> 4 {
            3 => self.deliver(connection, first, body),
            4 | 7 => {
                self.acked += 1;
                if let Some(acked) = self.acked_by.get_mut(connection.number) {
                    *acked += 1;
                    self.touch(connection.number);
                }
            }
            5 => connection.out.extend_from_slice(&[0x62, 2, id[0], id[1]]),
            6 => connection.out.extend_from_slice(&[0x70, 2, id[0], id[1]]),
            2 => {
                self.connacks += 1;
                self.refused += u64::from(id[1] != 0);
                connection.state = State::Ready;
            }
            9 => {
                self.subacks += 1;
                let codes = body.iter().skip(2);
                let refused = codes.filter(|code| **code > 2).count();
                self.refused_filters += u64::try_from(refused).unwrap_or(0);
                self.subscribed.push(index);
            }
            11 => {
                self.unsubacks += 1;
                self.subscribed.push(index);
            }
            13 => self.pingresps += 1,
            _ => self.malformed += 1,
        }
    }

    fn on_registered(&mut self) {
        self.connacks += 1;
    }

    fn on_closed(&mut self) {
        self.closed += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    fn after(sequences: &[u32]) -> (u64, u64) {
        let mut tally = Tally::default();
        tally.expect(1, 1, false);
        tally.check_order();
        sequences
            .iter()
            .for_each(|sequence| tally.order(0, *sequence));
        (tally.gaps, tally.repeated)
    }

    #[test]
    fn gaps_and_repetitions_are_told_apart() {
        assert_eq!(after(&[0, 1, 2]), (0, 0));
        assert_eq!(after(&[0, 3]), (2, 0));
        assert_eq!(after(&[0, 0, 1]), (0, 1));
        assert_eq!(after(&[1, 0]), (1, 1), "reordered shows as both");
    }

    #[test]
    fn a_publisher_is_looked_at_once() {
        let mut tally = Tally::default();
        tally.expect(2, 2, false);
        assert_eq!(tally.take_touched(), [0, 1]);
        tally.touch(1);
        tally.touch(1);
        assert_eq!(tally.take_touched(), [1]);
        assert!(tally.take_touched().is_empty());
    }
}
