//! All runs as Markdown: medians and spread, goals, ratios, and who lost what.
//!
//! Owns: what is compared with what. Must not: leave a failure out.

use crate::cases::{Case, Figure, Goal};
use crate::elsewhere;
use crate::peers::{Kind, Peer};
use crate::play::Run;
use std::collections::BTreeMap;

/// A median with the lowest and the highest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Spread {
    low: f64,
    median: f64,
    high: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let at = |index: usize| values.get(index).copied();
        Some(Self {
            low: at(0)?,
            median: f64::midpoint(at((count - 1) / 2)?, at(count / 2)?),
            high: at(count - 1)?,
        })
    }
}

/// Everything that is to be said.
struct Table<'a> {
    cases: &'a [&'a Case],
    peers: &'a [Peer],
    runs: &'a [Run],
}

/// The whole text.
pub(crate) fn render(
    cases: &[&Case],
    peers: &[Peer],
    runs: &[Run],
    (rounds, is_dist): (usize, bool),
) -> String {
    let table = Table { cases, peers, runs };
    let mut text = format!(
        "{}. {rounds} interleaved round{}, a fresh process for each run: median (lowest–highest). WitMQ is the {}.\n\n",
        machine(),
        if rounds == 1 { "" } else { "s" },
        if is_dist {
            "published binary (`cargo xtask build --dist`)"
        } else {
            "release build"
        },
    );
    text.push_str("CPU of the broker for each delivered message, µs, and memory:\n\n");
    text.push_str(&table.figures());
    if table.beside().is_some() {
        text.push_str(elsewhere::NOTE);
    }
    text.push_str(&table.goals());
    text.push_str("\nDelivered, thousand a second, broker and generator on the same cores:\n\n");
    text.push_str(&table.plain(|case| !case.is_paced(), &["msg_per_s"], 1000.0));
    if cases.iter().any(|case| case.is_paced()) {
        text.push_str(
            "\nLatency at a fixed rate, µs, p50 / p99 / p99.9, medians of the rounds:\n\n",
        );
        let fields = ["p50_us", "p99_us", "p999_us"];
        text.push_str(&table.plain(Case::is_paced, &fields, 1.0));
    }
    text.push_str("\nMost memory in a run, MB:\n\n");
    text.push_str(&table.plain(|_| true, &["peak_rss_kb"], 1024.0));
    text.push_str(&table.failures());
    text
}

impl Table<'_> {
    fn spread(&self, case: &Case, peer: &Peer, field: &str) -> Option<Spread> {
        let runs = self.runs.iter();
        let runs = runs.filter(|run| run.case == case.name && run.peer == peer.name);
        Spread::of(runs.filter_map(|run| run.number(field)).collect())
    }

    fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Peer> {
        self.peers.iter().filter(move |peer| peer.kind == kind)
    }

    /// Medians of participants of a kind.
    fn medians(&self, kind: Kind, case: &Case, field: &str) -> impl Iterator<Item = f64> {
        let medians = (self.of_kind(kind)).filter_map(move |peer| self.spread(case, peer, field));
        (medians.map(|spread| spread.median)).filter(|median| *median > 0.0)
    }

    fn least(&self, kind: Kind, case: &Case, field: &str) -> Option<f64> {
        self.medians(kind, case, field).min_by(f64::total_cmp)
    }

    fn has_failed(&self, case: &Case, peer: &Peer) -> bool {
        let runs = self.runs.iter();
        let mut runs = runs.filter(|run| run.case == case.name && run.peer == peer.name);
        runs.any(|run| run.failure().is_some())
    }

    fn figures(&self) -> String {
        let names = self.peers.iter().map(|peer| peer.name.as_str());
        let absent = self.beside().map(|_| elsewhere::TITLE);
        let head = names.chain(absent);
        let mut text = heading(head.chain(["goal", "WitMQ / best peer", "WitMQ / floor"]));
        for case in self.cases {
            for figure in case.figures {
                text.push_str(&self.figure(case, figure));
            }
        }
        text
    }

    fn figure(&self, case: &Case, figure: &Figure) -> String {
        let cell = |peer: &Peer| {
            let Some(spread) = self.spread(case, peer, figure.field) else {
                return "–".to_owned();
            };
            let mark = if self.has_failed(case, peer) {
                " ✗"
            } else {
                ""
            };
            format!(
                "{} ({}–{}){mark}",
                short(spread.median),
                short(spread.low),
                short(spread.high)
            )
        };
        let own = self.own(case, figure.field);
        let goal = match (self.bound(case, figure), own) {
            (None, _) => "–".to_owned(),
            (Some(goal), Some(own)) if figure.is_met(goal, own) => format!("{} met", short(goal)),
            (Some(goal), Some(_)) => format!("{} **missed**", short(goal)),
            (Some(goal), None) => format!("{} not measured", short(goal)),
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
        let ratio = |other: Option<f64>| {
            let ratio = own.zip(other);
            or_dash(ratio.map(|(own, other)| short(own / other)))
        };
        let estimated = self.estimated(case, figure.field);
        let others = self.medians(Kind::Other, case, figure.field);
        let best = others.chain(estimated);
        // More is better of what is counted a second.
        let best = match figure.goal {
            Some(Goal::Least(_)) => best.max_by(f64::total_cmp),
            _ => best.min_by(f64::total_cmp),
        };
        let floor = self.least(Kind::Floor, case, figure.field);
        let absent = self.beside().map(|_| or_dash(estimated.map(short)));
        let cells = self.peers.iter().map(cell).chain(absent);
        let cells = cells.chain([goal, ratio(best), ratio(floor)]);
        row(figure.title, cells)
    }

    /// By whose figures those of a broker that takes no part are estimated.
    fn beside(&self) -> Option<&Peer> {
        let name = elsewhere::beside(self.peers.iter().map(|peer| peer.name.as_str()))?;
        self.peers.iter().find(|peer| peer.name == name)
    }

    fn estimated(&self, case: &Case, field: &str) -> Option<f64> {
        let ratio = elsewhere::ratio(case.name, field)?;
        Some(self.spread(case, self.beside()?, field)?.median * ratio)
    }

    /// A goal as a number; none without a goal, or where what it is taken from was not measured.
    fn bound(&self, case: &Case, figure: &Figure) -> Option<f64> {
        let of = |name: &str| {
            let case = self.cases.iter().find(|case| case.name == name)?;
            self.own(case, figure.field)
        };
        match figure.goal? {
            Goal::Most(bound) | Goal::Least(bound) => Some(bound),
            Goal::Above(name, more) => Some(of(name)? + more),
            Goal::Times(name, times) => Some(of(name)? * times),
            Goal::Peers(times) => Some(self.least(Kind::Other, case, figure.field)? * times),
        }
    }

    fn own(&self, case: &Case, field: &str) -> Option<f64> {
        let own = self.of_kind(Kind::Own).next()?;
        self.spread(case, own, field).map(|spread| spread.median)
    }

    fn goals(&self) -> String {
        let figures = self.cases.iter().flat_map(|case| {
            let figures = case.figures.iter();
            figures.map(move |figure| {
                let bound = self.bound(case, figure)?;
                Some(figure.is_met(bound, self.own(case, figure.field)?))
            })
        });
        let all: Vec<bool> = figures.flatten().collect();
        let met = all.iter().filter(|is_met| **is_met).count();
        format!("\nGoals met: {met} of {}.\n", all.len())
    }

    /// Medians only, of the cases that are wanted.
    fn plain(&self, is_wanted: fn(&Case) -> bool, fields: &[&str], unit: f64) -> String {
        let mut text = heading(self.peers.iter().map(|peer| peer.name.as_str()));
        for case in self.cases.iter().filter(|case| is_wanted(case)) {
            let cell = |peer: &Peer| {
                let spreads = fields.iter().map(|field| self.spread(case, peer, field));
                let texts = spreads.map(|spread| {
                    spread.map_or_else(|| "–".to_owned(), |spread| short(spread.median / unit))
                });
                texts.collect::<Vec<_>>().join(" / ")
            };
            let cells: Vec<String> = self.peers.iter().map(cell).collect();
            if cells
                .iter()
                .any(|cell| cell.contains(|c: char| c.is_ascii_digit()))
            {
                let title = case
                    .figures
                    .first()
                    .map_or(case.name, |figure| figure.title);
                let title = if case.is_state() { case.name } else { title };
                text.push_str(&row(title, cells));
            }
        }
        text
    }

    fn failures(&self) -> String {
        let mut found: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for run in self.runs {
            if let Some(failure) = run.failure() {
                found
                    .entry((&run.case, &run.peer))
                    .or_default()
                    .push(failure);
            }
        }
        if found.is_empty() {
            return "\nNobody lost, repeated or reordered a message.\n".to_owned();
        }
        let mut text = "\n✗ in these runs not everything came once and in order:\n\n".to_owned();
        for ((case, peer), failures) in found {
            let count = failures.len();
            let first = failures.first().map_or("", String::as_str);
            text.push_str(&format!(
                "- {case}, {peer}: {count} runs, the first: {first}\n"
            ));
        }
        text
    }
}

fn heading<'name>(names: impl Iterator<Item = &'name str>) -> String {
    let names: Vec<&str> = names.collect();
    format!(
        "| | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    )
}

fn row(title: &str, cells: impl IntoIterator<Item = String>) -> String {
    let cells: Vec<String> = cells.into_iter().collect();
    format!("| {title} | {} |\n", cells.join(" | "))
}

/// Three digits, or all of a large number.
fn short(value: f64) -> String {
    let places = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Cores, processor, memory and kernel.
/// Where it was measured.
pub(crate) fn machine() -> String {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let processors = read("/proc/cpuinfo");
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores ({model}), Linux {}, loopback", kernel.trim())
}

#[cfg(test)]
mod tests {
    use super::{Spread, render, short};
    use crate::cases::{CASES, CPU};
    use crate::peers::{Kind, Peer};
    use crate::play::Run;
    use serde_json::json;

    fn peer(name: &str, kind: Kind) -> Peer {
        Peer {
            name: name.to_owned(),
            kind,
            command: Vec::new(),
            config: String::new(),
            files: Vec::new(),
            prepare: Vec::new(),
            port: None,
        }
    }

    fn run(peer: &str, cpu: f64, lost: u64) -> Run {
        let values = json!({ CPU: cpu, "lost": lost, "delivered": 10, "ok": lost == 0 });
        Run {
            case: CASES[0].name.to_owned(),
            peer: peer.to_owned(),
            values: values.as_object().unwrap().clone(),
        }
    }

    fn text(runs: &[Run]) -> String {
        let peers = [
            peer("WitMQ", Kind::Own),
            peer("slow", Kind::Other),
            peer("quick", Kind::Other),
            peer("floor", Kind::Floor),
        ];
        render(&[&CASES[0]], &peers, runs, (3, true))
    }

    #[test]
    fn a_row_has_medians_spread_goal_and_ratios() {
        let own = [0.5, 0.3, 0.4].map(|cpu| run("WitMQ", cpu, 0));
        let others = [
            run("slow", 4.0, 0),
            run("quick", 0.8, 0),
            run("floor", 0.1, 0),
        ];
        let text = text(&[&own[..], &others].concat());
        let wanted = "| 0.40 (0.30–0.50) | 4.00 (4.00–4.00) | 0.80 (0.80–0.80) | 0.10 (0.10–0.10) \
                      | 0.25 **missed** | 0.50 | 4.00 |";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("Goals met: 0 of 1."), "{text}");
        assert!(text.contains("Nobody lost"), "{text}");
    }

    #[test]
    fn who_is_absent_is_estimated_and_counts_as_a_peer() {
        let peers = [
            peer("WitMQ", Kind::Own),
            peer("mosquitto 2.0.11", Kind::Other),
        ];
        let runs = [run("WitMQ", 0.21, 0), run("mosquitto 2.0.11", 6.0, 0)];
        let text = render(&[&CASES[0]], &peers, &runs, (1, false));
        let wanted = "| 6.00 (6.00–6.00) | 0.42 | 0.25 met | 0.50 | – |";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("\n(¹) Not run here"), "{text}");
    }

    #[test]
    fn a_goal_is_met_at_its_value() {
        let text = text(&[run("WitMQ", 0.25, 0)]);
        assert!(text.contains("0.25 met"), "{text}");
        assert!(text.contains("Goals met: 1 of 1."), "{text}");
    }

    #[test]
    fn a_goal_may_be_taken_from_another_row_or_from_the_peers() {
        let case = |name: &str| CASES.iter().find(|case| case.name == name).unwrap();
        let run = |case: &str, peer: &str, field: &str, value: f64| Run {
            case: case.to_owned(),
            peer: peer.to_owned(),
            values: json!({ field: value, "ok": true })
                .as_object()
                .unwrap()
                .clone(),
        };
        let runs = [
            run("pair-q0-256", "WitMQ", CPU, 0.5),
            run("pair-q0-256-step", "WitMQ", CPU, 1.2),
            run("pair-q0-256-ws", "WitMQ", CPU, 0.6),
            run("rate-20k", "WitMQ", "p50_us", 100.0),
            run("rate-20k", "quick", "p50_us", 90.0),
        ];
        let names = [
            "pair-q0-256",
            "pair-q0-256-step",
            "pair-q0-256-ws",
            "rate-20k",
        ];
        let peers = [peer("WitMQ", Kind::Own), peer("quick", Kind::Other)];
        let text = render(&names.map(case), &peers, &runs, (1, false));
        for wanted in ["1.10 **missed**", "0.65 met", "103 met"] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        // Nobody else's p99 is known, and the first row has its own goal.
        assert!(text.contains("Goals met: 2 of 4."), "{text}");
    }

    #[test]
    fn a_loss_marks_its_row_and_is_listed() {
        let text = text(&[
            run("WitMQ", 0.2, 0),
            run("quick", 0.1, 7),
            run("quick", 0.1, 0),
        ]);
        assert!(text.contains("0.10 (0.10–0.10) ✗"), "{text}");
        assert!(
            text.contains("- fanin-16, quick: 1 runs, the first: 7 lost of 10"),
            "{text}"
        );
        assert!(!text.contains("Nobody lost"), "{text}");
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two() {
        let spread = Spread::of(vec![4.0, 1.0, 2.0, 3.0]).unwrap();
        assert_eq!((spread.low, spread.median, spread.high), (1.0, 2.5, 4.0));
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [0.0666, 9.996, 12.34, 1234.6, 1_234_567.0].map(short),
            ["0.07", "10.0", "12.3", "1,235", "1,234,567"]
        );
    }
}
